"""Read rows out of a file that somebody else made: every text as it is, every fault named by its line or row, in bounded memory."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset

from tutorial_lib.errors import DataError
from tutorial_lib.formatting import is_encodable

MAX_LINE = 10_000_000  # bytes; a longer line is no row
MAX_LIST = 1_000_000_000  # bytes of a file that has to be read as one JSON list
PACKED = {  # how files begin that have to be unpacked first
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
}
OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
# Column, row number (from 0), and what stood there instead of text.
Oddities = list[tuple[str, int, object]]


def read_csv(path: Path) -> tuple[Dataset, Oddities]:
    """Read every cell as the text that it is: a reader that guesses types turns "007" into 7 and "NA" into nothing.

    Raises:
        DataError: names the row; a quote that never ends is one too.
    """
    unread = f"{path} can't be read as a data set:"
    reader = csv.reader(_lines(path), strict=True)
    header: list[str] = []
    rows: list[list[str]] = []
    try:
        header = next(reader, [])
        for row in reader:
            if row and len(row) != len(header):
                raise DataError(
                    f"{unread} row {len(rows)} has not the header's {len(header)} cells but {len(row)}; quote commas"
                )
            if row:
                rows.append(row)
    except csv.Error as error:
        raise DataError(
            f"{unread} row {len(rows)}, which ends in line {reader.line_num}: {error}"
        ) from None
    if doubled := sorted({name for name in header if header.count(name) > 1}):
        raise DataError(
            f"{unread} the header names {', '.join(map(repr, doubled))} twice; rename one"
        )
    return Dataset.from_dict(
        {name: [row[place] for row in rows] for place, name in enumerate(header)}
    ), []


def read_json(path: Path) -> tuple[Dataset, Oddities]:
    """Read a list of objects, or an object a line, and keep every text as it is.

    Arrow's own reader makes a time stamp of a column of dates, and refuses a column in which one value is a number. Here such a value is
    kept as its JSON text and noted.

    Raises:
        DataError: names the line or the row.
    """
    rows = list(_objects(path))
    columns, noted = {}, []
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        odd = {
            row: value
            for row, value in enumerate(values)
            if value is not None and not (isinstance(value, str) and is_encodable(value))
        }
        if len({type(value) for value in values if value is not None}) == 1 and not any(
            isinstance(value, str) for value in odd.values()
        ):
            columns[name] = values  # one type throughout: it stays
        else:
            columns[name] = [
                json.dumps(value) if row in odd else value for row, value in enumerate(values)
            ]
            noted += [(name, row, value) for row, value in odd.items()]
    return Dataset.from_dict(columns), noted


def read_parquet(path: Path) -> tuple[Dataset, Oddities]:
    """Read a parquet file, which carries its types."""
    return load_dataset("parquet", data_files=str(path), split="train"), []


FILE_READERS: Mapping[str, Callable[[Path], tuple[Dataset, Oddities]]] = {
    ".json": read_json,
    ".jsonl": read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
}


def _objects(path: Path) -> Iterator[dict]:
    lines = ((number, line) for number, line in enumerate(_lines(path), 1) if line.strip())
    first = next(lines, None)
    if first is None:
        return
    if path.suffix == ".json" or first[1].lstrip().startswith("["):
        whole = _whole(path)
        if whole is not None:
            yield from whole
            return
    for row, (number, line) in enumerate(chain([first], lines)):
        yield _object(_parse(line, f"{path} can't be read as a data set: line {number}"), path, row)


def _whole(path: Path) -> list[dict] | None:
    """The rows of a file that is one JSON value; None where it is an object a line after all."""
    if path.stat().st_size > MAX_LIST:
        raise DataError(
            f"{path} is one JSON list of more than {MAX_LIST / 1e9:.0f} GB: write an object a line instead (.jsonl)"
        )
    text = _decode(path.read_bytes(), path, 1)
    try:
        rows = _loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # the first line was whole
            return None
        raise DataError(
            f"{path} can't be read as a data set: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} can't be read as a data set: {_said(error)}") from None
    rows = [rows] if isinstance(rows, dict) else rows
    if not isinstance(rows, list):
        raise DataError(
            f"{path} can't be read as a data set: it holds {type(rows).__name__}, not a list of rows"
        )
    return [_object(row, path, number) for number, row in enumerate(rows)]


def _object(row: object, path: Path, number: int) -> dict:
    if not isinstance(row, dict):
        raise DataError(
            f"{path} can't be read as a data set: row {number} is {type(row).__name__}, not an object with columns"
        )
    return row


def _parse(line: str, where: str) -> Any:
    try:
        return _loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}, column {error.colno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: {_said(error)}") from None


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_without_doubles)


def _without_doubles(pairs: list[tuple[str, object]]) -> dict:
    made = dict(pairs)
    if len(made) < len(pairs):  # Python's reader would keep the last one and say nothing
        names = [name for name, _ in pairs]
        raise ValueError(
            f"the name {next(name for name in names if names.count(name) > 1)!r} stands twice in one object"
        )
    return made


def _said(error: Exception) -> str:
    return (
        "it is nested too deeply"
        if isinstance(error, RecursionError)
        else str(error).splitlines()[0]
    )


def _lines(path: Path) -> Iterator[str]:
    """The lines of a text file, one at a time; never more than one in memory."""
    with path.open("rb") as file:
        start = file.read(8)
        for magic, name in PACKED.items():
            if start.startswith(magic):
                raise DataError(
                    f"{path} is packed ({name}): unpack it first, and look how large it gets"
                )
        file.seek(0)
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                # A file without line ends can still be one JSON list; `_whole` has its own limit.
                if number == 1 and path.suffix == ".json":
                    yield "["
                    return
                raise DataError(
                    f"{path} can't be read as a data set: line {number} is longer than {MAX_LINE / 1e6:.0f} MB; is this one row?"
                )
            yield _decode(line, path, number)


def _decode(raw: bytes, path: Path, line: int) -> str:
    for mark, name in OTHER_ENCODINGS.items():
        if line == 1 and raw.startswith(mark):
            raise DataError(f"{path} can't be read as a data set: it is {name}; save it as UTF-8")
    try:
        return raw.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line += raw[: error.start].count(b"\n")
        found = f"line {line} is no UTF-8 (byte 0x{raw[error.start]:02x})"
        raise DataError(
            f"{path} can't be read as a data set: {found}; save it as UTF-8 (it may be GB18030)"
        ) from None
