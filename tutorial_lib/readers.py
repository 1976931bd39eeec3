"""Read rows from files of any origin: text stays text, a fault names its line, memory is bounded.

Neither Arrow's readers nor pandas' can replace this: they guess types ("007" becomes 7), fill
rows that are too short, accept a quote in the middle of a cell, and name no row.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset

from tutorial_lib.errors import DataError
from tutorial_lib.formatting import is_encodable

MAX_LINE = 10_000_000  # bytes; a longer line is not a row
MAX_LIST = 1_000_000_000  # bytes of a file that has to be read as one JSON list
PACKED = {  # the first bytes of files that have to be unpacked first
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
}
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# JSON values that are not text, by column and row (from 0); the data set has their JSON text.
NonTextCells = Mapping[str, Mapping[int, object]]


def read_csv(path: Path) -> tuple[Dataset, NonTextCells]:
    """Read every cell as the text that it is.

    Raises:
        DataError: names the row; a quote that never ends is an error too.
    """
    reader = csv.reader(_lines(path), strict=True)
    header: list[str] = []
    rows: list[list[str]] = []
    try:
        header = next(reader, [])
        for row in reader:
            if row and len(row) != len(header):
                counts = f"row {len(rows)} has {len(row)} cells, the header {len(header)}"
                raise _unreadable(path, f"{counts}; put quotes around cells with commas")
            if row:
                rows.append(row)
    except csv.Error as error:
        end = f"row {len(rows)}, which ends in line {reader.line_num}"
        raise _unreadable(path, f"{end}: {error}") from None
    if doubled := sorted({name for name in header if header.count(name) > 1}):
        names = ", ".join(map(repr, doubled))
        raise _unreadable(path, f"the header names {names} twice; rename one")
    columns = {name: [row[number] for row in rows] for number, name in enumerate(header)}
    return Dataset.from_dict(columns), {}


def read_json(path: Path) -> tuple[Dataset, NonTextCells]:
    """Read a list of objects, or one object per line, and keep every text as it is.

    Arrow's own reader turns a column of dates into timestamps, and refuses a column of text in
    which one value is a number. Here such a value becomes its JSON text and is returned beside.

    Raises:
        DataError: names the line or the row.
    """
    rows = list(_objects(path))
    columns, cells = {}, {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        present = {row: value for row, value in enumerate(values) if value is not None}
        odd = {row: value for row, value in present.items() if not _is_text(value)}
        one_type = len({type(value) for value in present.values()}) == 1
        if not one_type or any(isinstance(value, str) for value in odd.values()):
            cells[name] = odd
            values = [
                json.dumps(value) if row in odd else value for row, value in enumerate(values)
            ]
        columns[name] = values
    return Dataset.from_dict(columns), cells


def read_parquet(path: Path) -> tuple[Dataset, NonTextCells]:
    """Read a parquet file, which carries its types."""
    return load_dataset("parquet", data_files=str(path), split="train"), {}


FILE_READERS: Mapping[str, Callable[[Path], tuple[Dataset, NonTextCells]]] = {
    ".json": read_json,
    ".jsonl": read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
}


def _unreadable(path: Path, problem: str) -> DataError:
    return DataError(f"{path} can't be read as a data set: {problem}")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and is_encodable(value)


def _objects(path: Path) -> Iterator[dict]:
    lines = ((number, line) for number, line in enumerate(_lines(path), 1) if line.strip())
    first = next(lines, None)
    if first is None:
        return
    _, text = first
    if text.lstrip().startswith("[") or (path.suffix == ".json" and not _is_object(text)):
        rows = _read_list(path)
    else:
        rows = (_parse(line.rstrip(), path, number) for number, line in chain([first], lines))
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            kind = type(row).__name__
            raise _unreadable(path, f"row {number} is {kind}, not an object with columns")
        yield row


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _read_list(path: Path) -> list:
    """Return the rows of a file that is one JSON value; an object is one row."""
    if path.stat().st_size > MAX_LIST:
        size = f"it is one JSON list of more than {MAX_LIST / 1e9:.0f} GB"
        raise _unreadable(path, f"{size}; write one object per line instead (.jsonl)")
    rows = _parse(_decode(path.read_bytes(), path, 1), path)
    if not isinstance(rows, list | dict):
        raise _unreadable(path, f"it holds {type(rows).__name__}, not a list of rows")
    return rows if isinstance(rows, list) else [rows]


def _parse(text: str, path: Path, line: int | None = None) -> Any:
    """Parse one JSON value: line number `line` of the file, or (None) the whole file."""
    try:
        return json.loads(text, object_pairs_hook=_without_doubles)
    except json.JSONDecodeError as error:
        position = f"line {line or error.lineno}, column {error.colno}"
        raise _unreadable(path, f"{position}: {error.msg}") from None
    except RecursionError:
        problem = "it is nested too deeply"
    except ValueError as error:
        problem = str(error).splitlines()[0]
    raise _unreadable(path, f"line {line}: {problem}" if line else problem)


def _without_doubles(pairs: list[tuple[str, object]]) -> dict:
    row = dict(pairs)
    if len(row) < len(pairs):  # json.loads alone would keep the last one without a word
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {doubled!r} occurs twice in one object")
    return row


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file; only one of them is in memory."""
    with path.open("rb") as file:
        start = file.read(8)
        for magic, name in PACKED.items():
            if start.startswith(magic):
                raise DataError(f"{path} is packed ({name}): unpack it first, and check its size")
        file.seek(0)
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                # A file without line ends can still be one JSON list: `_read_list` has a limit.
                if number == 1 and path.suffix == ".json":
                    yield "["
                    return
                length = f"line {number} is longer than {MAX_LINE / 1e6:.0f} MB"
                raise _unreadable(path, f"{length}; is this one row?")
            yield _decode(line, path, number)


def _decode(raw: bytes, path: Path, line: int) -> str:
    if line == 1 and raw.startswith(UTF_16_MARKS):
        raise _unreadable(path, "it is UTF-16; save it as UTF-8")
    try:
        return raw.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line += raw[: error.start].count(b"\n")
        problem = f"line {line} is not UTF-8 (byte 0x{raw[error.start]:02x})"
        raise _unreadable(path, f"{problem}; save it as UTF-8 (it may be GB18030)") from None
