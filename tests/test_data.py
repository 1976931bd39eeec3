import contextlib
import csv
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
import pytest
from datasets import Dataset, DatasetDict, Features, Value, load_from_disk
from hypothesis import given, settings
from hypothesis import strategies as st

from tutorial_lib.data import (
    COLUMNS,
    MAX_CHARACTERS,
    RowProblem,
    encode_dataset,
    find_problems,
    first_rows,
    load_instructions,
    load_splits,
)
from tutorial_lib.errors import DataError, NoSupervisedTokenError, RowError
from tutorial_lib.formatting import encode_example
from tutorial_lib.readers import FILE_READERS
from tutorial_lib.tinyworld.build import tinyworld_folder

ROWS = [
    {"instruction": "Name a river.", "input": "", "output": "Nile"},
    {"instruction": "翻译成英文。", "input": "河", "output": "river"},
    {"instruction": "Repeat, please.", "input": 'a "b", c\nd', "output": 'a "b", c\nd'},
    {"instruction": "Which code has Namibia?", "input": "", "output": "NA"},
    {"instruction": "What is missing?", "input": "null", "output": "None"},
]
STRINGS = Features({column: Value("string") for column in COLUMNS})


@pytest.fixture(scope="module", autouse=True)
def own_datasets_cache(tmp_path_factory):
    """`load_dataset` copies what it reads into its cache; here not into the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets_cache")
        )
        yield


def write_json(path: Path, rows: Sequence[dict]) -> Path:
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return path


def write_json_lines(path: Path, rows: Sequence[dict]) -> Path:
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def write_csv(path: Path, rows: Sequence[dict]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path: Path, rows: Sequence[dict]) -> Path:
    Dataset.from_list(list(rows)).to_parquet(str(path))
    return path


def write_folder(path: Path, rows: Sequence[dict]) -> Path:
    Dataset.from_list(list(rows)).save_to_disk(str(path))
    return path


WRITERS = {
    "data.json": write_json,
    "data.jsonl": write_json_lines,
    "data.csv": write_csv,
    "data.parquet": write_parquet,
    "data": write_folder,
}


def dataset(*rows: dict) -> Dataset:
    return Dataset.from_list(
        [{"instruction": "Name a river.", "input": "", "output": "Nile"} | row for row in rows]
    )


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_rows_back_as_text(tmp_path, name):
    loaded = load_instructions(WRITERS[name](tmp_path / name, ROWS))
    assert isinstance(loaded, Dataset)
    assert loaded.to_list() == ROWS
    assert loaded.features == STRINGS


def test_a_path_may_be_a_string_or_relative(tmp_path, monkeypatch):
    write_json(tmp_path / "data.json", ROWS)
    monkeypatch.chdir(tmp_path)
    for source in (str(tmp_path / "data.json"), "./data.json", "data.json", Path("data.json")):
        assert load_instructions(source).to_list() == ROWS


def test_empty_csv_cells_are_empty_text_and_NA_stays_text(tmp_path):
    (tmp_path / "data.csv").write_text(
        "instruction,input,output\nCode of Namibia?,,NA\nOf no country?,NA,null\n", encoding="utf-8"
    )
    loaded = load_instructions(tmp_path / "data.csv")
    assert loaded["input"][:] == ["", "NA"]
    assert loaded["output"][:] == ["NA", "null"]


def test_column_of_empty_cells_only_is_empty_text(tmp_path):
    for name in WRITERS:
        loaded = load_instructions(
            WRITERS[name](tmp_path / name, [row | {"input": ""} for row in ROWS])
        )
        assert loaded["input"][:] == [""] * len(ROWS)
        assert loaded.features["input"] == Value("string")


@pytest.mark.parametrize("outputs", [["2", "4"], ["007", "1.50"], ["True", "False"]])
def test_csv_cells_are_text_whatever_they_look_like(tmp_path, outputs):
    rows = [{"instruction": "1 + 1", "input": "", "output": output} for output in outputs]
    assert load_instructions(write_csv(tmp_path / "data.csv", rows)).to_list() == rows


def test_csv_cells_far_down_stay_as_they_were_written(tmp_path):
    rows = [
        {"instruction": "?", "input": "", "output": output}
        for output in ["word"] * 10_000 + ["007"] * 10_000
    ]
    assert load_instructions(write_csv(tmp_path / "data.csv", rows))["output"][-1] == "007"


def test_csv_rows_with_too_many_cells_are_refused(tmp_path):
    (tmp_path / "data.csv").write_text(
        "instruction,input,output\nHello, you,x,y\nBye, you,z,w\n", encoding="utf-8"
    )
    with pytest.raises(DataError):
        load_instructions(tmp_path / "data.csv")


def test_byte_order_mark_is_not_part_of_the_first_column(tmp_path):
    for name in ("data.csv", "data.json", "data.jsonl"):
        path = WRITERS[name](tmp_path / name, ROWS)
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert load_instructions(path).to_list() == ROWS


def test_saved_splits_are_loaded_as_splits(tmp_path):
    saved = DatasetDict({"train": Dataset.from_list(ROWS), "test": Dataset.from_list(ROWS[:2])})
    saved.save_to_disk(str(tmp_path / "splits"))
    loaded = load_instructions(tmp_path / "splits")
    assert isinstance(loaded, DatasetDict)
    assert {split: rows.to_list() for split, rows in loaded.items()} == {
        "train": ROWS,
        "test": ROWS[:2],
    }


def test_single_saved_split_is_loaded_as_a_data_set(tmp_path):
    DatasetDict({"train": Dataset.from_list(ROWS)}).save_to_disk(str(tmp_path / "splits"))
    loaded = load_instructions(tmp_path / "splits")
    assert isinstance(loaded, Dataset)
    assert loaded.to_list() == ROWS


def test_folder_of_a_tinyworld_build_gives_its_instructions(tmp_path):
    DatasetDict(
        {"train": Dataset.from_list(ROWS), "held_out": Dataset.from_list(ROWS[:1])}
    ).save_to_disk(str(tmp_path / "instructions"))
    assert load_instructions(tmp_path)["held_out"].to_list() == ROWS[:1]


def test_our_columns_come_first_and_further_ones_are_kept(tmp_path):
    rows = [
        {
            "id": "7",
            "output": "Nile",
            "task": "relation",
            "input": "",
            "instruction": "Name a river.",
        }
    ]
    loaded = load_instructions(write_json(tmp_path / "data.json", rows))
    assert loaded.column_names == ["instruction", "input", "output", "id", "task"]
    assert loaded.to_list() == rows


# --- naming columns ------------------------------------------------------------------------------


def test_other_column_names_are_mapped(tmp_path):
    rows = [
        {"question": row["instruction"], "context": row["input"], "answer": row["output"]}
        for row in ROWS
    ]
    mapping = {"instruction": "question", "input": "context", "output": "answer"}
    assert (
        load_instructions(write_json(tmp_path / "data.json", rows), columns=mapping).to_list()
        == ROWS
    )


def test_missing_input_column_can_be_declared(tmp_path):
    path = write_json(tmp_path / "data.json", [{"instruction": "Name a river.", "output": "Nile"}])
    loaded = load_instructions(path, columns={"input": None})
    assert loaded.to_list() == [{"instruction": "Name a river.", "input": "", "output": "Nile"}]
    assert loaded.features == STRINGS


def test_mapped_column_replaces_one_that_has_our_name(tmp_path):
    path = write_json(
        tmp_path / "data.json",
        [{"instruction": "?", "input": "", "output": "draft", "final": "Nile"}],
    )
    assert load_instructions(path, columns={"output": "final"}).to_list() == [
        {"instruction": "?", "input": "", "output": "Nile"}
    ]


@pytest.mark.parametrize(("missing", "mapping"), [("output", {}), ("answer", {"output": "answer"})])
def test_missing_column_is_named_with_what_was_found(tmp_path, missing, mapping):
    path = write_json(
        tmp_path / "data.json",
        [{"instruction": "Name a river.", "input": "", "reply": "Nile", "id": 7}],
    )
    with pytest.raises(DataError) as raised:
        load_instructions(path, columns=mapping)
    assert f"no column '{missing}', found instruction, input, reply, id;" in str(raised.value)
    assert 'columns={"output": ' in str(raised.value)


def test_missing_input_column_comes_with_the_way_out(tmp_path):
    path = write_json(tmp_path / "data.json", [{"instruction": "Name a river.", "output": "Nile"}])
    with pytest.raises(DataError, match=r'no column \'input\'.*\{"input": None\}'):
        load_instructions(path)


@pytest.mark.parametrize("column", ["instruction", "output"])
def test_only_the_input_can_be_declared_missing(tmp_path, column):
    with pytest.raises(DataError, match="no column None"):
        load_instructions(write_json(tmp_path / "data.json", ROWS), columns={column: None})


def test_mapping_of_an_unknown_name_is_refused(tmp_path):
    with pytest.raises(
        DataError,
        match=r"maps \['question'\], but the names to map are \['instruction', 'input', 'output'\]",
    ):
        load_instructions(
            write_json(tmp_path / "data.json", ROWS), columns={"question": "instruction"}
        )


def test_input_column_that_is_there_can_be_left_empty(tmp_path):
    loaded = load_instructions(write_json(tmp_path / "data.json", ROWS), columns={"input": None})
    assert loaded.to_list() == [row | {"input": ""} for row in ROWS]


@pytest.mark.parametrize(
    "mapping",
    [
        {"instruction": "output", "output": "instruction"},
        {"instruction": "input", "input": "instruction"},
    ],
)
def test_columns_can_be_swapped(tmp_path, mapping):
    loaded = load_instructions(write_json(tmp_path / "data.json", ROWS[1:2]), columns=mapping)
    assert loaded.to_list() == [{ours: ROWS[1][mapping.get(ours, ours)] for ours in COLUMNS}]


# --- rows that can't be used ---------------------------------------------------------------------

LONG = "x" * (MAX_CHARACTERS + 1)


@pytest.mark.parametrize(
    ("bad", "column", "found"),
    [
        ({"output": None}, "output", "null"),
        ({"instruction": None}, "instruction", "null"),
        ({"input": None}, "input", "null; write an empty text"),
        ({"output": ""}, "output", "empty"),
        ({"output": " \n\u3000"}, "output", "empty"),
        ({"instruction": ""}, "instruction", "empty"),
        ({"output": LONG}, "output", "100,001 characters"),
        ({"input": LONG}, "input", "100,001 characters"),
    ],
)
def test_bad_row_stops_the_loading_and_is_named(tmp_path, bad, column, found):
    path = write_folder(tmp_path / "data", dataset({}, {}, bad, {}).to_list())
    with pytest.raises(DataError) as raised:
        load_instructions(path)
    assert "1 of 4 rows can't be used" in str(raised.value)
    assert f"row 2, column '{column}': {found}" in str(raised.value)
    assert len(str(raised.value)) < 1_000  # the over-long text is not in the message


@pytest.mark.parametrize("value", [42, 1.5, True, ["a"], {"a": "b"}])
def test_column_of_another_type_is_named_with_each_row(tmp_path, value):
    path = write_folder(tmp_path / "data", [ROWS[0] | {"output": value}] * 3)
    with pytest.raises(DataError) as raised:
        load_instructions(path)
    assert "3 of 3 rows" in str(raised.value)
    for row in range(3):
        assert (
            f"row {row}, column 'output': {type(value).__name__} {value!r} instead of text"
            in str(raised.value)
        )


def test_longest_text_that_is_allowed_is_allowed(tmp_path):
    row = ROWS[0] | {"input": "x" * MAX_CHARACTERS}
    assert load_instructions(write_folder(tmp_path / "data", [row])).to_list() == [row]


def test_message_about_many_bad_rows_stays_short(tmp_path):
    path = write_folder(tmp_path / "data", dataset({}, *[{"output": ""}] * 5_000).to_list())
    with pytest.raises(DataError) as raised:
        load_instructions(path)
    assert "5000 of 5001 rows" in str(raised.value)
    assert "row 10, column 'output'" in str(raised.value)
    assert len(str(raised.value)) < 2_000


def test_bad_rows_name_their_split(tmp_path):
    DatasetDict({"train": dataset({}), "test": dataset({}, {"output": ""})}).save_to_disk(
        str(tmp_path / "splits")
    )
    with pytest.raises(DataError, match=r"\(test\): 1 of 2 rows .* row 1, column 'output'"):
        load_instructions(tmp_path / "splits")


def test_drop_leaves_exactly_the_bad_rows_out_and_logs_them(tmp_path, caplog):
    bad = {
        1: {"output": None},
        2: {"instruction": " "},
        5: {"input": LONG},
        6: {"output": "", "input": None},
    }
    rows = [ROWS[0] | {"input": str(number)} | bad.get(number, {}) for number in range(8)]
    with caplog.at_level(logging.WARNING, logger="tutorial_lib.data"):
        loaded = load_instructions(write_folder(tmp_path / "data", rows), on_invalid="drop")
    assert loaded.to_list() == [row for number, row in enumerate(rows) if number not in bad]
    assert loaded.features == STRINGS
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "4 of 8 rows" in record.getMessage()
    assert record.getMessage().endswith("Left out: rows [1, 2, 5, 6]")


def test_nothing_is_logged_when_every_row_is_good(tmp_path, caplog):
    load_instructions(write_folder(tmp_path / "data", ROWS), on_invalid="drop")
    assert not caplog.records


@pytest.mark.parametrize("on_invalid", ["raise", "drop"])
def test_no_row_left_is_an_error(tmp_path, on_invalid):
    path = write_folder(tmp_path / "data", [ROWS[0] | {"output": ""}])
    with pytest.raises(DataError, match=r"no rows|1 of 1 rows"):
        load_instructions(path, on_invalid=on_invalid)


def test_json_value_of_another_type_is_found_among_text(tmp_path):
    rows = [ROWS[0], ROWS[0] | {"output": 5}, ROWS[2]]
    with pytest.raises(
        DataError, match=r"1 of 3 rows .* row 1, column 'output': int 5 instead of text"
    ):
        load_instructions(write_json(tmp_path / "data.json", rows))


@pytest.mark.parametrize("write", [write_json, write_json_lines])
@pytest.mark.parametrize(
    "outputs",
    [
        ["2024-01-02", "2024-02-03"],
        ["12:30:00", "07:00:01"],
        ["1", "2"],
        ["true", "null"],
        ["1e5", "-0"],
    ],
)
def test_json_text_stays_text_whatever_it_looks_like(tmp_path, write, outputs):
    rows = [ROWS[0] | {"output": output} for output in outputs]
    assert load_instructions(write(tmp_path / "data.json", rows)).to_list() == rows


@pytest.mark.parametrize("odd", [5, 1.5, True, ["a"], {"a": "b"}, "half \ud83d"])
def test_dropping_an_odd_json_value_alters_no_other_row(tmp_path, odd):
    rows = [ROWS[0] | {"output": "01"}, ROWS[0] | {"output": odd}, ROWS[2] | {"output": '{"a": 1}'}]
    path = tmp_path / "data.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    loaded = load_instructions(path, on_invalid="drop")
    assert loaded.to_list() == [rows[0], rows[2]]
    assert loaded.features == STRINGS


def test_odd_json_value_is_named_by_our_name_of_a_mapped_column(tmp_path):
    rows = [{"q": "a", "a": "b"}, {"q": "a", "a": 7}]
    with pytest.raises(
        DataError, match=r"1 of 2 rows .* row 1, column 'output': int 7 instead of text"
    ):
        load_instructions(
            write_json(tmp_path / "data.json", rows),
            columns={"instruction": "q", "input": None, "output": "a"},
        )


def test_further_json_columns_may_hold_anything(tmp_path):
    rows = [ROWS[0] | {"score": 1, "note": 3}, ROWS[1] | {"score": 2, "note": "three"}]
    loaded = load_instructions(write_json(tmp_path / "data.json", rows))
    assert [(row["score"], row["note"]) for row in loaded] == [(1, "3"), (2, "three")]


def test_json_rows_may_have_their_columns_in_any_order_and_lack_a_further_one(tmp_path):
    rows = [
        {"output": "b", "input": "", "instruction": "a", "id": "x"},
        {"instruction": "c", "input": "", "output": "d"},
    ]
    assert load_instructions(write_json_lines(tmp_path / "data.jsonl", rows)).to_list() == [
        rows[0],
        rows[1] | {"id": None},
    ]


# --- sources that are not a data set -------------------------------------------------------------


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def parquet_cut_in_half(path: Path) -> Path:
    content = write_parquet(path, ROWS).read_bytes()
    return write(path, content[: len(content) // 2])


def folder_without_its_rows(path: Path) -> Path:
    next(write_folder(path, ROWS).glob("*.arrow")).unlink()
    return path


def folder_with_other_files(path: Path) -> Path:
    path.mkdir()
    write(path / "readme.txt", "nothing here")
    return path


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("empty.json", lambda path: write(path, ""), "is an empty file"),
        ("empty.csv", lambda path: write(path, ""), "is an empty file"),
        ("no_rows.json", lambda path: write(path, "[]"), ""),
        ("no_rows.jsonl", lambda path: write(path, "\n\n"), ""),
        ("no_rows.csv", lambda path: write(path, "instruction,input,output\n"), ""),
        (
            "damaged.json",
            lambda path: write(path, '[{"instruction": "a", "inp'),
            "can't be read as a data set",
        ),
        (
            "damaged.jsonl",
            lambda path: write(path, json.dumps(ROWS[0]) + '\n{"instr'),
            "can't be read as a data set",
        ),
        ("number.json", lambda path: write(path, "5"), "it holds int, not a list of rows"),
        ("numbers.json", lambda path: write(path, "[5, 6]"), "row 0 is int, not an object"),
        ("texts.jsonl", lambda path: write(path, '{"a": 1}\n"b"\n'), "row 1 is str, not an object"),
        (
            "damaged.csv",
            lambda path: write(path, "instruction,input,output\na,b,c\na,b,c,d\n"),
            "can't be read as a data set",
        ),
        (
            "gb18030.csv",
            lambda path: write(path, "instruction,input,output\n你好,,好\n".encode("gb18030")),
            "can't be read as a data set",
        ),
        ("damaged.parquet", parquet_cut_in_half, "can't be read as a data set"),
        ("notes.txt", lambda path: write(path, "abc"), f"give a {', '.join(FILE_READERS)} file"),
        ("folder", folder_with_other_files, "is not a data set"),
        ("folder.json", folder_with_other_files, "is not a data set"),
        ("half_folder", folder_without_its_rows, ""),
        ("missing", lambda path: path, "there is no such file or folder"),
        ("missing.json", lambda path: path, "there is no such file or folder"),
    ],
)
def test_source_that_is_not_a_data_set_is_an_error_of_one_line_that_names_it(
    tmp_path, name, make: Callable[[Path], Path], message
):
    source = make(tmp_path / name)
    with pytest.raises(DataError) as raised:
        load_instructions(source)
    assert str(source) in str(raised.value)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


# --- splits --------------------------------------------------------------------------------------


def numbered(count: int) -> list[dict]:
    return [ROWS[0] | {"input": str(number)} for number in range(count)]


@pytest.mark.parametrize("name", ["held_out", "test", "validation"])
def test_split_of_a_known_name_is_the_held_out_one(tmp_path, name):
    saved = DatasetDict(
        {
            name: Dataset.from_list(numbered(3)),
            "train": Dataset.from_list(numbered(5)),
            "extra": Dataset.from_list(ROWS),
        }
    )
    saved.save_to_disk(str(tmp_path / "splits"))
    loaded = load_splits(tmp_path / "splits")
    assert {split: rows.to_list() for split, rows in loaded.items()} == {
        "train": numbered(5),
        "held_out": numbered(3),
    }


@pytest.mark.parametrize(
    ("rows", "held_out"), [(2, 1), (19, 1), (40, 2), (199, 9), (10_000, 500), (10_100, 500)]
)
def test_five_percent_at_most_500_are_held_out(tmp_path, rows, held_out):
    loaded = load_splits(write_folder(tmp_path / "data", numbered(rows)))
    assert (len(loaded["train"]), len(loaded["held_out"])) == (rows - held_out, held_out)
    assert sorted([*loaded["train"]["input"], *loaded["held_out"]["input"]], key=int) == [
        str(number) for number in range(rows)
    ]


def test_same_seed_holds_the_same_rows_out(tmp_path):
    path = write_json(tmp_path / "data.json", numbered(200))
    copy = write_folder(tmp_path / "copy", numbered(200))
    chosen = load_splits(path)["held_out"].to_list()
    assert load_splits(path)["held_out"].to_list() == chosen
    assert load_splits(copy, seed=42)["held_out"].to_list() == chosen
    assert load_splits(path, seed=43)["held_out"].to_list() != chosen
    assert chosen != numbered(200)[-10:]  # not just the last ones


def test_splits_map_columns_too(tmp_path):
    path = write_json(
        tmp_path / "data.json", [{"q": row["input"], "output": "x"} for row in numbered(20)]
    )
    loaded = load_splits(path, columns={"instruction": "q", "input": None})
    assert loaded["held_out"].column_names == ["instruction", "input", "output"]


def test_splits_without_a_train_split_are_refused(tmp_path):
    DatasetDict({"one": dataset({}), "two": dataset({})}).save_to_disk(str(tmp_path / "splits"))
    with pytest.raises(DataError, match="no split is called 'train', found one, two"):
        load_splits(tmp_path / "splits")


def test_single_row_can_not_be_divided(tmp_path):
    with pytest.raises(DataError, match=r"1 row\(s\) can't be divided"):
        load_splits(write_json(tmp_path / "data.json", ROWS[:1]))


def test_tinyworlds_splits_share_no_entity(splits):
    assert set(splits) == {"train", "held_out"}
    assert set(splits["train"]["entity"]).isdisjoint(set(splits["held_out"]["entity"]) - {"", None})


def test_tinyworld_is_made_once_in_the_runs_folder(own_runs_folder, splits):
    folder = tinyworld_folder()
    assert folder == tinyworld_folder("tinyworld:42") != tinyworld_folder("tinyworld:43")
    assert folder.parent == own_runs_folder / "data"
    before = (folder / "dataset_dict.json").stat()
    load_splits("tinyworld")
    assert (folder / "dataset_dict.json").stat().st_mtime_ns == before.st_mtime_ns
    assert [
        path.name for path in folder.parent.glob(".*")
    ] == []  # nothing half-made is left beside it


@pytest.mark.parametrize("source", ["tinyworld:x", "tinyworld:-1", "tinyworld:1.5"])
def test_seed_of_tinyworld_is_a_whole_number(source):
    with pytest.raises(DataError, match="must be a whole number"):
        load_instructions(source)


# --- find_problems -------------------------------------------------------------------------------


def test_good_rows_have_no_problem(splits):
    assert find_problems(Dataset.from_list(ROWS)) == []
    assert find_problems(splits["train"]) == find_problems(splits["held_out"]) == []


def test_problems_come_in_row_order_then_column_order():
    rows = dataset(
        {}, {"output": "", "instruction": None}, {"input": LONG}, {}, {"input": None, "output": " "}
    )
    problems = find_problems(rows)
    assert [(problem.row, problem.column) for problem in problems] == [
        (1, "instruction"),
        (1, "output"),
        (2, "input"),
        (4, "input"),
        (4, "output"),
    ]
    assert problems[0] == RowProblem(1, "instruction", "null; fill it or drop the row")
    assert str(problems[0]) == "row 1, column 'instruction': null; fill it or drop the row"


def test_every_planted_problem_is_found_and_nothing_else():
    bad = {number: {"output": ["", None, LONG][number % 3]} for number in range(0, 2_500, 7)}
    rows = Dataset.from_list([ROWS[0] | bad.get(number, {}) for number in range(2_500)])
    assert [problem.row for problem in find_problems(rows)] == sorted(bad)


# --- encode_dataset ------------------------------------------------------------------------------

WIDE = [
    {"instruction": "Name a river.", "input": "", "output": "Nile"},
    {"instruction": "数", "input": "", "output": "一二三四五六七八九十"},
    {
        "instruction": "Count.",
        "input": "",
        "output": "123456789" * 7,
    },  # a digit is a token: the longest row, with a short prompt
    {"instruction": "Say nothing.", "input": "x " * 12, "output": "."},
    {"instruction": "Repeat.", "input": "1 2 3 4 5 6 7 8 9", "output": "1 2 3 4 5 6 7 8 9"},
    {"instruction": "How does it end?", "input": "", "output": "</s>"},
]


@pytest.mark.parametrize("keep_end", [False, True])
def test_rows_are_encoded_left_out_and_counted_one_by_one_like_encode_example(tokenizer, keep_end):
    """For every relevant length: the same rows, dead rows and cut rows as one by one."""
    rows = Dataset.from_list(WIDE)
    whole = [len(encode_example(row, tokenizer, 10_000)["input_ids"]) for row in WIDE]
    seen = set()
    for max_length in range(1, max(whole) + 2):
        expected, dead, cut = [], [], 0
        for number, row in enumerate(WIDE):
            try:
                expected.append(encode_example(row, tokenizer, max_length, keep_end=keep_end))
            except NoSupervisedTokenError:
                dead.append(number)
            else:
                cut += whole[number] > max_length
        encoded = encode_dataset(rows, tokenizer, max_length, keep_end=keep_end)
        assert encoded.dataset.to_list() == expected, max_length
        assert (encoded.dead, encoded.cut) == (tuple(dead), cut), max_length
        assert set(encoded.dataset.column_names) == {"input_ids", "attention_mask", "labels"}
        seen.add((bool(dead), bool(cut)))
    assert seen >= {(True, True), (False, True), (False, False)}


TEXT = st.text(max_size=60)


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.tuples(TEXT, TEXT, st.text(min_size=1, max_size=60)), min_size=1, max_size=8),
    max_length=st.integers(8, 60),
    keep_end=st.booleans(),
)
def test_any_rows_are_encoded_like_encode_example(rows, max_length, keep_end, tokenizer):
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    encoded = encode_dataset(Dataset.from_list(rows), tokenizer, max_length, keep_end=keep_end)
    expected = {}
    for number, row in enumerate(rows):
        with contextlib.suppress(NoSupervisedTokenError):
            expected[number] = encode_example(row, tokenizer, max_length, keep_end=keep_end)
    assert encoded.dataset.to_list() == list(expected.values())
    assert set(encoded.dead) == set(range(len(rows))) - set(expected)
    whole = [encode_example(row, tokenizer, 10_000)["input_ids"] for row in rows]
    assert encoded.cut == sum(len(whole[number]) > max_length for number in expected)


def test_tinyworld_is_encoded_like_encode_example(tokenizer, splits):
    rows = splits["held_out"].select(range(0, len(splits["held_out"]), 20))
    encoded = encode_dataset(rows, tokenizer)
    assert encoded.dead
    alive = [row for number, row in enumerate(rows.to_list()) if number not in encoded.dead]
    assert encoded.dataset.to_list() == [encode_example(row, tokenizer) for row in alive]


def test_report_tells_the_rows_that_were_left_out(tokenizer):
    rows = dataset(*[{"instruction": "x " * 50} if number % 2 else {} for number in range(24)])
    encoded = encode_dataset(rows, tokenizer, 32)
    assert encoded.dead == tuple(range(1, 24, 2))
    assert str(encoded) == (
        "12 rows encoded, 0 of them with a cut answer; 12 left out, no room for an answer "
        "(rows 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, …)"
    )


def test_report_without_rows_left_out(tokenizer):
    encoded = encode_dataset(dataset({}, {"output": "1 2 3 4 5 6 7 8 9 " * 9}), tokenizer, 32)
    assert (
        str(encoded)
        == "2 rows encoded, 1 of them with a cut answer; 0 left out, no room for an answer"
    )


def test_row_that_can_not_be_used_stops_the_encoding_and_is_named(tokenizer):
    with pytest.raises(RowError, match=r"^row 3: column 'output' is empty"):
        encode_dataset(dataset({}, {}, {}, {"output": ""}), tokenizer)


def test_bad_row_far_down_is_named(tokenizer):
    with pytest.raises(RowError, match=r"^row 1001: column 'output' is empty"):
        encode_dataset(dataset(*[{}] * 1_001, {"output": ""}), tokenizer)


def test_columns_of_the_data_set_do_not_get_in_the_way(tokenizer):
    rows = dataset({"labels": "x", "dead": "yes", "cut": "no", "input_ids": "7"})
    assert (
        encode_dataset(rows, tokenizer).dataset.to_list()
        == encode_dataset(dataset({}), tokenizer).dataset.to_list()
    )


def test_every_row_may_be_left_out(tokenizer):
    encoded = encode_dataset(
        dataset({"instruction": "x " * 50}, {"instruction": "y " * 50}), tokenizer, 16
    )
    assert len(encoded.dataset) == 0
    assert encoded.dead == (0, 1)


def test_no_rows_are_encoded_to_no_rows(tokenizer):
    assert len(encode_dataset(dataset({}).select([]), tokenizer).dataset) == 0


def test_first_thousand_rows_may_be_left_out(tokenizer):
    encoded = encode_dataset(dataset(*[{"instruction": "x " * 50}] * 1_000, {}), tokenizer, 32)
    assert (len(encoded.dataset), len(encoded.dead)) == (1, 1_000)


def test_changed_encoding_is_not_answered_from_a_cache(tokenizer, tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "data", ROWS)
    assert -100 in encode_dataset(load_from_disk(str(folder)), tokenizer).dataset[0]["labels"]
    # A learner edits formatting.py between two runs: `encode_example` keeps its name.
    monkeypatch.setattr("tutorial_lib.formatting.IGNORE_INDEX", -1)
    assert -1 in encode_dataset(load_from_disk(str(folder)), tokenizer).dataset[0]["labels"]


# --- first_rows ----------------------------------------------------------------------------------


def test_first_rows_of_a_task_are_chosen_where_tasks_are_told_apart():
    rows = dataset(*[{"task": "ab"[number % 2], "input": str(number)} for number in range(10)])
    assert [row["input"] for row in first_rows(rows, "b", 3)] == ["1", "3", "5"]
    assert [row["input"] for row in first_rows(rows, None, 3)] == ["0", "1", "2"]
    assert [row["input"] for row in first_rows(rows, "missing", 3)] == ["0", "1", "2"]
    assert len(first_rows(rows, "b", 100)) == 5
    assert len(first_rows(dataset({}), "b", 100)) == 1
