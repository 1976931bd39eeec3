"""Write TinyWorld to a folder: corpus, instruction data and tokenizer, all made from one seed."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset, DatasetDict, are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from tutorial_lib.errors import OutputError
from tutorial_lib.tinyworld.corpus import build_corpus
from tutorial_lib.tinyworld.facts import load_entities
from tutorial_lib.tinyworld.instructions import build_instructions
from tutorial_lib.tinyworld.tokenizer import train_tokenizer

CORPUS_FOLDER = "corpus"  # save_to_disk
INSTRUCTIONS_FOLDER = "instructions"  # save_to_disk, splits train and held_out
TOKENIZER_FOLDER = "tokenizer"


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


def build(out: Path, seed: int) -> BuildReport:
    """Write corpus, instruction data and tokenizer into the new folder `out`; the same seed gives the same bytes.

    The folder appears whole or not at all: everything is written under a temporary name beside it, then renamed.

    Raises:
        OutputError: `out` is a file, or a folder that is not empty.
    """
    out = Path(out)
    if out.is_file():
        raise OutputError(f"{out} is a file: give --out a folder")
    if out.exists() and any(out.iterdir()):
        raise OutputError(f"{out} is not empty: give --out a new folder, or delete this one")
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        corpus = build_corpus(load_entities(), seed)
        _save(work / CORPUS_FOLDER, Dataset.from_list(corpus))
        _write_json_lines(work / "corpus.jsonl", corpus)
        instructions = build_instruction_dataset(seed)
        _save(work / INSTRUCTIONS_FOLDER, instructions)
        for split, rows in instructions.items():
            _write_json_lines(work / f"{split}.jsonl", rows)
        train_tokenizer(row["text"] for row in corpus).save_pretrained(work / TOKENIZER_FOLDER)
        work.chmod(0o755)
        if out.exists():
            out.rmdir()
        work.rename(out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return BuildReport(out, len(corpus), len(instructions["train"]), len(instructions["held_out"]))


def save_quietly(data: Dataset | DatasetDict, folder: Path) -> None:
    """``save_to_disk`` without its progress bars: a second's work needs none."""
    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        data.save_to_disk(str(folder))
    finally:
        if shown:
            enable_progress_bars()


def _save(folder: Path, data: Dataset | DatasetDict) -> None:
    save_quietly(data, folder)
    # The fingerprint names this process, not the data; without it the same seed gives the same bytes.
    for state_file in sorted(folder.rglob("state.json")):
        state = json.loads(state_file.read_text(encoding="utf-8"))
        state["_fingerprint"] = "tinyworld"
        state_file.write_text(json.dumps(state, indent=2, sort_keys=True), encoding="utf-8")


def _write_json_lines(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
