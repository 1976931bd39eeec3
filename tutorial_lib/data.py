"""Load instruction data from anywhere, in one schema, and check every row before training."""

import logging
import os
import re
import string
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from datasets import (
    Dataset,
    DatasetDict,
    Features,
    List,
    Value,
    concatenate_datasets,
    load_dataset,
    load_from_disk,
)
from transformers import PreTrainedTokenizerBase

from tutorial_lib.errors import DataError, NoSupervisedTokenError, RowError, listed_rows
from tutorial_lib.formatting import MAX_LENGTH, EncodedExample, encode_example, is_encodable
from tutorial_lib.hub import explaining, locate
from tutorial_lib.profiles import TINYWORLD
from tutorial_lib.readers import FILE_READERS, NonTextCells
from tutorial_lib.tinyworld.build import tinyworld_folder

logger = logging.getLogger(__name__)

COLUMNS = ("instruction", "input", "output")
ENCODED_COLUMNS = tuple(EncodedExample.__annotations__)
HELD_OUT_NAMES = ("held_out", "test", "validation")
MAX_CHARACTERS = 100_000  # a longer text is a parsing accident, not an instruction
INVISIBLE = string.whitespace + "\u00a0\u3000\u200b\u200c\u200d\u2060\ufeff"
# All but tab and line ends: what a broken export leaves behind.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class RowProblem:
    """What is wrong with one row (counted from 0)."""

    row: int
    column: str
    description: str

    def __str__(self) -> str:
        return f"row {self.row}, column {self.column!r}: {self.description}"


@dataclass(frozen=True)
class EncodedRows:
    """A tokenized data set and what was left out of it.

    Attributes:
        dataset: the columns ``input_ids``, ``attention_mask``, ``labels``.
        dead: numbers of the rows that were left out, since their prompt leaves no token to learn.
        cut: how many rows lost the end of their answer.
    """

    dataset: Dataset
    dead: tuple[int, ...]
    cut: int

    def __str__(self) -> str:
        counts = f"{len(self.dataset):,} rows encoded, {self.cut} of them with a cut answer"
        numbers = f" (rows {listed_rows(self.dead)})" if self.dead else ""
        return f"{counts}; {len(self.dead)} left out, no room for an answer{numbers}"


def load_instructions(
    source: str | os.PathLike,
    *,
    columns: Mapping[str, str | None] | None = None,
    on_invalid: Literal["raise", "drop"] = "raise",
) -> Dataset | DatasetDict:
    """Load instruction data and check every row of it.

    Args:
        source: a folder written by ``save_to_disk`` (or by ``python -m tutorial_lib.tinyworld
            build``), a ``.json``, ``.jsonl``, ``.csv`` or ``.parquet`` file, a hub id, or
            ``"tinyworld"``.
        columns: the data set's names where they differ, e.g. ``{"instruction": "question",
            "output": "answer", "input": None}``; ``None`` means that there is no such column
            (allowed for ``input``, which is then empty).
        on_invalid: ``"raise"``, or ``"drop"`` to leave bad rows out and log their numbers.

    Returns:
        A Dataset if the source has one split, else a DatasetDict. The columns ``instruction``,
        ``input`` and ``output`` come first, all of them text; further columns are kept.

    Raises:
        DataError: the source does not exist or is not a data set, a column is missing, or (with
            ``"raise"``) rows are not usable; the message names the rows.
        HubUnreachableError: a hub id that is not cached while the hub can't be reached.
    """
    sources = {column: column for column in COLUMNS} | dict(columns or {})
    if unknown := sorted(set(sources) - set(COLUMNS)):
        names = f"{unknown}, but the names to map are {list(COLUMNS)}"
        raise DataError(f"{source}: columns maps {names}")
    data, cells = _read(str(source))
    splits = data if isinstance(data, DatasetDict) else DatasetDict({"train": data})
    checked = {}
    for split, rows in splits.items():
        where = f"{source}" if len(splits) == 1 else f"{source} ({split})"
        renamed = _rename(rows, sources, where)
        ours = {column: cells.get(name, {}) for column, name in sources.items()}
        problems = find_problems(renamed, ours)
        checked[split] = _check(renamed, problems, on_invalid, where)
        if not _is_tinyworld(str(source)):  # it repeats some questions on purpose
            _report_repeated(renamed, where)
    return DatasetDict(checked) if len(checked) > 1 else next(iter(checked.values()))


def load_splits(
    source: str | os.PathLike, *, columns: Mapping[str, str | None] | None = None, seed: int = 42
) -> DatasetDict:
    """Load instruction data as ``train`` and ``held_out``.

    A split called held_out, test or validation is the held-out one. If there is none, 5 % of the
    rows (at most 500) are held out at random, the same ones for the same `seed`.

    Raises:
        DataError: as ``load_instructions``; or there is no train split, or too few rows to divide.
    """
    data = load_instructions(source, columns=columns)
    if isinstance(data, DatasetDict):
        if "train" not in data:
            found = ", ".join(data)
            raise DataError(f"{source}: no split is called 'train', found {found}; rename one")
        for name in HELD_OUT_NAMES:
            if name in data:
                return DatasetDict({"train": data["train"], "held_out": data[name]})
        data = data["train"]
    if len(data) < 2:
        raise DataError(
            f"{source}: {len(data)} row(s) can't be divided into train and held-out rows; give at "
            f"least 2"
        )
    parts = data.train_test_split(test_size=max(1, min(500, len(data) // 20)), seed=seed)
    return _without_shared_questions(parts["train"], parts["test"], str(source))


def _without_shared_questions(train: Dataset, held_out: Dataset, source: str) -> DatasetDict:
    """Move held-out rows to the training rows if a training row has the same question."""
    trained = set(zip(train["instruction"], train["input"], strict=True))
    questions = zip(held_out["instruction"], held_out["input"], strict=True)
    shared = [row for row, question in enumerate(questions) if question in trained]
    if len(shared) == len(held_out):
        raise DataError(
            f"{source}: every row that would be held out has the question of a training row; "
            f"remove the rows that repeat others"
        )
    if shared:
        logger.warning(
            "%s: %d held-out rows have the question of a training row; they are trained on instead",
            source,
            len(shared),
        )
        train = concatenate_datasets([train, held_out.select(shared)])
        held_out = held_out.select(sorted(set(range(len(held_out))) - set(shared)))
    return DatasetDict({"train": train, "held_out": held_out})


def find_problems(dataset: Dataset, cells: NonTextCells = MappingProxyType({})) -> list[RowProblem]:
    """Return what is wrong with the rows, in row order: null, not text, empty, or too long.

    Args:
        cells: the values that were not text in the file.
    """
    return [
        RowProblem(row, column, problem)
        for row, values in enumerate(zip(*(dataset[column] for column in COLUMNS), strict=True))
        for column, value in zip(COLUMNS, values, strict=True)
        if (problem := _problem(column, cells.get(column, {}).get(row, value)))
    ]


def encode_dataset(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int = MAX_LENGTH,
    *,
    keep_end: bool = False,
) -> EncodedRows:
    """Tokenize every row with ``formatting.encode_example``; leave out rows with no target.

    Raises:
        RowError: a row is not usable at all; names the row.
    """
    features = Features({name: List(Value("int64")) for name in ENCODED_COLUMNS})
    if not len(dataset):
        empty = {name: [] for name in ENCODED_COLUMNS}
        return EncodedRows(Dataset.from_dict(empty, features=features), (), 0)
    encode = partial(_encode_row, tokenizer=tokenizer, max_length=max_length, keep_end=keep_end)
    rows = dataset.map(
        encode,
        with_indices=True,
        remove_columns=dataset.column_names,
        features=Features({**features, "tokens": Value("int64")}),
        load_from_cache_file=False,  # the cache does not see a change of encode_example
        desc="tokenizing",
    )
    tokens = rows["tokens"][:]
    dead = tuple(row for row, count in enumerate(tokens) if not count)
    kept = rows.remove_columns("tokens").select([row for row, count in enumerate(tokens) if count])
    return EncodedRows(kept, dead, cut=sum(count > max_length for count in tokens))


def _encode_row(
    row: Mapping[str, str],
    number: int,
    *,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    keep_end: bool,
) -> dict[str, list[int] | int]:
    """Return the encoded row, and as ``tokens`` its length before it was cut (0: no target)."""
    try:
        example = encode_example(row, tokenizer, max_length, keep_end=keep_end)
    except NoSupervisedTokenError:
        return {name: [] for name in ENCODED_COLUMNS} | {"tokens": 0}
    except RowError as error:
        raise RowError(f"row {number}: {error}") from None
    tokens = len(example["input_ids"])
    if tokens == max_length:  # it may have been cut
        tokens = len(encode_example(row, tokenizer, sys.maxsize)["input_ids"])
    return {**example, "tokens": tokens}


def _problem(column: str, value: object) -> str | None:
    if value is None:
        remedy = "write an empty text" if column == "input" else "fill it"
        return f"null; {remedy} or drop the row"
    if not isinstance(value, str):
        return f"{type(value).__name__} {value!r:.40} instead of text"
    if not is_encodable(value):
        return "half a character (a lone surrogate); fix it or drop the row"
    if column != "input" and not value.strip(INVISIBLE):
        emptiness = "nothing but invisible characters" if value.strip() else "empty"
        return f"{emptiness}; fill it or drop the row"
    if control := CONTROL.search(value):
        return f"the control character U+{ord(control[0]):04X}; remove it or drop the row"
    if len(value) > MAX_CHARACTERS:
        return f"{len(value):,} characters, more than {MAX_CHARACTERS:,}; is this one row?"
    return None


def _check(rows: Dataset, problems: Sequence[RowProblem], on_invalid: str, where: str) -> Dataset:
    if problems:
        bad = sorted({problem.row for problem in problems})
        listed = "; ".join(map(str, problems[:10])) + ("; …" if len(problems) > 10 else "")
        counts = f"{where}: {len(bad)} of {len(rows)} rows can't be used (rows counted from 0)"
        if on_invalid == "raise":
            remedy = 'Fix them, or leave them out with on_invalid="drop"'
            raise DataError(f"{counts}: {listed}. {remedy}")
        logger.warning("%s: %s. Left out: rows %s", counts, listed, bad)
        rows = rows.select(sorted(set(range(len(rows))) - set(bad)))
    if not len(rows):
        raise DataError(f"{where}: no rows")
    for column in COLUMNS:  # an all-empty column may have been read as null or as numbers
        if rows.features[column] != Value("string"):
            rows = rows.cast_column(column, Value("string"))
    return rows


def _report_repeated(rows: Dataset, where: str) -> None:
    """Warn about rows that repeat an earlier one: they are trained on more than once."""
    first: dict[tuple[str, ...], int] = {}
    repeated = []
    for number, row in enumerate(zip(*(rows[column] for column in COLUMNS), strict=True)):
        if all(isinstance(text, str) for text in row) and first.setdefault(row, number) < number:
            repeated.append(number)
    if repeated:
        message = "%s: %d rows repeat an earlier one (rows %s, counted from 0); they are kept"
        logger.warning(message, where, len(repeated), listed_rows(repeated))


def _rename(rows: Dataset, sources: Mapping[str, str | None], where: str) -> Dataset:
    for ours, theirs in sources.items():
        if theirs not in rows.column_names and (theirs is not None or ours != "input"):
            found = ", ".join(rows.column_names) or "none"
            no_input = ' or {"input": None} if there is none' if ours == "input" else ""
            raise DataError(
                f"{where}: no column {theirs!r}, found {found}; map the names with "
                f'columns={{"{ours}": "its name here"}}{no_input}'
            )
    renamed = {theirs: ours for ours, theirs in sources.items() if theirs is not None}
    hidden = [name for name in COLUMNS if name in rows.column_names and name not in renamed]
    rows = rows.remove_columns(hidden).rename_columns(renamed)
    if sources["input"] is None:
        rows = rows.add_column("input", [""] * len(rows))
    further = [name for name in rows.column_names if name not in COLUMNS]
    return rows.select_columns([*COLUMNS, *further])


def _read(source: str) -> tuple[Dataset | DatasetDict, NonTextCells]:
    if _is_tinyworld(source):
        return load_from_disk(str(tinyworld_folder(source))), {}
    location = locate(source, "dataset")
    with explaining(source, "dataset"):
        if isinstance(location, str):
            return load_dataset(location), {}
        if location.is_dir():
            return load_from_disk(str(_saved_folder(location, source))), {}
        return _read_file(location, source)


def _saved_folder(folder: Path, source: str) -> Path:
    if (folder / "instructions").is_dir():  # a folder written by `tinyworld build`
        folder = folder / "instructions"
    if not any((folder / name).is_file() for name in ("dataset_dict.json", "state.json")):
        endings = ", ".join(FILE_READERS)
        remedy = f"give a folder written by save_to_disk, or a {endings} file"
        raise DataError(f"{source!r} is not a data set: {remedy}")
    return folder


def _read_file(path: Path, source: str) -> tuple[Dataset, NonTextCells]:
    if not path.is_file():
        raise DataError(f"{source!r} is neither a file nor a folder; check the path")
    if path.suffix not in FILE_READERS:
        remedy = f"give a {', '.join(FILE_READERS)} file, or a folder written by save_to_disk"
        raise DataError(f"{source!r} can't be read: {remedy}")
    if not path.stat().st_size:
        raise DataError(f"{source!r} is an empty file")
    return FILE_READERS[path.suffix](path)


def _is_tinyworld(source: str) -> bool:
    return source == TINYWORLD or source.startswith(f"{TINYWORLD}:")


def first_rows(dataset: Dataset, task: str | None, limit: int) -> Sequence[dict]:
    """Return up to `limit` rows, only those of one `task` if the data set has that task."""
    if task is not None and "task" in dataset.column_names:
        rows = [row for row, name in enumerate(dataset["task"]) if name == task]
        dataset = dataset.select(rows[:limit]) if rows else dataset
    return dataset.select(range(min(limit, len(dataset)))).to_list()
