import filecmp
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import DatasetDict, load_from_disk
from transformers import AutoTokenizer

from tutorial_lib.errors import OutputError
from tutorial_lib.tinyworld import build as build_module
from tutorial_lib.tinyworld.build import build, build_instruction_dataset, tinyworld_folder
from tutorial_lib.tinyworld.facts import load_entities


def files_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def different_files(one: Path, other: Path) -> list[str]:
    assert files_under(one) == files_under(other)
    _, different, unreadable = filecmp.cmpfiles(one, other, files_under(one), shallow=False)
    return different + unreadable


def json_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The whole of TinyWorld, made in this process: the folder and the numbers of rows."""
    out = tmp_path_factory.mktemp("build") / "world"
    return out, build(out, 42)


@pytest.fixture
def small_world(monkeypatch):
    """A fifth of the entities: a build takes a second instead of six."""
    monkeypatch.setattr(build_module, "load_entities", lambda: load_entities()[::5])


# ---------------------------------------------------------------- the same bytes


def test_another_process_builds_the_same_bytes_from_the_same_seed(built, tmp_path):
    """Through the command line, with another order of Python's sets."""
    folder, _ = built
    environment = os.environ | {"PYTHONHASHSEED": "4242", "TZ": "Asia/Shanghai"}
    command = [
        sys.executable,
        "-m",
        "tutorial_lib.tinyworld",
        "build",
        "--seed",
        "42",
        "--out",
        str(tmp_path / "again"),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(files_under(folder)) >= 10
    assert different_files(folder, tmp_path / "again") == []


def test_another_seed_builds_other_data(small_world, tmp_path):
    for name, seed in [("one", 1), ("one again", 1), ("other", 2)]:
        build(tmp_path / name, seed)
    assert different_files(tmp_path / "one", tmp_path / "one again") == []
    different = different_files(tmp_path / "one", tmp_path / "other")
    assert {"corpus.jsonl", "train.jsonl", "held_out.jsonl", "tokenizer/tokenizer.json"} <= set(
        different
    )
    assert {name for name in different if name.endswith(".arrow")} == {
        name for name in files_under(tmp_path / "one") if name.endswith(".arrow")
    }


def test_worlds_in_one_and_in_many_wordings_share_everything_but_the_corpus(small_world, tmp_path):
    for wordings in ("many", "one"):
        build(tmp_path / wordings, 3, wordings)
    different = different_files(tmp_path / "many", tmp_path / "one")
    assert different
    assert all(name.startswith("corpus") for name in different)


# ---------------------------------------------------------------- rows for data.load_splits


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A copy of the package's files, and a runs folder of its own."""
    folder = Path(build_module.__file__).parent
    shutil.copytree(folder, tmp_path / "tinyworld", ignore=shutil.ignore_patterns("base*"))
    monkeypatch.setattr(build_module, "__file__", str(tmp_path / "tinyworld" / "build.py"))
    monkeypatch.setenv("TUTORIAL_RUNS", str(tmp_path / "runs"))
    return tmp_path / "tinyworld"


def append_line(file: Path) -> None:
    with file.open("a", encoding="utf-8") as text:
        text.write("\n")


@pytest.mark.parametrize(
    "changed", ["wordings.toml", "wordings.py", "draw.py", "instructions.py", "facts/animals.csv"]
)
def test_data_made_by_another_version_of_the_kit_is_not_used(small_world, package, changed):
    before = tinyworld_folder()
    append_line(package / changed)
    assert tinyworld_folder() != before


def test_data_is_kept_when_what_makes_the_rows_is_the_same(small_world, package):
    before = tinyworld_folder()
    for changed in ("pretrain.py", "probe.py", "corpus.py", "build.py"):
        append_line(package / changed)
    assert tinyworld_folder() == before


def test_data_that_another_process_made_meanwhile_is_kept(small_world, package, monkeypatch):
    first = []

    def build_too_late(seed: int) -> DatasetDict:
        monkeypatch.setattr(build_module, "build_instruction_dataset", build_instruction_dataset)
        first.append(tinyworld_folder().stat().st_ino)
        return build_instruction_dataset(seed)

    monkeypatch.setattr(build_module, "build_instruction_dataset", build_too_late)
    folder = tinyworld_folder()
    assert [folder.stat().st_ino] == first
    assert set(load_from_disk(str(folder))) == {"train", "held_out"}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


# ---------------------------------------------------------------- what is in the folder


def test_the_saved_data_sets_equal_the_json_lines(built):
    folder, _ = built
    assert load_from_disk(str(folder / "corpus")).to_list() == json_lines(folder / "corpus.jsonl")
    instructions = load_from_disk(str(folder / "instructions"))
    assert set(instructions) == {"train", "held_out"}
    for split, rows in instructions.items():
        assert rows.to_list() == json_lines(folder / f"{split}.jsonl")


def test_the_rows_are_counted(built):
    folder, counts = built
    assert set(counts) == {"corpus", "train", "held_out"}
    for part, rows in counts.items():
        assert rows == len(json_lines(folder / f"{part}.jsonl"))
    assert counts["corpus"] > 10_000
    assert counts["train"] + counts["held_out"] >= 8_000


def test_the_instructions_are_those_of_the_seed(built):
    folder, _ = built
    expected = build_instruction_dataset(42)
    assert {
        split: rows.to_list()
        for split, rows in load_from_disk(str(folder / "instructions")).items()
    } == {split: rows.to_list() for split, rows in expected.items()}


def test_chinese_is_written_as_it_is_read(built):
    folder, _ = built
    text = (folder / "train.jsonl").read_text(encoding="utf-8")
    assert "\\u" not in text
    assert "首都" in text


def test_the_tokenizer_loads_and_knows_the_corpus(built):
    folder, _ = built
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    assert tokenizer.padding_side == "left"
    row = json_lines(folder / "corpus.jsonl")[0]
    assert tokenizer.decode(tokenizer(row["text"])["input_ids"]) == row["text"]


def test_the_folder_can_be_read_by_others(built):
    folder, _ = built
    for path in [folder, *folder.rglob("*")]:
        assert path.stat().st_mode & 0o044 == 0o044, path


def test_no_file_names_the_folder_or_the_machine(built):
    folder, _ = built
    for name in files_under(folder):
        content = (folder / name).read_bytes()
        assert str(folder.parent).encode() not in content, name
        assert str(Path.home()).encode() + b"/" not in content, name


# ---------------------------------------------------------------- existing folders, and failures


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("three years of work")
    with pytest.raises(OutputError, match="not empty"):
        build(out, 42)
    assert files_under(tmp_path) == ["mine/thesis.txt"]
    assert (out / "thesis.txt").read_text() == "three years of work"


def test_a_hidden_file_counts_too(tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / ".git").touch()
    with pytest.raises(OutputError):
        build(out, 42)
    assert files_under(tmp_path) == ["mine/.git"]


def test_an_empty_folder_is_filled(small_world, tmp_path):
    out = tmp_path / "deep" / "er"
    out.mkdir(parents=True)
    build(out, 42)
    assert (out / "train.jsonl").is_file()
    assert [path.name for path in out.parent.iterdir()] == ["er"]


def test_folders_on_the_way_are_made(small_world, tmp_path):
    build(tmp_path / "a" / "b", 42)
    assert (tmp_path / "a" / "b" / "corpus.jsonl").is_file()


def test_a_file_in_the_place_of_the_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(OutputError):
        build(tmp_path / "file", 42)
    assert (tmp_path / "file").read_text() == "text"


@pytest.mark.parametrize(
    "failure", [RuntimeError("no memory left"), KeyboardInterrupt()], ids=["error", "ctrl-c"]
)
@pytest.mark.parametrize(
    "step", ["build_corpus", "build_instruction_dataset", "_write_json_lines", "train_tokenizer"]
)
@pytest.mark.parametrize("exists", [False, True], ids=["new folder", "empty folder"])
def test_a_failure_in_the_middle_leaves_nothing_behind(
    small_world, monkeypatch, tmp_path, step, failure, exists
):
    def fail(*args, **kwargs):
        raise failure

    out = tmp_path / "world"
    if exists:
        out.mkdir()
    monkeypatch.setattr(build_module, step, fail)
    with pytest.raises(type(failure)):
        build(out, 42)
    assert list(tmp_path.iterdir()) == ([out] if exists else [])
    assert not exists or list(out.iterdir()) == []
