import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments
from world_reference import canonical, things

from tutorial_lib.tinyworld import pretrain as pretrain_module
from tutorial_lib.tinyworld.build import CORPUS_FOLDER, TOKENIZER_FOLDER
from tutorial_lib.tinyworld.pretrain import PretrainConfig, pack, pretrain
from tutorial_lib.tinyworld.tokenizer import train_tokenizer

TINY = PretrainConfig(
    hidden_size=16,
    n_layer=2,
    n_head=2,
    context=16,
    batch_size=4,
    max_steps=15,
    learning_rate=1e-2,
    warmup_steps=2,
)
SAVE_STEPS = 4
TEXTS = [
    canonical(thing, relation, "en")
    for thing in list(things().values())[:12]
    for relation in thing.values
]


class CountingTrainer(Trainer):
    """Counts its steps, and is stopped as Ctrl-C would at one of them."""

    steps = 0
    stop_at = math.inf

    def training_step(self, *args, **kwargs):
        if CountingTrainer.steps >= CountingTrainer.stop_at:
            raise KeyboardInterrupt
        CountingTrainer.steps += 1
        return super().training_step(*args, **kwargs)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder as `build` writes it, of a few sentences."""
    folder = tmp_path_factory.mktemp("pretrain_data")
    Dataset.from_list([{"text": text} for text in TEXTS]).save_to_disk(str(folder / CORPUS_FOLDER))
    train_tokenizer(TEXTS, vocabulary_size=600).save_pretrained(folder / TOKENIZER_FOLDER)
    return folder


@pytest.fixture(scope="module", autouse=True)
def frequent_saves():
    """Checkpoints every 4 steps instead of 500, a loss of each step, and steps that are counted."""

    def arguments(**settings) -> TrainingArguments:
        return TrainingArguments(
            **settings | {"save_steps": SAVE_STEPS, "logging_steps": 1, "disable_tqdm": True}
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain_module, "TrainingArguments", arguments)
        patch.setattr(pretrain_module, "Trainer", CountingTrainer)
        yield


def run(
    data: Path, out: Path, config: PretrainConfig = TINY, stop_at: float = math.inf
) -> tuple[Path | None, int]:
    """Pre-train, perhaps not to the end; return the model's folder or None, and the steps made."""
    CountingTrainer.steps, CountingTrainer.stop_at = 0, stop_at
    try:
        return pretrain(data, out, config), CountingTrainer.steps
    except KeyboardInterrupt:
        return None, CountingTrainer.steps


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> Path:
    """The model of a run in one go; read-only."""
    folder, steps = run(data, tmp_path_factory.mktemp("whole"))
    assert steps == TINY.max_steps
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same_weights(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return set(first) == set(second) and all(
        torch.equal(first[name], second[name]) for name in first
    )


def record(folder: Path) -> dict:
    return json.loads((folder / "training.json").read_text(encoding="utf-8"))


# ---------------------------------------------------------------- stop and go on


@pytest.mark.parametrize("stop_at", [6, 13], ids=["first pass", "second pass"])
def test_a_run_that_was_stopped_and_resumed_gives_the_same_weights(
    finished, data, tmp_path, stop_at
):
    steps_per_pass = record(finished)["corpus_tokens"] / record(finished)["tokens_per_step"]
    assert 6 < steps_per_pass < 12, "the two stops are to be in two passes through the data"

    assert run(data, tmp_path, stop_at=stop_at) == (None, stop_at)
    assert not (tmp_path / "final").exists()
    resumed, steps = run(data, tmp_path)
    assert (
        steps == TINY.max_steps - stop_at // SAVE_STEPS * SAVE_STEPS
    )  # it went on, and did not begin again
    assert same_weights(finished, resumed)
    assert record(finished)["loss"] == record(resumed)["loss"]


@pytest.mark.parametrize(
    "left",
    [[], ["model.safetensors"], ["trainer_state.json"]],
    ids=["empty", "weights alone", "half a state"],
)
def test_a_checkpoint_that_was_cut_off_is_passed_over(finished, data, tmp_path, left):
    run(data, tmp_path, stop_at=6)
    cut_off = tmp_path / "checkpoint-5"
    cut_off.mkdir()
    for name in left:
        (cut_off / name).write_bytes(b'{"global_st')
    resumed, steps = run(data, tmp_path)
    assert steps == TINY.max_steps - SAVE_STEPS
    assert same_weights(finished, resumed)


@pytest.mark.parametrize(
    ("steps", "warmup"), [(4_500, 200), (2_000, 200), (1_000, 100), (20, 2), (3, 0)]
)
def test_a_shorter_run_warms_up_for_a_tenth_of_it_at_most(steps, warmup):
    shortened = PretrainConfig().shortened(steps)
    assert (shortened.max_steps, shortened.warmup_steps) == (steps, warmup)
    assert replace(shortened, max_steps=4_500, warmup_steps=200) == PretrainConfig()


def test_a_finished_run_started_again_leaves_the_same_weights(finished, data, tmp_path):
    out = shutil.copytree(finished.parent, tmp_path / "copy")
    again, _ = run(data, out)
    assert again == out / "final"
    assert same_weights(finished, again)


def test_a_finished_run_started_again_makes_no_step_more(finished, data, tmp_path):
    out = shutil.copytree(finished.parent, tmp_path / "copy")
    again, steps = run(data, out)
    assert steps == 0
    assert record(again)["loss"] == record(finished)["loss"]


def test_another_seed_gives_other_weights(finished, data, tmp_path):
    other, _ = run(data, tmp_path, replace(TINY, seed=1, max_steps=2))
    assert not same_weights(finished, other)
    assert record(other)["loss"][0] != record(finished)["loss"][0]


def test_the_settings_reach_the_training(data, tmp_path, monkeypatch):
    """What the other tests replace is looked at here: the arguments as `pretrain` gives them."""
    settings = {}

    def arguments(**kwargs) -> TrainingArguments:
        settings.update(kwargs)
        raise InterruptedError

    monkeypatch.setattr(pretrain_module, "TrainingArguments", arguments)
    with pytest.raises(InterruptedError):
        pretrain(data, tmp_path / "out", TINY)
    expected = {
        "per_device_train_batch_size": TINY.batch_size,
        "max_steps": TINY.max_steps,
        "learning_rate": TINY.learning_rate,
        "warmup_steps": TINY.warmup_steps,
        "weight_decay": TINY.weight_decay,
        "seed": TINY.seed,
        "output_dir": str(tmp_path / "out"),
    }
    assert {name: settings[name] for name in expected} == expected
    assert (
        settings["save_steps"] <= PretrainConfig().max_steps / 4
    )  # an interruption costs a quarter at most


def test_a_short_run_ends_well(data, tmp_path, monkeypatch):
    """`python -m tutorial_lib.tinyworld pretrain --steps 3`, to see whether it works at all."""
    monkeypatch.setattr(pretrain_module, "TrainingArguments", TrainingArguments)
    folder, _ = run(data, tmp_path, replace(TINY, max_steps=3))
    assert record(folder)["steps"] == 3


# ---------------------------------------------------------------- the finished model


def test_a_plain_from_pretrained_gives_float32(finished):
    model = AutoModelForCausalLM.from_pretrained(finished)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    tensors = weights(finished)
    assert all(
        torch.equal(parameter, tensors[name].float())
        for name, parameter in model.named_parameters()
        if name in tensors
    )


def test_the_file_holds_float16(finished):
    assert {tensor.dtype for tensor in weights(finished).values()} == {torch.float16}


def test_nothing_is_missing_from_the_file_and_nothing_is_left_over(finished):
    _, report = AutoModelForCausalLM.from_pretrained(finished, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]


def test_the_model_comes_with_its_tokenizer_and_their_ids_agree(finished, data):
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(finished),
        AutoTokenizer.from_pretrained(finished),
    )
    assert (
        tokenizer.get_vocab() == AutoTokenizer.from_pretrained(data / TOKENIZER_FOLDER).get_vocab()
    )
    assert tokenizer.padding_side == "left"
    assert model.config.vocab_size == len(tokenizer)
    assert (model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id) == (
        1,
        2,
        3,
    )


def test_the_loss_goes_down(finished):
    losses = [entry["loss"] for entry in record(finished)["loss"]]
    assert [entry["step"] for entry in record(finished)["loss"]] == list(
        range(1, TINY.max_steps + 1)
    )
    assert losses[0] == pytest.approx(
        math.log(600), abs=0.5
    )  # chance: each of the 600 tokens alike
    assert losses[-1] < losses[0] - 0.3


def test_the_record_tells_what_was_trained_on(finished, data):
    content = record(finished)
    rows = pack(
        Dataset.from_list([{"text": text} for text in TEXTS]),
        AutoTokenizer.from_pretrained(data / TOKENIZER_FOLDER),
        TINY.context,
    )
    assert content["steps"] == TINY.max_steps
    assert content["tokens_per_step"] == TINY.batch_size * TINY.context
    assert content["corpus_tokens"] == len(rows) * TINY.context
    assert content["parameters"] == AutoModelForCausalLM.from_pretrained(finished).num_parameters()
    assert content["final_perplexity"] == pytest.approx(
        math.exp(content["loss"][-1]["loss"]), abs=0.001
    )


def test_weights_survive_the_half_precision(finished):
    model = AutoModelForCausalLM.from_pretrained(finished)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


# ---------------------------------------------------------------- packing


@pytest.fixture(scope="module")
def packed(data):
    tokenizer = AutoTokenizer.from_pretrained(data / TOKENIZER_FOLDER)
    return tokenizer, pack(
        Dataset.from_list([{"text": text} for text in TEXTS]), tokenizer, context=16
    )


def test_every_row_is_full_and_is_its_own_label(packed):
    tokenizer, rows = packed
    assert {len(row["input_ids"]) for row in rows} == {16}
    assert all(row["labels"] == row["input_ids"] for row in rows)
    assert all(tokenizer.pad_token_id not in row["input_ids"] for row in rows)


def test_the_rows_joined_are_the_passages_each_ended(packed):
    tokenizer, rows = packed
    stream = [token for row in rows for token in row["input_ids"]]
    whole = "".join(f"{text}</s>" for text in TEXTS)
    joined = tokenizer.decode(stream)
    assert whole.startswith(joined)
    assert (
        len(tokenizer(whole[len(joined) :])["input_ids"]) < 16
    )  # only what fills no row is left out


def test_a_stream_that_fills_its_rows_exactly_loses_nothing(packed):
    tokenizer, _ = packed
    eight = Dataset.from_list([{"text": "1234567"}, {"text": "7654321"}])  # 7 digits and the end
    (row,) = pack(eight, tokenizer, context=16)
    assert tokenizer.decode(row["input_ids"]) == "1234567</s>7654321</s>"
