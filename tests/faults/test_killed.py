"""A killed or interrupted training loses nothing: resumed, it ends with the undisturbed weights."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback

from tutorial_lib import train
from tutorial_lib.checkpoints import SEAL_FILE, StopOnInterrupt, last_checkpoint
from tutorial_lib.command import run_command
from tutorial_lib.data import encode_dataset, load_instructions
from tutorial_lib.errors import OutputError
from tutorial_lib.models import load_model
from tutorial_lib.profiles import get_profile
from tutorial_lib.recipe import build_trainer, training_arguments
from tutorial_lib.run_folder import locked

STEPS = 16
SEED = 20260
# The first name of each is waited for, then the process is killed so many milliseconds later.
SIGHTS = ("model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json", SEAL_FILE)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and a forkserver")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    rows = [
        {"instruction": f"第{n}题" * (1 + n % 5), "input": "", "output": f"答{n * n}"}
        for n in range(STEPS * 32 + 40)
    ]
    path.write_text(
        "\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8"
    )
    return path


def options(model, data, out) -> list[str]:
    few = [
        "--evaluation-rows",
        "1",
        "--max-new-tokens",
        "1",
        "--max-steps",
        str(STEPS),
        "--save-steps",
        "2",
    ]
    return [
        "--model",
        str(model),
        "--dataset",
        str(data),
        "--out",
        str(out),
        "--learning-rate",
        "1e-3",
        *few,
    ]


def run_quietly(arguments: list[str], log: str) -> None:
    """What a started process does: the command, its words into a file."""
    with Path(log).open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        run_command(lambda: train.main(arguments))


@pytest.fixture(scope="module")
def start():
    """Start the command in its own process, forked from one that has imported the libraries."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tutorial_lib.train"])

    def run(arguments, log):
        process = context.Process(target=run_quietly, args=(arguments, str(log)))
        process.start()
        return process

    return run


@pytest.fixture(scope="module")
def whole(start, tiny_model_folder, data, tmp_path_factory):
    """The weights of an undisturbed run, and how long it took (s)."""
    out = tmp_path_factory.mktemp("whole") / "out"
    begin = time.monotonic()
    process = start(options(tiny_model_folder, data, out), out.parent / "log")
    process.join()
    assert process.exitcode == 0, (out.parent / "log").read_text()
    return (out / "model.safetensors").read_bytes(), time.monotonic() - begin


def wait_for(condition, process) -> None:
    while process.is_alive() and not condition():
        time.sleep(0.0005)


@pytest.mark.parametrize("number", range(20))
def test_sigkill_at_any_moment_costs_nothing_that_was_saved(
    number, start, whole, tiny_model_folder, data, tmp_path
):
    chance = random.Random(SEED + number)
    out, log, checkpoints = tmp_path / "out", tmp_path / "log", tmp_path / "out" / "checkpoints"
    arguments = options(tiny_model_folder, data, out)
    weights, seconds = whole
    process = start(arguments, log)
    if number % 2:  # in the middle of a save
        sight, step = SIGHTS[number // 2 % len(SIGHTS)], 2 * chance.randrange(1, STEPS // 2)
        wait_for((checkpoints / f"checkpoint-{step}" / sight).exists, process)
        time.sleep(chance.uniform(0, 0.004))
    else:
        process.join(chance.uniform(0.05, 0.95) * seconds)
    had_one = any(checkpoints.glob(f"*/{SEAL_FILE}"))
    process.kill()
    process.join()
    newest = last_checkpoint(checkpoints)
    if had_one and newest is None:
        pytest.fail(
            f"a whole checkpoint was there, and none is left: {sorted(checkpoints.rglob('*'))}"
        )
    if newest:
        AutoModelForCausalLM.from_pretrained(newest)
    if not (out / "metrics.json").exists():
        again = start([*arguments, "--resume"], log)
        again.join()
        assert again.exitcode == 0, log.read_text()
    assert (out / "model.safetensors").read_bytes() == weights


def test_ctrl_c_saves_says_how_to_go_on_and_the_rest_gives_the_same_weights(
    whole, tiny_model_folder, data, tmp_path
):
    out = tmp_path / "out"
    line = [
        sys.executable,
        "-m",
        "tutorial_lib.train",
        *options(tiny_model_folder, data, out),
        "--save-steps",
        "1000",
    ]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as running:
        printed = ""
        for message in running.stdout:
            printed += message
            if "'loss'" in message:  # the first ten steps are done
                running.send_signal(signal.SIGINT)
                break
        rest, error = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "Stopping after this step" in printed + rest
    assert error.strip().splitlines()[-1].startswith("error: stopped after step ")
    assert "--resume" in error.strip().splitlines()[-1]
    assert last_checkpoint(out / "checkpoints") is not None
    train.main([*options(tiny_model_folder, data, out), "--resume"])
    assert (out / "model.safetensors").read_bytes() == whole[0]


class InterruptAt(TrainerCallback):
    """Presses Ctrl-C in a step, once or more often."""

    def __init__(self, step: int, times: int = 1) -> None:
        self.step, self.times = step, times

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


@pytest.fixture
def make_trainer(tiny_model_folder, tokenizer, data, tmp_path) -> "callable":
    rows = encode_dataset(load_instructions(data).select(range(64)), tokenizer).dataset

    def make(*callbacks: TrainerCallback) -> Trainer:
        torch.manual_seed(0)
        settings = {
            "max_steps": 8,
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": 1,
            "logging_steps": 1,
        }
        arguments = training_arguments(
            get_profile("tiny"), tmp_path / "out", **settings, disable_tqdm=True, report_to="none"
        )
        return build_trainer(load_model(tiny_model_folder), tokenizer, rows, arguments, callbacks)

    return make


def test_an_interrupted_cell_saves_and_says_how_to_go_on(make_trainer, capsys, tmp_path):
    undisturbed = make_trainer(StopOnInterrupt())
    undisturbed.train()
    shutil.rmtree(tmp_path / "out")
    before = signal.getsignal(signal.SIGINT)
    stop = StopOnInterrupt()
    stopped = make_trainer(stop, InterruptAt(4))
    stopped.train()
    assert stop.stopped_at == stopped.state.global_step == 5
    assert signal.getsignal(signal.SIGINT) is before
    printed = capsys.readouterr().out
    assert "resume_from_checkpoint=" in printed
    resumed = make_trainer(StopOnInterrupt())
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-5"))
    ours, theirs = resumed.model.state_dict(), undisturbed.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.fixture
def python_hears_ctrl_c() -> Iterator[None]:
    """Python's own handler: a process that a shell starts in the background does not have it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("python_hears_ctrl_c")
def test_a_second_ctrl_c_stops_at_once(make_trainer, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make_trainer(StopOnInterrupt(), InterruptAt(4, times=2)).train()
    assert not (tmp_path / "out" / "checkpoint-5").exists()


def test_in_a_thread_nothing_is_listened_to(make_trainer):
    failed = []

    def run() -> None:
        try:
            make_trainer(StopOnInterrupt()).train()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert failed == []


def test_two_runs_into_one_folder(tiny_model_folder, data, tmp_path):
    with locked(tmp_path / "out"), pytest.raises(OutputError, match="another run is training into"):
        train.main(options(tiny_model_folder, data, tmp_path / "out"))
    train.main(options(tiny_model_folder, data, tmp_path / "out"))  # and now it is free


def test_the_hold_of_a_killed_run_does_not_last(start, tiny_model_folder, data, tmp_path):
    out = tmp_path / "out"
    process = start(options(tiny_model_folder, data, out), tmp_path / "log")
    wait_for((out / ".lock").exists, process)
    process.kill()
    process.join()
    with locked(out):
        pass
