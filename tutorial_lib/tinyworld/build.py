"""Write TinyWorld to a folder: corpus, instruction data and tokenizer, all made from one seed."""

import json
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from datasets import (
    Dataset,
    DatasetDict,
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from tutorial_lib.errors import DataError, OutputError
from tutorial_lib.profiles import runs_dir
from tutorial_lib.tinyworld.corpus import Said, build_corpus
from tutorial_lib.tinyworld.facts import load_entities
from tutorial_lib.tinyworld.instructions import build_instructions
from tutorial_lib.tinyworld.tokenizer import train_tokenizer

CORPUS_FOLDER = "corpus"  # save_to_disk
INSTRUCTIONS_FOLDER = "instructions"  # save_to_disk, splits train and held_out
TOKENIZER_FOLDER = "tokenizer"
TINYWORLD = "tinyworld"  # names the data set that the kit makes; "tinyworld:7" is the one of seed 7
TINYWORLD_SEED = 42


@dataclass(frozen=True)
class BuildReport:
    """What a build wrote: the number of rows of each part."""

    folder: Path
    corpus: int
    train: int
    held_out: int


def build_instruction_dataset(seed: int) -> DatasetDict:
    """Return the instruction data of this seed, splits ``train`` and ``held_out``."""
    splits = build_instructions(load_entities(), seed)
    return DatasetDict({split: Dataset.from_list(rows) for split, rows in splits.items()})


def build(out: Path, seed: int, said: Said = "many-ways") -> BuildReport:
    """Write corpus, instruction data and tokenizer into the new folder `out`; the same arguments give the same bytes.

    The folder appears whole or not at all: everything is written under a temporary name beside it, then renamed.

    Args:
        out: a folder that does not exist yet, or is empty.
        seed: chooses wordings and the split.
        said: how the corpus tells the facts (see ``build_corpus``). The tokenizer is always that of the varied corpus, so that two base
            models of one seed differ in nothing but what they read.

    Raises:
        OutputError: `out` is a file, or a folder that is not empty.
    """
    out = Path(out).absolute()
    if out.is_file():
        raise OutputError(f"{out} is a file: give --out a folder")
    if out.exists() and any(out.iterdir()):
        raise OutputError(f"{out} is not empty: give --out a new folder, or delete this one")
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        corpus = build_corpus(load_entities(), seed, said=said)
        save_quietly(Dataset.from_list(corpus), work / CORPUS_FOLDER)
        _write_json_lines(work / "corpus.jsonl", corpus)
        instructions = build_instruction_dataset(seed)
        save_quietly(instructions, work / INSTRUCTIONS_FOLDER)
        for split, rows in instructions.items():
            _write_json_lines(work / f"{split}.jsonl", rows)
        varied = corpus if said == "many-ways" else build_corpus(load_entities(), seed)
        train_tokenizer(row["text"] for row in varied).save_pretrained(work / TOKENIZER_FOLDER)
        if (
            out.exists()
        ):  # perhaps the folder that the user's shell stands in: it is filled, not replaced
            for part in sorted(work.iterdir()):
                part.rename(out / part.name)
            work.rmdir()
        else:
            work.chmod(0o755)
            work.rename(out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return BuildReport(out, len(corpus), len(instructions["train"]), len(instructions["held_out"]))


def tinyworld_folder(source: str = TINYWORLD) -> Path:
    """Return the ``save_to_disk`` folder of TinyWorld's instruction data, made (in about a second) if it is not there yet."""
    _, _, seed_text = source.partition(":")
    if seed_text and not seed_text.isdecimal():
        raise DataError(f"{source!r}: the seed after the colon must be a whole number")
    seed = int(seed_text or TINYWORLD_SEED)
    folder = runs_dir() / "data" / f"tinyworld-{seed}-{_maker_digest()}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            save_quietly(build_instruction_dataset(seed), work)
            work.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was first: its bytes are the same
                raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder


def _maker_digest() -> str:
    """Return a digest of what makes TinyWorld's rows: data made by an older version of the kit is not taken for today's."""
    maker = Path(__file__).parent
    sources = sorted([*maker.glob("*.py"), *maker.glob("*.toml"), *maker.glob("facts/*.csv")])
    return f"{zlib.crc32(b''.join(path.read_bytes() for path in sources)):08x}"


def save_quietly(data: Dataset | DatasetDict, folder: Path) -> None:
    """``save_to_disk`` without its progress bars: a second's work needs none."""
    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        data.save_to_disk(str(folder))
    finally:
        if shown:
            enable_progress_bars()


def _write_json_lines(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
