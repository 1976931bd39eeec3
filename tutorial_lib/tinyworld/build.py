"""Write TinyWorld to a folder: corpus, instruction data and tokenizer, all from one seed."""

import contextlib
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from datasets import (
    Dataset,
    DatasetDict,
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from tutorial_lib.errors import DataError, OutputError
from tutorial_lib.profiles import TINYWORLD, runs_dir
from tutorial_lib.run_folder import make_folder, replacing_folder
from tutorial_lib.tinyworld.corpus import Variety, build_corpus
from tutorial_lib.tinyworld.facts import load_entities
from tutorial_lib.tinyworld.instructions import build_instructions
from tutorial_lib.tinyworld.tokenizer import train_tokenizer

CORPUS_FOLDER = "corpus"  # save_to_disk
INSTRUCTIONS_FOLDER = "instructions"  # save_to_disk, splits train and held_out
TOKENIZER_FOLDER = "tokenizer"
TINYWORLD_SEED = 42  # "tinyworld:7" is the data set of seed 7
# The files of this package that decide what the instruction rows are, besides the facts.
ROW_SOURCES = ("facts.py", "wordings.py", "wordings.toml", "draw.py", "instructions.py")


def build_instruction_dataset(seed: int) -> DatasetDict:
    """Return the instruction data of this seed, splits ``train`` and ``held_out``."""
    splits = build_instructions(load_entities(), seed)
    return DatasetDict({split: Dataset.from_list(rows) for split, rows in splits.items()})


def build(out: Path, seed: int, wordings: Variety = "many") -> dict[str, int]:
    """Write corpus, instruction data and tokenizer into `out`, which appears whole or not at all.

    Return the number of rows of ``corpus``, ``train`` and ``held_out``. The same arguments give the
    same bytes.

    Args:
        out: a folder that does not exist yet, or is empty.
        seed: fixes wordings and split.
        wordings: of each fact in the corpus (see ``build_corpus``). The tokenizer is always that of
            many wordings, so that two base models of one seed differ only in what they read.

    Raises:
        OutputError: `out` is a file or a folder that is not empty, or can't be made.
    """
    out = Path(out).absolute()
    if out.is_file():
        raise OutputError(f"{out} is a file: give --out a folder")
    if out.exists() and any(out.iterdir()):
        raise OutputError(f"{out} is not empty: give --out a new folder, or delete this one")
    make_folder(out.parent)
    with replacing_folder(out) as partial:
        corpus = build_corpus(load_entities(), seed, wordings=wordings)
        _save_quietly(Dataset.from_list(corpus), partial / CORPUS_FOLDER)
        _write_json_lines(partial / "corpus.jsonl", corpus)
        instructions = build_instruction_dataset(seed)
        _save_quietly(instructions, partial / INSTRUCTIONS_FOLDER)
        for split, rows in instructions.items():
            _write_json_lines(partial / f"{split}.jsonl", rows)
        varied = corpus if wordings == "many" else build_corpus(load_entities(), seed)
        train_tokenizer(row["text"] for row in varied).save_pretrained(partial / TOKENIZER_FOLDER)
    return {"corpus": len(corpus), **instructions.num_rows}


def tinyworld_folder(source: str = TINYWORLD) -> Path:
    """Return the ``save_to_disk`` folder of TinyWorld's rows; make it, in a second, if needed.

    Raises:
        DataError: the text after the colon of `source` is not a seed.
    """
    _, _, seed_text = source.partition(":")
    if seed_text and not seed_text.isdecimal():
        raise DataError(f"{source!r}: the seed after the colon must be a whole number")
    seed = int(seed_text or TINYWORLD_SEED)
    folder = runs_dir() / "data" / f"tinyworld-{seed}-{_row_digest()}"
    if not folder.exists():
        with contextlib.suppress(FileExistsError), replacing_folder(folder) as partial:
            _save_quietly(build_instruction_dataset(seed), partial)
            if folder.exists():  # another process was first; its bytes are the same
                raise FileExistsError
    return folder


def _row_digest() -> str:
    """Return a digest of all that decides the rows, so that rows of an older kit are not used."""
    package = Path(__file__).parent
    sources = [*(package / name for name in ROW_SOURCES), *sorted(package.glob("facts/*.csv"))]
    return f"{zlib.crc32(b''.join(path.read_bytes() for path in sources)):08x}"


def _save_quietly(data: Dataset | DatasetDict, folder: Path) -> None:
    """``save_to_disk`` without its progress bars, which a second does not need."""
    were_disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        data.save_to_disk(str(folder))
    finally:
        if not were_disabled:
            enable_progress_bars()


def _write_json_lines(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
