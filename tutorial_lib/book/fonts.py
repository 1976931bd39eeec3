"""Chinese glyphs for web pages: a font file of the characters that a text needs, small enough to go along."""

from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTCollection
from noto_cjk_sans_otc import FONT_PATH

FACE = "Noto Sans CJK SC"  # simplified Chinese; the collection also holds the Japanese, Korean and traditional shapes
FIRST_CJK = (
    "\u2e80"  # radicals, punctuation, characters, full-width forms: all that a Latin font lacks
)


def subset_font(text: str, target: Path) -> set[str]:
    """Write a WOFF font with the Chinese characters of `text` to `target`; return those that it holds."""
    wanted = {char for char in text if char >= FIRST_CJK}
    collection = TTCollection(FONT_PATH, lazy=True)
    face = next(font for font in collection.fonts if font["name"].getDebugName(4).startswith(FACE))
    held = wanted & set(map(chr, face.getBestCmap()))
    options = Options()
    options.flavor = "woff"
    subsetter = Subsetter(options)
    subsetter.populate(text="".join(held))
    subsetter.subset(face)
    face.flavor = "woff"
    target.parent.mkdir(parents=True, exist_ok=True)
    face.save(target)
    return held
