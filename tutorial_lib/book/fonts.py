"""Chinese glyphs for web pages: a small font file with the characters of one text."""

from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTCollection
from noto_cjk_sans_otc import FONT_PATH

FACE = "Noto Sans CJK SC"  # simplified Chinese, one of the faces in the collection
FIRST_CJK = "\u2e80"  # from here on: radicals, punctuation, characters, full-width forms


def subset_font(text: str, target: Path) -> None:
    """Write a WOFF font with the Chinese characters of `text` to `target`."""
    collection = TTCollection(FONT_PATH, lazy=True)
    face = next(font for font in collection.fonts if font["name"].getDebugName(4).startswith(FACE))
    options = Options()
    options.flavor = "woff"
    subsetter = Subsetter(options)
    subsetter.populate(text="".join({char for char in text if char >= FIRST_CJK}))
    subsetter.subset(face)
    face.flavor = "woff"
    face.save(target)
