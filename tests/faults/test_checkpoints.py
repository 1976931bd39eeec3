"""A checkpoint with the slightest damage is never used; a training that can't go on says so."""

import json
import logging
import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from tutorial_lib.checkpoints import SEAL_FILE, SealCheckpoints, last_checkpoint
from tutorial_lib.data import encode_dataset, load_instructions
from tutorial_lib.errors import NoSupervisedTokenError, NotFiniteError, OutputError
from tutorial_lib.models import load_model
from tutorial_lib.profiles import get_profile
from tutorial_lib.recipe import build_trainer, training_arguments
from tutorial_lib.run_folder import prepare_output


@pytest.fixture(scope="module")
def rows(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    examples = [{"instruction": f"{n}?", "input": "", "output": f"{n}."} for n in range(32)]
    path.write_text("\n".join(map(json.dumps, examples)), encoding="utf-8")
    return encode_dataset(load_instructions(path), tokenizer).dataset


@pytest.fixture(scope="module")
def make_trainer(tiny_model_folder, tokenizer, rows):
    def make(out: Path, *callbacks: TrainerCallback, dataset=rows, **overrides):
        torch.manual_seed(0)
        settings = {
            "max_steps": 4,
            "save_steps": 2,
            "gradient_accumulation_steps": 1,
            "logging_steps": 1,
            "disable_tqdm": True,
        }
        arguments = training_arguments(
            get_profile("tiny"), out, **{**settings, "report_to": "none", **overrides}
        )
        return build_trainer(
            load_model(tiny_model_folder), tokenizer, dataset, arguments, callbacks
        )

    return make


@pytest.fixture(scope="module")
def two_checkpoints(make_trainer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    make_trainer(folder, SealCheckpoints(keep=2)).train()
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-2", "checkpoint-4"]
    return folder


@pytest.fixture
def checkpoints(two_checkpoints, tmp_path):
    return Path(shutil.copytree(two_checkpoints, tmp_path / "copy"))


def flip(path: Path, share: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(share * (len(content) - 1))] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("share", [0, 0.3, 0.5, 0.9, 1])
@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "trainer_state.json",
        SEAL_FILE,
    ],
)
def test_one_flipped_bit_is_noticed_and_the_checkpoint_before_is_taken(
    checkpoints, caplog, name, share
):
    assert last_checkpoint(checkpoints) == str(checkpoints / "checkpoint-4")
    flip(checkpoints / "checkpoint-4" / name, share)
    with caplog.at_level(logging.WARNING):
        assert last_checkpoint(checkpoints) == str(checkpoints / "checkpoint-2")
    assert "checkpoint-4 is passed over" in caplog.text


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt"])
@pytest.mark.parametrize("kept", [0, 0.5, 0.999])
def test_a_truncated_file_is_noticed(checkpoints, name, kept):
    path = checkpoints / "checkpoint-4" / name
    os.truncate(path, int(kept * path.stat().st_size))
    assert last_checkpoint(checkpoints) == str(checkpoints / "checkpoint-2")


def test_a_missing_file_is_noticed_and_none_left_is_none(checkpoints):
    (checkpoints / "checkpoint-4" / "optimizer.pt").unlink()
    assert last_checkpoint(checkpoints) == str(checkpoints / "checkpoint-2")
    flip(checkpoints / "checkpoint-2" / "model.safetensors", 0.5)
    assert last_checkpoint(checkpoints) is None


def test_a_checkpoint_of_a_plain_trainer_has_no_seal_and_is_taken_when_it_is_whole(checkpoints):
    (checkpoints / "checkpoint-4" / SEAL_FILE).unlink()
    assert last_checkpoint(checkpoints) == str(checkpoints / "checkpoint-4")
    (checkpoints / "checkpoint-4" / "trainer_state.json").unlink()
    assert last_checkpoint(checkpoints) == str(checkpoints / "checkpoint-2")


def test_a_clock_that_was_set_back_changes_nothing(checkpoints):
    for path in checkpoints.rglob("*"):
        os.utime(path, (0, 0) if "checkpoint-4" in str(path) else None)
    assert last_checkpoint(checkpoints) == str(checkpoints / "checkpoint-4")


def test_training_goes_on_while_the_clock_goes_back(make_trainer, tmp_path, monkeypatch):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 1_000 * time.monotonic() % 10_000)
    make_trainer(tmp_path / "out", SealCheckpoints()).train()
    assert last_checkpoint(tmp_path / "out") == str(tmp_path / "out" / "checkpoint-4")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["checkpoint-4"]


class Count(TrainerCallback):
    """Counts the checkpoints when one has just been written and is not sealed yet."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def on_save(self, args, state, control, **kwargs):
        self.counts.append(len(list(Path(args.output_dir).glob("checkpoint-*"))))


def test_the_old_checkpoint_stays_until_the_new_one_is_sealed(make_trainer, tmp_path):
    count = Count()
    make_trainer(tmp_path / "out", count, SealCheckpoints(keep=1)).train()
    assert count.counts == [1, 2]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["checkpoint-4"]


@pytest.mark.parametrize("out", ["/proc/nothing/here", "{file}/below"])
def test_a_folder_that_can_not_be_made_is_named(tmp_path, out):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(OutputError, match=r"can't be made: .*; give --out"):
        prepare_output(Path(out.format(file=tmp_path / "file")), {}, 1)


# --- what can't be learnt from --------------------------------------------------------------------


def test_rows_without_a_label_are_named_before_the_first_step(make_trainer, rows, tmp_path):
    dead = rows.to_list()
    for number in (3, 17):
        dead[number]["labels"] = [-100] * len(dead[number]["labels"])
    with pytest.raises(
        NoSupervisedTokenError,
        match=r"2 of 32 rows have no label to learn from \(rows 3, 17, counted from 0\)",
    ):
        make_trainer(tmp_path / "out", dataset=dead)


def test_a_loss_that_is_no_number_ends_the_training_and_names_the_step(make_trainer, tmp_path):
    class Break(TrainerCallback):
        def on_step_begin(self, args, state, control, model, **kwargs):
            if state.global_step == 2:
                model.get_input_embeddings().weight.data.fill_(float("nan"))

    with pytest.raises(
        NotFiniteError,
        match=r"(loss|grad_norm) is nan in step 3 to 3.*smaller learning rate \(now 0.0006\)",
    ):
        make_trainer(tmp_path / "out", Break()).train()


def test_a_healthy_run_is_the_same_with_and_without_the_guards(make_trainer, tmp_path):
    guarded = make_trainer(tmp_path / "a", SealCheckpoints())
    guarded.train()
    plain = make_trainer(tmp_path / "b", save_strategy="no")
    plain.callback_handler.callbacks = [
        c for c in plain.callback_handler.callbacks if type(c).__name__ != "StopOnNaN"
    ]
    plain.train()
    assert all(
        torch.equal(a, b)
        for a, b in zip(guarded.model.parameters(), plain.model.parameters(), strict=True)
    )


class DyingRows(torch.utils.data.Dataset):
    """Rows whose reading ends the process that reads them, as a crash in native code does."""

    def __init__(self, rows: list[dict]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict:
        if torch.utils.data.get_worker_info() is not None:
            os._exit(3)
        return self.rows[number]


def test_a_worker_of_the_data_loader_that_dies_ends_the_training_with_an_error(
    make_trainer, rows, tmp_path
):
    trainer = make_trainer(
        tmp_path / "out", dataset=DyingRows(rows.to_list()), dataloader_num_workers=1
    )
    with pytest.raises(RuntimeError, match="worker"):
        trainer.train()
