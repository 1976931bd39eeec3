"""Broken files and rows are refused with the row or line, or read whole; no row is lost."""

import gzip
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset

from tutorial_lib.data import load_instructions, load_splits
from tutorial_lib.errors import DataError
from tutorial_lib.readers import FILE_READERS

ENDINGS = ", ".join(map(re.escape, FILE_READERS))

GOOD = [{"instruction": f"第{n}题", "input": "", "output": f"答{n}"} for n in range(6)]
LINES = [json.dumps(row, ensure_ascii=False) for row in GOOD]
CSV = "instruction,input,output\n" + "".join(
    f"{row['instruction']},,{row['output']}\n" for row in GOOD
)


def write(name: str, content: str | bytes):
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return make


def lines(*changed: str) -> str:
    """Good lines with others after the third."""
    return "\n".join([*LINES[:3], *changed, *LINES[3:]]) + "\n"


def row(**values: object) -> str:
    return json.dumps({**GOOD[0], **values}, ensure_ascii=False)


def saved(damage):
    def make(folder: Path) -> Path:
        path = folder / "saved"
        Dataset.from_list(GOOD).save_to_disk(path)
        damage(path)
        return path

    return make


def truncated_parquet(folder: Path) -> Path:
    path = folder / "rows.parquet"
    Dataset.from_list(GOOD).to_parquet(path)
    os.truncate(path, path.stat().st_size // 2)
    return path


def parquet(**changed: list):
    def make(folder: Path) -> Path:
        columns = {"instruction": ["a", "b"], "input": ["", ""], "output": ["c", "d"]}
        Dataset.from_dict({**columns, **changed}).to_parquet(folder / "rows.parquet")
        return folder / "rows.parquet"

    return make


def loop(folder: Path) -> Path:
    (folder / "loop.jsonl").symlink_to(folder / "loop.jsonl")
    return folder / "loop.jsonl"


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.jsonl")
    return folder / "pipe.jsonl"


def folder_called_json(folder: Path) -> Path:
    (folder / "rows.json").mkdir()
    return folder / "rows.json"


REFUSED = {
    # --- files
    "GB18030": (
        write("a.jsonl", lines().encode("gb18030")),
        r"line 1 is not UTF-8 \(byte 0x.*GB18030",
    ),
    "one line of Latin-1": (
        write("a.jsonl", (LINES[0] + "\n").encode() + '{"output": "é"}'.encode("latin-1")),
        "line 2 is not UTF-8",
    ),
    "UTF-16": (write("a.jsonl", lines().encode("utf-16")), "it is UTF-16; save it as UTF-8"),
    "CSV in GB18030": (write("a.csv", CSV.encode("gb18030")), "line 2 is not UTF-8"),
    "JSON list in GB18030": (
        write("a.json", json.dumps(GOOD, ensure_ascii=False, indent=1).encode("gb18030")),
        "line 3 is not UTF-8",
    ),
    "gzip": (
        write("a.jsonl", gzip.compress(lines().encode())),
        r"packed \(gzip\): unpack it first",
    ),
    "gzip called CSV": (write("a.csv", gzip.compress(CSV.encode())), r"packed \(gzip\)"),
    "zip": (write("a.json", b"PK\x03\x04 and so on"), r"packed \(zip\)"),
    "empty": (write("a.jsonl", ""), "is an empty file"),
    "white space only": (write("a.jsonl", " \n\n \n"), "no column 'instruction'"),
    "header only": (write("a.csv", "instruction,input,output\n"), "no rows"),
    "unknown ending": (write("a.txt", lines()), f"give a {ENDINGS} file"),
    "a JSON list called CSV": (write("a.csv", json.dumps(GOOD)), "can't be read|no column"),
    "folder called rows.json": (folder_called_json, "is not a data set"),
    "symbolic link to itself": (loop, "there is no such file|can't be read"),
    "named pipe": (fifo, "neither a file nor a folder"),
    "truncated parquet": (truncated_parquet, "can't be read as a data set"),
    "text called parquet": (write("a.parquet", lines()), "can't be read as a data set"),
    "saved without its rows": (
        saved(lambda path: [file.unlink() for file in path.glob("*.arrow")]),
        "can't be read|no data set",
    ),
    "saved with rows cut off": (
        saved(
            lambda path: [
                os.truncate(file, file.stat().st_size // 2) for file in path.glob("*.arrow")
            ]
        ),
        "can't be read as a data set",
    ),
    "saved with a broken state": (
        saved(lambda path: (path / "state.json").write_text("{", encoding="utf-8")),
        "can't be read",
    ),
    # --- JSON
    "truncated list": (write("a.json", json.dumps(GOOD)[:-20]), r"line 1, column \d+"),
    "truncated line": (write("a.jsonl", lines()[:-12]), r"line 6, column \d+"),
    "bad line in the middle": (
        write("a.jsonl", lines('{"instruction": "x"')),
        r"line 4, column \d+",
    ),
    "raw NUL": (
        write("a.jsonl", lines('{"instruction": "x\0y", "input": "", "output": "z"}')),
        "line 4, column .*control character",
    ),
    "one quote missing": (write("a.jsonl", lines('{"instruction: "x"}')), "line 4"),
    "single quotes": (write("a.jsonl", lines("{'instruction': 'x'}")), "line 4"),
    "two objects in a line": (write("a.jsonl", lines(LINES[0] + LINES[1])), "line 4.*Extra data"),
    "a name twice in an object": (
        write("a.jsonl", lines('{"output": "a", "output": "b"}')),
        "line 4: the name 'output' occurs twice",
    ),
    "a name twice in a list": (
        write("a.json", '[{"output": "a", "output": "b"}]'),
        "'output' occurs twice",
    ),
    "a line that is a list": (write("a.jsonl", lines("[1, 2]")), "row 3 is list, not an object"),
    "a line that is a number": (write("a.jsonl", lines("7")), "row 3 is int, not an object"),
    "a text and nothing else": (write("a.json", '"text"'), "it holds str, not a list"),
    "nested 100,000 deep": (
        write("a.jsonl", lines('{"instruction": ' + "[" * 100_000 + "]" * 100_000 + "}")),
        "line 4: it is nested too deeply",
    ),
    "a list nested 100,000 deep": (
        write("a.json", "[" * 100_000 + "]" * 100_000),
        "nested too deeply",
    ),
    "a number of 10,000 digits": (
        write("a.jsonl", lines('{"instruction": ' + "7" * 10_000 + "}")),
        "line 4: .*digits",
    ),
    # --- rows
    "lone surrogate": (
        write("a.jsonl", lines('{"instruction": "\\ud83d", "input": "", "output": "x"}')),
        "row 3, column 'instruction': half a",
    ),
    "nested object": (
        write("a.jsonl", lines(row(output={"text": "x"}))),
        "row 3, column 'output': dict",
    ),
    "nested list": (
        write("a.jsonl", lines(row(instruction=["x"]))),
        "row 3, column 'instruction': list",
    ),
    "a boolean": (write("a.jsonl", lines(row(output=True))), "row 3, column 'output': bool True"),
    "NaN": (
        write("a.jsonl", lines('{"instruction": "x", "input": "", "output": NaN}')),
        "row 3, column 'output': float nan",
    ),
    "Infinity": (
        write("a.jsonl", lines('{"instruction": "x", "input": "", "output": -Infinity}')),
        "row 3, column 'output': float -inf",
    ),
    "null": (write("a.jsonl", lines(row(output=None))), "row 3, column 'output': null"),
    "a column missing in one row": (
        write("a.jsonl", lines('{"instruction": "x", "output": "y"}')),
        "row 3, column 'input': null",
    ),
    "escaped NUL": (
        write("a.jsonl", lines(row(output="a\0b"))),
        r"row 3, column 'output': the control character U\+0000",
    ),
    "terminal escape": (
        write("a.jsonl", lines(row(instruction="\x1b[31mred"))),
        r"row 3.* control character U\+001B",
    ),
    "zero-width only": (
        write("a.jsonl", lines(row(output="\u200b\u200d\ufeff"))),
        "row 3, column 'output': nothing but invisible",
    ),
    "white space of other scripts only": (
        write("a.jsonl", lines(row(output="\u3000\u00a0\n"))),
        "row 3, column 'output': empty",
    ),
    "an instruction of a million characters": (
        write("a.jsonl", lines(row(instruction="长" * 1_000_000))),
        "row 3.*1,000,000 characters",
    ),
    "parquet of numbers": (parquet(output=[1, 2]), "row 0, column 'output': int 1"),
    "parquet of lists": (parquet(output=[["x"], ["y"]]), "row 0, column 'output': list"),
    "parquet of nulls": (parquet(instruction=[None, None]), "row 0, column 'instruction': null"),
    # --- CSV
    "shifted cells": (
        write("a.csv", CSV + "a,b,c,d\n"),
        "row 6 has 4 cells, the header 3; put quotes around",
    ),
    "too few cells": (write("a.csv", CSV + "a,b\n"), "row 6 has 2 cells, the header 3"),
    "a quote that never ends": (
        write("a.csv", CSV + '"a,b,c\nd,e,f\n'),
        "row 6.*unexpected end of data",
    ),
    "a quote in the middle of a cell": (write("a.csv", CSV + '"a"x,b,c\n'), "row 6"),
    "a header with a name twice": (
        write("a.csv", "instruction,input,output,output\na,b,c,d\n"),
        "the header names 'output' twice",
    ),
    "semicolons": (write("a.csv", CSV.replace(",", ";")), "no column 'instruction', found"),
    "a cell of NUL": (write("a.csv", CSV + "a\0,b,c\n"), "row 6.*(NUL|control character)"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_broken_is_named(kind, tmp_path):
    make, message = REFUSED[kind]
    path = make(tmp_path)
    with pytest.raises(DataError) as raised:
        load_instructions(path)
    error = str(raised.value)
    assert "\n" not in error
    assert re.search(message, error), error
    assert path.name in error


def test_there_are_forty_kinds_at_least():
    assert len(REFUSED) >= 40


KEPT = {
    "byte-order mark": write("a.jsonl", b"\xef\xbb\xbf" + lines().encode()),
    "byte-order mark in a CSV": write("a.csv", b"\xef\xbb\xbf" + CSV.encode()),
    "Windows line ends": write("a.jsonl", lines().replace("\n", "\r\n")),
    "mixed line ends": write("a.csv", CSV.replace("\n", "\r\n", 3)),
    "empty lines between": write("a.jsonl", lines().replace("\n", "\n\n")),
    "no line end at the end": write("a.jsonl", lines().rstrip("\n")),
    "a list over many lines": write("a.json", json.dumps(GOOD, indent=2)),
    "an object a line, called .json": write("a.json", lines()),
    "a list, called .jsonl": write("a.jsonl", json.dumps(GOOD)),
    "a thousand further columns": write(
        "a.jsonl",
        "\n".join(json.dumps({**good, **{f"c{n}": n for n in range(1_000)}}) for good in GOOD),
    ),
    "rows that differ in their further columns": write(
        "a.jsonl", "\n".join(json.dumps({**r, f"x{n}": n}) for n, r in enumerate(GOOD))
    ),
}


@pytest.mark.parametrize("kind", KEPT)
def test_what_only_looks_odd_is_read_whole(kind, tmp_path):
    loaded = load_instructions(KEPT[kind](tmp_path))
    assert loaded.select_columns(["instruction", "input", "output"]).to_list() == GOOD


def test_line_ends_within_a_text_stay_as_they_are(tmp_path):
    texts = ["a\r\nb", "a\nb", "a\u2028b", "a\tb", "a\u0085b"]
    jsonl = write("a.jsonl", "\n".join(row(output=text) for text in texts))(tmp_path)
    quoted = write(
        "a.csv",
        "instruction,input,output\n" + "".join(f'q{n},,"{text}"\n' for n, text in enumerate(texts)),
    )(tmp_path)
    assert load_instructions(jsonl)["output"][:] == texts
    assert load_instructions(quoted)["output"][:] == texts


LIMITED = """
import resource, sys
from tutorial_lib.data import load_instructions
from tutorial_lib.errors import DataError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load_instructions(sys.argv[1])
except DataError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts kilobytes as Linux does")
@pytest.mark.parametrize("kind", ["a line of 100 MB", "5 MB that unpack to 5 GB"])
def test_memory_stays_small_whatever_the_file(kind, tmp_path):
    if kind == "a line of 100 MB":
        path = write(
            "a.jsonl",
            lines('{"instruction": "' + "x" * 100_000_000 + '", "input": "", "output": "y"}'),
        )(tmp_path)
        message = "line 4 is longer than 10 MB"
    else:
        path = tmp_path / "a.jsonl"
        member = gzip.compress(b"\0" * 50_000_000)
        path.write_bytes(member * 100)  # members of a gzip file unpack one after the other: 5 GB
        assert path.stat().st_size < 6_000_000
        message = "packed (gzip)"
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=True,
    )
    error, growth = done.stdout.strip().splitlines()
    assert message in error
    assert int(growth) < 60, f"{growth} MiB"


# --- repeated rows -------------------------------------------------------------------------------


def test_rows_that_repeat_others_are_kept_and_reported(tmp_path, caplog):
    path = write("a.jsonl", lines(LINES[0], LINES[2]))(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert len(load_instructions(path)) == 8
    assert "2 rows repeat an earlier one (rows 3, 4" in caplog.text


def test_ids_may_repeat(tmp_path, caplog):
    path = write("a.jsonl", "\n".join(json.dumps({**good, "id": 7}) for good in GOOD))(tmp_path)
    assert load_instructions(path).to_list() == [{**good, "id": 7} for good in GOOD]
    assert not caplog.records


def test_no_question_is_both_trained_on_and_held_out(tmp_path, caplog):
    repeated = [{"instruction": f"{n % 50}?", "input": "", "output": f"{n}"} for n in range(400)]
    path = write(
        "a.jsonl",
        "\n".join(
            map(
                json.dumps,
                [*repeated, *({**r, "instruction": f"only {n}"} for n, r in enumerate(repeated))],
            )
        ),
    )(tmp_path)
    with caplog.at_level(logging.WARNING):
        parts = load_splits(path)
    assert not set(parts["train"]["instruction"]) & set(parts["held_out"]["instruction"])
    assert len(parts["train"]) + len(parts["held_out"]) == 800
    assert "held-out rows have the question of a training row" in caplog.text


def test_nothing_to_hold_out_is_an_error(tmp_path):
    path = write("a.jsonl", "\n".join([LINES[0]] * 40))(tmp_path)
    with pytest.raises(
        DataError, match="every row that would be held out has the question of a training row"
    ):
        load_splits(path)


def test_a_file_that_can_not_be_read_is_an_error(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = write("a.jsonl", lines())(tmp_path)
    path.chmod(0)
    with pytest.raises(DataError, match="can't be read"):
        load_instructions(path)


def test_a_good_saved_folder_is_good(tmp_path):
    path = saved(lambda path: None)(tmp_path)
    assert load_instructions(path).to_list() == GOOD
    shutil.rmtree(path)
