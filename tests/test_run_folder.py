import errno
import json
import os
from pathlib import Path

import pytest
import torch

from tutorial_lib import run_folder
from tutorial_lib.errors import ModelError, OutputError
from tutorial_lib.models import load_model, load_tokenizer
from tutorial_lib.run_folder import (
    CHECKPOINTS_FOLDER,
    METRICS_FILE,
    SETTINGS_FILE,
    locked,
    prepare_output,
    replacing_folder,
    save_model,
    write_json,
)

SETTINGS = {"learning_rate": 1e-3, "model": "模型", "limit_rows": None}


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def unfinished_run(folder: Path) -> None:
    prepare_output(folder, SETTINGS, parameters=1_000)
    (folder / CHECKPOINTS_FOLDER / "checkpoint-100").mkdir(parents=True)
    (folder / CHECKPOINTS_FOLDER / "checkpoint-100" / "model.safetensors").write_bytes(b"weights")


def finished_run(folder: Path) -> None:
    unfinished_run(folder)
    write_json(folder / METRICS_FILE, {"before": 0})


def other_run(folder: Path) -> None:
    prepare_output(folder, SETTINGS | {"learning_rate": 2e-3}, parameters=1_000)


def other_files(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work", encoding="utf-8")


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("exists", [False, True])
def test_new_or_empty_folder_is_made_and_notes_the_settings(tmp_path, resume, exists):
    out = tmp_path / "deep" / "er"
    if exists:
        out.mkdir(parents=True)
    prepare_output(out, SETTINGS, parameters=1_000, resume=resume)
    assert list(content(out)) == [SETTINGS_FILE]
    assert json.loads((out / SETTINGS_FILE).read_text(encoding="utf-8")) == SETTINGS


def test_unfinished_run_of_the_same_settings_is_resumed(tmp_path):
    unfinished_run(tmp_path / "out")
    before = content(tmp_path / "out")
    prepare_output(
        tmp_path / "out", dict(reversed(SETTINGS.items())), parameters=1_000, resume=True
    )  # the order does not matter
    assert set(content(tmp_path / "out")) == set(before)
    assert json.loads((tmp_path / "out" / SETTINGS_FILE).read_text(encoding="utf-8")) == SETTINGS


@pytest.mark.parametrize(
    ("make", "resume", "message"),
    [
        (unfinished_run, False, "is not empty: .* --resume"),
        (finished_run, False, "is not empty"),
        (other_run, False, "is not empty"),
        (other_files, False, "is not empty"),
        (finished_run, True, "holds a finished run"),
        (other_run, True, "no run with these settings"),
        (other_files, True, "no run with these settings"),
    ],
)
def test_folder_of_something_else_is_refused_and_left_alone(tmp_path, make, resume, message):
    out = tmp_path / "out"
    make(out)
    before = content(out)
    with pytest.raises(OutputError, match=message) as raised:
        prepare_output(out, SETTINGS, parameters=1_000, resume=resume)
    assert str(out) in str(raised.value)
    assert content(out) == before


@pytest.mark.parametrize("resume", [False, True])
def test_file_in_the_place_of_the_folder_is_refused(tmp_path, resume):
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="is a file"):
        prepare_output(tmp_path / "out", SETTINGS, parameters=1_000, resume=resume)
    with pytest.raises(OutputError, match="can't be made: Not a directory"):
        prepare_output(tmp_path / "out" / "inside", SETTINGS, parameters=1_000, resume=resume)
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_folder_that_may_not_be_made_is_refused(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(OutputError, match="can't be made: Permission denied"):
        prepare_output(tmp_path / "out", SETTINGS, parameters=1_000)


def test_disk_that_is_too_small_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 28_000_000 - 1})
    monkeypatch.setattr(run_folder.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(
        OutputError, match=r"no space left .* 28 MB free, weights and checkpoints take 28 MB"
    ):
        prepare_output(tmp_path / "out", SETTINGS, parameters=1_000_000)
    assert content(tmp_path / "out") == {}
    usage.free += 1
    prepare_output(tmp_path / "out", SETTINGS, parameters=1_000_000)


def test_damaged_settings_are_refused(tmp_path):
    (tmp_path / SETTINGS_FILE).write_text('{"learning', encoding="utf-8")
    with pytest.raises(OutputError):
        prepare_output(tmp_path, SETTINGS, parameters=1_000, resume=True)


def test_settings_may_be_anything_that_json_can_hold(tmp_path):
    settings = SETTINGS | {"languages": ("zh", "en")}
    prepare_output(tmp_path / "out", settings, parameters=1_000)
    prepare_output(tmp_path / "out", settings, parameters=1_000, resume=True)


def test_json_is_readable_by_people_and_machines(tmp_path):
    write_json(tmp_path / "a.json", {"name": "模型", "share": 0.5})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"name": "模型", "share": 0.5}
    assert "模型" in text
    assert text.endswith("}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def full_disk(self: Path, text: str, **kwargs) -> int:
    with self.open("w", encoding="utf-8") as file:
        file.write(text[: len(text) // 2])
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("existing", [None, '{"old": true}'])
def test_json_is_whole_or_as_it_was(tmp_path, monkeypatch, existing):
    path = tmp_path / "a.json"
    if existing:
        path.write_text(existing, encoding="utf-8")
    with pytest.raises(TypeError):
        write_json(path, {"new": object()})
    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"new": True})
    assert (path.read_bytes().decode() if path.exists() else None) == existing


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


def change(model: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    return model


def test_saved_model_is_the_same_when_loaded(tmp_path, tiny_model, tokenizer):
    save_model(change(tiny_model), tokenizer, tmp_path / "new" / "folder")
    assert same_weights(load_model(tmp_path / "new" / "folder"), tiny_model)
    assert load_tokenizer(tmp_path / "new" / "folder").get_vocab() == tokenizer.get_vocab()
    assert not list(
        (tmp_path / "new" / "folder").glob(".*")
    )  # nothing is left of the temporary folder


def test_model_is_saved_beside_what_is_there(tmp_path, tiny_model, tokenizer):
    unfinished_run(tmp_path / "out")
    before = content(tmp_path / "out")
    save_model(tiny_model, tokenizer, tmp_path / "out")
    assert content(tmp_path / "out").items() >= before.items()


def test_newer_model_takes_the_place_of_the_older(tmp_path, tiny_model, tokenizer):
    save_model(tiny_model, tokenizer, tmp_path)
    save_model(change(tiny_model), tokenizer, tmp_path)
    assert same_weights(load_model(tmp_path), tiny_model)


class PowerCut(Exception):
    pass


@pytest.fixture(params=["weights", "tokenizer"])
def cut_power(request, monkeypatch, tiny_model, tokenizer):
    """`save_pretrained` of the model or of the tokenizer writes half of its files, then stops."""
    target = tiny_model if request.param == "weights" else tokenizer

    def write_half(folder, **kwargs):
        folder = Path(folder)
        (folder / "config.json").write_text('{"model_type": "bloom"', encoding="utf-8")
        (folder / "model.safetensors").write_bytes(b"half of the weights")
        raise PowerCut

    monkeypatch.setattr(target, "save_pretrained", write_half, raising=True)
    return monkeypatch


def test_model_that_was_not_written_to_the_end_is_no_model(
    tmp_path, tiny_model, tokenizer, cut_power
):
    with pytest.raises(PowerCut):
        save_model(tiny_model, tokenizer, tmp_path / "out")
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        load_model(tmp_path / "out")
    cut_power.undo()
    save_model(
        tiny_model, tokenizer, tmp_path / "out"
    )  # what is left of the first try is not in the way
    assert same_weights(load_model(tmp_path / "out"), tiny_model)
    assert not list((tmp_path / "out").glob(".*"))


def test_older_model_stays_whole_when_the_newer_is_not_written_to_the_end(
    tmp_path, tiny_model, tiny_model_folder, tokenizer, cut_power
):
    older = load_model(tiny_model_folder)
    cut_power.undo()
    save_model(older, tokenizer, tmp_path)
    before = content(tmp_path)
    cut_power.setattr(
        tiny_model, "save_pretrained", lambda folder, **kwargs: (_ for _ in ()).throw(PowerCut)
    )
    with pytest.raises(PowerCut):
        save_model(change(tiny_model), tokenizer, tmp_path)
    assert {
        name: data for name, data in content(tmp_path).items() if not name.startswith(".model")
    } == before
    assert same_weights(load_model(tmp_path), older)


def stop_after_renames(monkeypatch, renames: int) -> None:
    """Let `renames` files be moved to their place, then cut the power."""
    replace_file, done = Path.replace, []

    def count(self: Path, target):
        if len(done) == renames:
            raise PowerCut
        done.append(target)
        return replace_file(self, target)

    monkeypatch.setattr(Path, "replace", count)


def test_new_folder_is_no_model_until_the_last_file_is_in_its_place(
    tmp_path, tiny_model, tokenizer
):
    save_model(tiny_model, tokenizer, tmp_path / "whole")
    files = len(content(tmp_path / "whole"))
    assert files >= 4
    for renames in range(files):
        out = tmp_path / f"after {renames}"
        with pytest.MonkeyPatch.context() as patch:
            stop_after_renames(patch, renames)
            with pytest.raises(PowerCut):
                save_model(tiny_model, tokenizer, out)
        with pytest.raises(ModelError, match=r"config\.json is missing"):
            load_model(out)


def test_older_and_newer_files_are_never_mixed_in_a_model(tmp_path, tiny_model, tokenizer):
    save_model(tiny_model, tokenizer, tmp_path / "older")
    older = content(tmp_path / "older")
    newer_tokenizer = load_tokenizer(tmp_path / "older")
    newer_tokenizer.padding_side = "right"
    save_model(change(tiny_model), newer_tokenizer, tmp_path / "newer")
    newer = content(tmp_path / "newer")
    for renames in range(len(newer)):
        out = tmp_path / f"after {renames}"
        save_model(load_model(tmp_path / "older"), load_tokenizer(tmp_path / "older"), out)
        with pytest.MonkeyPatch.context() as patch:
            stop_after_renames(patch, renames)
            with pytest.raises(PowerCut):
                save_model(tiny_model, newer_tokenizer, out)
        files = {name: data for name, data in content(out).items() if not name.startswith(".model")}
        assert files in (older, newer) or "config.json" not in files, renames


def test_a_lock_file_that_can_not_be_removed_does_not_fail_the_run(tmp_path, monkeypatch):
    """Windows refuses to delete a file that is still open; the run has ended all the same."""

    def refuse(self, missing_ok=False):
        raise PermissionError(errno.EACCES, "used by another process", str(self))

    monkeypatch.setattr(Path, "unlink", refuse)
    with locked(tmp_path / "out"):
        (tmp_path / "out" / "model").write_text("done", encoding="utf-8")
    assert (tmp_path / "out" / "model").read_text(encoding="utf-8") == "done"
    with locked(tmp_path / "out"):
        pass


def fail(folder: Path) -> None:
    folder.mkdir()
    raise OSError(errno.ENOSPC, "the disk is full")


def test_a_folder_is_whole_or_as_it_was(tmp_path):
    folder = tmp_path / "book"
    with replacing_folder(folder) as partial:
        (partial / "old").write_text("old", encoding="utf-8")
        assert not folder.exists()
    with pytest.raises(OSError, match="full"), replacing_folder(folder) as partial:
        fail(partial / "new")
    assert [path.name for path in tmp_path.rglob("*")] == ["book", "old"]
    with replacing_folder(folder) as partial:
        (partial / "new").write_text("new", encoding="utf-8")
    assert [path.name for path in tmp_path.rglob("*")] == ["book", "new"]


def test_an_empty_folder_is_filled_not_replaced(tmp_path):
    before = tmp_path.stat().st_ino
    with replacing_folder(tmp_path) as partial:
        (partial / "new").write_text("new", encoding="utf-8")
    assert (tmp_path / "new").exists()
    assert tmp_path.stat().st_ino == before
