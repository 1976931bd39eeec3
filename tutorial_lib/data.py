"""Load instruction data from anywhere, in one schema, and look at every row before it is trained on."""

import logging
import os
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import pyarrow as pa
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
from tutorial_lib.formatting import (
    MAX_LENGTH,
    check_example,
    encode_texts,
    format_prompt,
    is_encodable,
    join_rows,
    respond,
)
from tutorial_lib.hub import cut_off, looks_like_folder, not_found, require_reachable
from tutorial_lib.readers import FILE_READERS, Oddities
from tutorial_lib.tinyworld.build import TINYWORLD, tinyworld_folder

logger = logging.getLogger(__name__)

COLUMNS = ("instruction", "input", "output")
MAX_CHARACTERS = 100_000  # a longer text is a parsing accident, not an instruction
INVISIBLE = string.whitespace + "\u00a0\u3000\u200b\u200c\u200d\u2060\ufeff"
CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
)  # all but tab and line ends: what a broken export leaves behind
HELD_OUT_NAMES = ("held_out", "test", "validation")


@dataclass(frozen=True)
class RowProblem:
    """What is wrong with one row: its number (counted from 0), the column, and what was found."""

    row: int
    column: str
    found: str

    def __str__(self) -> str:
        return f"row {self.row}, column {self.column!r}: {self.found}"


@dataclass(frozen=True)
class EncodedRows:
    """A tokenized data set and what was left out of it.

    Attributes:
        dataset: the columns ``input_ids``, ``attention_mask``, ``labels``.
        dead: numbers of the rows that were left out, since their prompt leaves no token to learn from.
        cut: how many rows lost the end of their answer.
    """

    dataset: Dataset
    dead: tuple[int, ...]
    cut: int

    def __str__(self) -> str:
        left_out = f"{len(self.dead)} left out, no room for an answer" + (
            f" (rows {listed_rows(self.dead)})" if self.dead else ""
        )
        return (
            f"{len(self.dataset):,} rows encoded, {self.cut} of them with a cut answer; {left_out}"
        )


def load_instructions(
    source: str | os.PathLike,
    *,
    columns: Mapping[str, str | None] | None = None,
    on_invalid: Literal["raise", "drop"] = "raise",
) -> Dataset | DatasetDict:
    """Load instruction data and check every row of it.

    Args:
        source: a folder written by ``save_to_disk`` (or by ``python -m tutorial_lib.tinyworld build``), a ``.json``, ``.jsonl``,
            ``.csv`` or ``.parquet`` file, a hub id, or ``"tinyworld"``.
        columns: where the data set's names differ, e.g. ``{"instruction": "question", "output": "answer", "input": None}``; ``None`` says
            that there is no such column (allowed for ``input``, which is then empty).
        on_invalid: ``"raise"``, or ``"drop"`` to leave bad rows out and log their numbers as a warning.

    Returns:
        A Dataset if the source has one split, else a DatasetDict. The columns ``instruction``, ``input`` and ``output`` come first, all of
        them text; further columns are kept.

    Raises:
        DataError: the source does not exist or is no data set, a column is missing, or (with ``"raise"``) rows are not usable; the message
            names the rows.
        HubUnreachableError: a hub id that is not cached while the hub can't be reached.
    """
    data, noted = _read(str(source))
    splits = data if isinstance(data, DatasetDict) else DatasetDict({"train": data})
    names = {ours: (columns or {}).get(ours, ours) for ours in COLUMNS}
    checked = {}
    for split, rows in splits.items():
        where = f"{source}" if len(splits) == 1 else f"{source} ({split})"
        renamed = _rename(rows, columns or {}, where)
        not_text = [
            RowProblem(row, ours, _not_text(value))
            for column, row, value in noted
            for ours in COLUMNS
            if column == names[ours]
        ]
        checked[split] = _check(renamed, [*find_problems(renamed), *not_text], on_invalid, where)
        if not _is_tinyworld(str(source)):  # which asks some things twice by design
            _report_repeated(renamed, where)
    return DatasetDict(checked) if len(checked) > 1 else next(iter(checked.values()))


def load_splits(
    source: str | os.PathLike, *, columns: Mapping[str, str | None] | None = None, seed: int = 42
) -> DatasetDict:
    """Load instruction data as ``train`` and ``held_out``.

    A split called held_out, test or validation is the held-out one; where there is none, 5 % of the rows (at most 500) are held out at
    random, the same ones for the same `seed`.
    """
    data = load_instructions(source, columns=columns)
    if isinstance(data, DatasetDict) and "train" not in data:
        raise DataError(
            f"{source}: no split is called 'train', found {', '.join(data)}; rename one"
        )
    train = data["train"] if isinstance(data, DatasetDict) else data
    if isinstance(data, DatasetDict):
        for name in HELD_OUT_NAMES:
            if name in data:
                return DatasetDict({"train": train, "held_out": data[name]})
    if len(train) < 2:
        raise DataError(
            f"{source}: {len(train)} row(s) can't be divided into train and held-out rows; give at least 2"
        )
    parts = train.train_test_split(test_size=max(1, min(500, len(train) // 20)), seed=seed)
    return _without_shared_questions(parts["train"], parts["test"], str(source))


def _without_shared_questions(train: Dataset, held_out: Dataset, source: str) -> DatasetDict:
    """Move held-out rows whose question is a training row's too to the training rows: their answers would be known."""
    asked = set(zip(train["instruction"], train["input"], strict=True))
    shared = [
        row
        for row, question in enumerate(zip(held_out["instruction"], held_out["input"], strict=True))
        if question in asked
    ]
    if shared:
        logger.warning(
            "%s: %d held-out rows ask what training rows ask; they are trained on instead",
            source,
            len(shared),
        )
        if len(shared) == len(held_out):
            raise DataError(
                f"{source}: every row that would be held out asks what a training row asks; remove the rows that repeat others"
            )
        train = concatenate_datasets([train, held_out.select(shared)])
        held_out = held_out.select(sorted(set(range(len(held_out))) - set(shared)))
    return DatasetDict({"train": train, "held_out": held_out})


def find_problems(dataset: Dataset) -> list[RowProblem]:
    """Return what is wrong with the rows of `dataset`, in row order: null, no text, an empty instruction or output, over-long text."""
    problems: list[RowProblem] = []
    for column in COLUMNS:
        # Plain Python values, a column at a time: millions of rows pass in seconds and nothing is copied twice.
        for row, value in enumerate(dataset[column]):
            if found := _problem(column, value):
                problems.append(RowProblem(row, column, found))
    return sorted(problems, key=_row_and_column)


def _row_and_column(problem: RowProblem) -> tuple[int, int]:
    return problem.row, COLUMNS.index(problem.column)


def encode_dataset(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int = MAX_LENGTH,
    *,
    keep_end: bool = False,
) -> EncodedRows:
    """Tokenize every row with ``formatting.encode_example``; rows with nothing to learn from are left out and reported.

    Raises:
        RowError: a row is not usable at all; names the row.
    """
    dead: list[int] = []
    cut: list[int] = []
    features = Features(
        {name: List(Value("int64")) for name in ("input_ids", "attention_mask", "labels")}
    )
    if not len(dataset):
        return EncodedRows(
            Dataset.from_dict({name: [] for name in features}, features=features), (), 0
        )
    rows = dataset.map(
        # `map` describes what it calls: a function of the module by its name; one that is made here, instruction by instruction.
        partial(
            _encode_batch,
            tokenizer=tokenizer,
            max_length=max_length,
            keep_end=keep_end,
            dead=dead,
            cut=cut,
        ),
        batched=True,  # the tokenizer takes many texts at a time, on all cores; the result is that of row after row
        with_indices=True,
        remove_columns=dataset.column_names,
        features=features,
        load_from_cache_file=False,  # the cache does not see a change of encode_example
        desc="tokenizing",
    )
    return EncodedRows(rows, tuple(dead), len(cut))


def _encode_batch(
    batch: Mapping[str, Sequence],
    numbers: Sequence[int],
    *,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    keep_end: bool,
    dead: list[int],
    cut: list[int],
) -> pa.Table:
    """Return the rows of a batch that can be learnt from; the numbers of those that can't go to `dead`, of those that were cut to `cut`."""
    instructions, inputs, outputs = _checked(batch, numbers)
    ids = encode_texts([*map(format_prompt, instructions, inputs), *outputs], tokenizer)
    end_id = tokenizer.eos_token_id  # looked up once: it takes as long as joining a row
    prompts, responses = [], []
    for number, prompt_ids, output_ids in zip(
        numbers, ids[: len(outputs)], ids[len(outputs) :], strict=True
    ):
        try:
            response_ids = respond(prompt_ids, output_ids, end_id, max_length, keep_end=keep_end)
        except NoSupervisedTokenError:
            dead.append(number)
            continue
        if len(prompt_ids) + len(output_ids) + 1 > max_length:  # with the end token
            cut.append(number)
        prompts.append(prompt_ids)
        responses.append(response_ids)
    begins, columns = join_rows(prompts, responses)
    return pa.table(
        {name: pa.LargeListArray.from_arrays(begins, column) for name, column in columns.items()}
    )


def _checked(
    batch: Mapping[str, Sequence], numbers: Sequence[int]
) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    """Return the columns of a batch as ``check_example`` would; all rows at once, and one by one only to name the row that is wrong."""
    instructions, outputs = batch.get("instruction"), batch.get("output")
    inputs = batch.get("input") or [""] * len(numbers)
    try:
        if instructions and outputs and all(outputs):
            "".join((*instructions, *inputs, *outputs)).encode("utf-8")
            return instructions, inputs, outputs
    except (TypeError, UnicodeEncodeError):  # a value that is no text, half a character
        pass
    for number, *values in zip(numbers, *batch.values(), strict=True):
        try:
            check_example(dict(zip(batch, values, strict=True)))
        except RowError as error:
            raise RowError(f"row {number}: {error}") from None
    raise AssertionError("a batch that is wrong has a row that is wrong")


def _problem(column: str, value: object) -> str | None:
    if value is None:
        return (
            "null; write an empty text or drop the row"
            if column == "input"
            else "null; fill it or drop the row"
        )
    if not isinstance(value, str) or not is_encodable(value):
        return _not_text(value)
    if column != "input" and not value.strip(INVISIBLE):
        return (
            "empty; fill it or drop the row"
            if not value.strip()
            else "nothing but invisible characters; fill it or drop the row"
        )
    if control := CONTROL.search(value):
        return f"the control character U+{ord(control[0]):04X}; remove it or drop the row"
    if len(value) > MAX_CHARACTERS:
        return f"{len(value):,} characters, more than {MAX_CHARACTERS:,}; is this one row?"
    return None


def _not_text(value: object) -> str:
    if isinstance(value, str):
        return "half a character (a lone surrogate); mend it or drop the row"
    return f"{type(value).__name__} {value!r:.40} instead of text"


def _check(rows: Dataset, problems: Sequence[RowProblem], on_invalid: str, where: str) -> Dataset:
    if problems := sorted(problems, key=_row_and_column):
        bad = sorted({problem.row for problem in problems})
        listed = "; ".join(map(str, problems[:10])) + ("; …" if len(problems) > 10 else "")
        summary = (
            f"{where}: {len(bad)} of {len(rows)} rows can't be used (rows counted from 0): {listed}"
        )
        if on_invalid == "raise":
            raise DataError(f'{summary}. Mend them, or leave them out with on_invalid="drop"')
        logger.warning("%s. Left out: rows %s", summary, bad)
        rows = rows.select(sorted(set(range(len(rows))) - set(bad)))
    if not len(rows):
        raise DataError(f"{where}: no rows")
    for column in COLUMNS:  # an all-empty column may have been read as null or number type
        rows = (
            rows
            if rows.features[column] == Value("string")
            else rows.cast_column(column, Value("string"))
        )
    return rows


def _report_repeated(rows: Dataset, where: str) -> None:
    """Log the rows that are exactly another one: they are trained on as often as they stand there, which may not be meant."""
    first: dict[tuple[str, ...], int] = {}
    repeated = []
    for number, row in enumerate(zip(*(rows[column] for column in COLUMNS), strict=True)):
        if all(isinstance(text, str) for text in row) and first.setdefault(row, number) != number:
            repeated.append(number)
    if repeated:
        said = (
            "%s: %d rows are exactly like an earlier one (rows %s, counted from 0); they are kept"
        )
        logger.warning(said, where, len(repeated), listed_rows(repeated))


def _rename(rows: Dataset, columns: Mapping[str, str | None], where: str) -> Dataset:
    if unknown := set(columns) - set(COLUMNS):
        raise DataError(
            f"{where}: columns maps {sorted(unknown)}, but the names to map are {list(COLUMNS)}"
        )
    wanted = {ours: columns.get(ours, ours) for ours in COLUMNS}
    for ours, theirs in wanted.items():
        if theirs not in rows.column_names and not (theirs is None and ours == "input"):
            raise DataError(
                f"{where}: no column {theirs!r}, found {', '.join(rows.column_names) or 'none'}; map the names with "
                f'columns={{"{ours}": "its name here"}}'
                + (' or {"input": None} if there is none' if ours == "input" else "")
            )
    # All at once through names that nobody has: two columns may change places.
    rows = rows.rename_columns(
        {theirs: f"\0{ours}" for ours, theirs in wanted.items() if theirs is not None}
    )
    rows = rows.remove_columns([name for name in rows.column_names if name in COLUMNS])
    rows = rows.rename_columns(
        {f"\0{ours}": ours for ours, theirs in wanted.items() if theirs is not None}
    )
    if wanted["input"] is None:
        rows = rows.add_column("input", [""] * len(rows))
    return rows.select_columns(
        [*COLUMNS, *(name for name in rows.column_names if name not in COLUMNS)]
    )


def _read(source: str) -> tuple[Dataset | DatasetDict, Oddities]:
    """Return the data, and the values that could not be kept as they were."""
    if _is_tinyworld(source):
        return load_from_disk(str(tinyworld_folder(source))), []
    if not looks_like_folder(source):
        require_reachable(source, "dataset")
        return _guarded(lambda: (load_dataset(source), []), source)
    path = Path(source).expanduser()
    if path.is_dir():
        if (path / "instructions").is_dir():  # a folder written by `tinyworld build`
            path = path / "instructions"
        if not ((path / "dataset_dict.json").is_file() or (path / "state.json").is_file()):
            raise DataError(
                f"{source!r} is no data set: give a folder written by save_to_disk, or a {_endings()} file"
            )
        return _guarded(lambda: (load_from_disk(str(path)), []), source)
    if not path.is_file():
        what = (
            "it is neither a file nor a folder"
            if path.exists()
            else "there is no such file or folder"
        )
        raise DataError(f"no data set {source!r}: {what}; check the path")
    if path.suffix not in FILE_READERS:
        raise DataError(
            f"{source!r} can't be read: give a {_endings()} file, or a folder written by save_to_disk"
        )
    if not path.stat().st_size:
        raise DataError(f"{source!r} is an empty file")
    return _guarded(lambda: FILE_READERS[path.suffix](path), source)


def _guarded(
    read: Callable[[], tuple[Dataset | DatasetDict, Oddities]], source: str
) -> tuple[Dataset | DatasetDict, Oddities]:
    try:
        return read()
    except DataError:
        raise
    except FileNotFoundError:
        raise not_found(source, "dataset") from None
    except Exception as error:
        cause = error.__cause__ or error
        first_line = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise cut_off(error, source, "dataset") or DataError(
            f"{source!r} can't be read as a data set: {first_line}"
        ) from error


def _is_tinyworld(source: str) -> bool:
    return source == TINYWORLD or source.startswith(f"{TINYWORLD}:")


def _endings() -> str:
    return ", ".join(FILE_READERS)


def first_rows(dataset: Dataset, task: str | None, limit: int) -> Sequence[dict]:
    """Return up to `limit` rows, only those of one `task` where the data set tells tasks apart."""
    if task is not None and "task" in dataset.column_names:
        wanted = [row for row, name in enumerate(dataset["task"]) if name == task]
        dataset = dataset.select(wanted[:limit]) if wanted else dataset
    return dataset.select(range(min(limit, len(dataset)))).to_list()
