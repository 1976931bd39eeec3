"""The dashboard watches and stops a run, and changes nothing in it."""

import queue
import time
from pathlib import Path

import pytest
import torch
from jupyter_client.manager import KernelManager
from transformers import BloomConfig, BloomForCausalLM, TrainerCallback, TrainingArguments, set_seed

from tutorial_lib.checkpoints import last_checkpoint
from tutorial_lib.data import encode_dataset
from tutorial_lib.recipe import build_trainer
from tutorial_lib.show.dashboard import TrainingDashboard


def train(folder: Path, rows, tokenizer, callbacks, **options):
    set_seed(0)
    config = BloomConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        n_layer=1,
        n_head=2,
        hidden_dropout=0.1,
        attention_dropout=0.1,
    )
    model = BloomForCausalLM(config)
    settings = {
        "max_steps": 6,
        "logging_steps": 2,
        "save_strategy": "no",
        "learning_rate": 1e-2,
        "disable_tqdm": True,
    }
    settings |= {"include_num_input_tokens_seen": "non_padding", **options}
    arguments = TrainingArguments(output_dir=folder, per_device_train_batch_size=4, **settings)
    trainer = build_trainer(model, tokenizer, rows, arguments, callbacks)
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def rows(splits, tokenizer):
    return encode_dataset(splits["train"].select(range(40)), tokenizer, 64).dataset


@pytest.fixture(scope="module")
def questions(splits):
    return splits["held_out"].select(range(2)).to_list()


def losses(trainer) -> list[float]:
    return [log["loss"] for log in trainer.state.log_history if "loss" in log]


def test_a_watched_run_is_the_same_to_the_last_digit(tmp_path, rows, questions, tokenizer):
    # With dropout: a single random number drawn in between would show.
    alone = train(tmp_path / "alone", rows, tokenizer, [])
    dashboard = TrainingDashboard(questions, tokenizer, ask_at=(1, 2, 4), max_new_tokens=4)
    watched = train(tmp_path / "watched", rows, tokenizer, [dashboard])
    assert losses(watched) == losses(alone)
    for a, b in zip(alone.model.parameters(), watched.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert watched.model.training, "asking leaves the model as it was"


def test_it_keeps_the_trainers_logs_and_asks_at_the_steps_named(
    tmp_path, rows, questions, tokenizer
):
    dashboard = TrainingDashboard(questions, tokenizer, ask_at=(1, 4), max_new_tokens=4)
    trainer = train(tmp_path, rows, tokenizer, [dashboard])
    history = [log for log in trainer.state.log_history if "loss" in log]
    assert [log["step"] for log in dashboard.logs] == [2, 4, 6]
    assert [log["loss"] for log in dashboard.logs] == [log["loss"] for log in history]
    assert [log["learning_rate"] for log in dashboard.logs] == [
        log["learning_rate"] for log in history
    ]
    assert list(dashboard.answers) == [1, 4, 6]
    assert all(len(answers) == 2 for answers in dashboard.answers.values())
    assert dashboard.tokens_per_second > 0
    title = dashboard.picture().get_suptitle()
    assert title.startswith(
        f"Loss {history[0]['loss']:.2f} → {history[-1]['loss']:.2f} in 6 of 6 steps, "
    )
    table = dashboard.answer_table()
    assert questions[0]["instruction"].split()[0] in table
    assert table.count("<tr>") == 1 + 3 + 1, "a head, a line per step, the expected answers"
    assert "image/png" in dashboard.panel.static["text/html"], (
        "the static twin holds the last picture"
    )


def test_without_a_count_of_tokens_it_claims_no_speed(tmp_path, rows, tokenizer):
    dashboard = TrainingDashboard()
    train(tmp_path, rows, tokenizer, [dashboard], include_num_input_tokens_seen="no")
    assert dashboard.tokens_per_second == 0
    assert "tokens per second" not in dashboard.picture().get_suptitle()


def test_before_any_log_there_is_no_picture_and_it_says_so():
    with pytest.raises(ValueError, match="logging_steps"):
        TrainingDashboard().picture()


class StopAt(TrainerCallback):
    def __init__(self, dashboard, step):
        self.dashboard, self.step = dashboard, step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step + 1 == self.step:
            self.dashboard.stop()


def test_stopping_ends_after_the_step_and_saves_what_can_be_resumed(tmp_path, rows, tokenizer):
    whole = train(tmp_path / "whole", rows, tokenizer, [], logging_steps=1)
    dashboard = TrainingDashboard()
    stopped = train(
        tmp_path / "stopped", rows, tokenizer, [dashboard, StopAt(dashboard, 3)], logging_steps=1
    )
    assert stopped.state.global_step == 3
    checkpoint = last_checkpoint(tmp_path / "stopped")
    assert Path(checkpoint).name == "checkpoint-3"
    resumed = build_trainer(
        BloomForCausalLM(stopped.model.config), tokenizer, rows, stopped.args, [TrainingDashboard()]
    )
    resumed.train(resume_from_checkpoint=checkpoint)
    assert losses(resumed) == losses(whole)


def test_a_comm_without_ipykernels_private_method_stays_as_it_is():
    """Without a kernel, and in a release that renames the method."""
    button = TrainingDashboard().panel.children[0]
    assert "_reply_subshell_for" not in vars(button.comm)


# --- a click while the cell runs ------------------------------------------------------------------

CELL = """
import time
from types import SimpleNamespace
from tutorial_lib.show.dashboard import TrainingDashboard

dashboard = TrainingDashboard()
control = SimpleNamespace(should_training_stop=False, should_save=False)
state = SimpleNamespace(max_steps=100_000, global_step=0, num_input_tokens_seen=0)
dashboard.on_train_begin(None, state, control)
print("button", dashboard.panel.children[0].model_id, flush=True)
while not control.should_training_stop and state.global_step < 600:
    time.sleep(0.05)
    state.global_step += 1
    dashboard.on_step_end(None, state, control, model=None)
print("stopped by the button" if control.should_training_stop else "never stopped")
"""


def printed_until(client, sign: str, seconds: float = 60) -> str:
    text, end = "", time.monotonic() + seconds
    while sign not in text and time.monotonic() < end:
        try:
            message = client.get_iopub_msg(timeout=1)
        except queue.Empty:
            continue
        if message["msg_type"] == "stream":
            text += message["content"]["text"]
        elif message["msg_type"] == "error":
            raise AssertionError("\n".join(message["content"]["traceback"]))
    return text


def test_a_click_reaches_the_running_cell_through_a_subshell():
    """What JupyterLab does: it opens a subshell and sends the messages of widgets there."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        request = client.session.msg("create_subshell_request")
        client.control_channel.send(request)
        subshell = client.get_control_msg(timeout=30)["content"]["subshell_id"]
        client.execute(CELL)
        model_id = printed_until(client, "button").split("button ")[1].split()[0]
        click = client.session.msg(
            "comm_msg",
            {"comm_id": model_id, "data": {"method": "custom", "content": {"event": "click"}}},
        )
        click["header"]["subshell_id"] = subshell
        client.shell_channel.send(click)
        assert "stopped by the button" in printed_until(client, "stopped", seconds=20)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
