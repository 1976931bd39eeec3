from pathlib import Path

import nbformat
import pytest
import torch
from datasets import Dataset
from transformers import TrainerCallback, TrainingArguments

from tutorial_lib.checkpoints import last_checkpoint
from tutorial_lib.data import encode_dataset
from tutorial_lib.formatting import IGNORE_INDEX, format_prompt
from tutorial_lib.models import load_model
from tutorial_lib.profiles import PROFILES, get_profile
from tutorial_lib.recipe import build_trainer, training_arguments
from tutorial_lib.run_folder import BYTES_PER_PARAMETER, CHECKPOINTS_FOLDER

TINY = PROFILES["tiny"]
NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "07_trainer.ipynb"
RECIPE = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "lr_scheduler_kwargs",
    "warmup_steps",
    "num_train_epochs",
    "logging_steps",
    "bf16",
    "seed",
)


def rows(count: int) -> list[dict]:
    """Rows whose prompts and answers all differ in length."""
    return [
        {
            "instruction": f"Repeat {number}." + " Please." * (number % 4),
            "input": "",
            "output": "一二三四五六七"[: 1 + 3 * number % 7] * (1 + number % 3),
        }
        for number in range(count)
    ]


@pytest.fixture
def encoded(tokenizer) -> Dataset:
    return encode_dataset(Dataset.from_list(rows(40)), tokenizer).dataset


@pytest.fixture
def make_trainer(encoded, tokenizer, tmp_path):
    """Build the course's Trainer, on the CPU and without files, in batches of 3 x 2 rows."""

    def make(model, callbacks=(), **overrides):
        options = {
            "per_device_train_batch_size": 3,
            "gradient_accumulation_steps": 2,
            "max_steps": 3,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
        }
        arguments = training_arguments(
            TINY, tmp_path / CHECKPOINTS_FOLDER, **{**options, **overrides}
        )
        return build_trainer(model, tokenizer, encoded, arguments, callbacks)

    return make


def masked_cross_entropy(model, batch) -> tuple[float, int]:
    """By hand: the sum of -log p(token) over a batch's supervised tokens, and their number."""
    with torch.no_grad():
        logits = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits.double()
    total, count = 0.0, 0
    for row, labels in enumerate(batch["labels"].tolist()):
        for position in range(1, len(labels)):
            if labels[position] == IGNORE_INDEX:
                continue
            scores = logits[row, position - 1]  # what stands before a token predicts it
            total += (torch.logsumexp(scores, dim=0) - scores[labels[position]]).item()
            count += 1
    return total, count


# --- what the Trainer is fed with -----------------------------------------------------------------


def test_first_batch_carries_no_loss_on_prompts_and_padding(
    tiny_model, tokenizer, encoded, make_trainer
):
    batch = next(iter(make_trainer(tiny_model).get_train_dataloader()))
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    known = {tuple(row["input_ids"]): row for row in encoded}
    assert (batch["attention_mask"] == 0).any()  # else the batch says nothing about padding
    for ids, mask, labels in zip(
        batch["input_ids"], batch["attention_mask"].bool(), batch["labels"], strict=True
    ):
        row = known[tuple(ids[mask].tolist())]
        assert labels[mask].tolist() == row["labels"]
        assert set(ids[~mask].tolist()) <= {tokenizer.pad_token_id}
        assert set(labels[~mask].tolist()) <= {IGNORE_INDEX}
        prompt = tokenizer.decode(ids[mask & (labels == IGNORE_INDEX)])
        answer = tokenizer.decode(labels[labels != IGNORE_INDEX])
        [source] = [row for row in rows(40) if format_prompt(row["instruction"]) == prompt]
        assert answer == source["output"] + tokenizer.eos_token


def test_padding_goes_to_the_tokenizers_own_side(tiny_model, tokenizer, encoded, make_trainer):
    batch = next(iter(make_trainer(tiny_model).get_train_dataloader()))
    assert tokenizer.padding_side == "left"
    assert (batch["attention_mask"][:, -1] == 1).all()
    assert (batch["labels"][:, -1] == tokenizer.eos_token_id).all()


def test_every_row_is_seen_once_an_epoch(tiny_model, encoded, make_trainer):
    seen = []
    for batch in make_trainer(tiny_model).get_train_dataloader():
        seen += [
            tuple(ids[mask].tolist())
            for ids, mask in zip(batch["input_ids"], batch["attention_mask"].bool(), strict=True)
        ]
    assert sorted(seen) == sorted(tuple(ids) for ids in encoded["input_ids"])


# --- what it computes -----------------------------------------------------------------------------


def test_loss_of_a_batch_is_the_masked_cross_entropy(tiny_model, make_trainer):
    trainer = make_trainer(tiny_model)
    batches = list(trainer.get_train_dataloader())[:4]
    losses = [trainer.compute_loss(tiny_model.eval(), dict(batch)).item() for batch in batches]
    for loss, batch in zip(losses, batches, strict=True):
        total, count = masked_cross_entropy(tiny_model, batch)
        assert loss == pytest.approx(total / count, rel=1e-5)
        unmasked, tokens = masked_cross_entropy(tiny_model, {**batch, "labels": batch["input_ids"]})
        assert loss != pytest.approx(
            unmasked / tokens, rel=1e-5
        )  # the mask makes a difference here


class SeenBatches(TrainerCallback):
    """Collects what `compute_loss` is given."""

    def __init__(self):
        self.batches = []

    def attach(self, trainer):
        compute_loss = trainer.compute_loss

        def spy(model, inputs, *args, **kwargs):
            self.batches.append({name: value.clone() for name, value in inputs.items()})
            return compute_loss(model, inputs, *args, **kwargs)

        trainer.compute_loss = spy


def test_logged_loss_of_a_step_counts_every_supervised_token_of_its_batches_alike(
    tiny_model, tiny_model_folder, make_trainer
):
    """Batches have more or fewer supervised tokens: the mean is over tokens, not over batches."""
    trainer, seen = make_trainer(tiny_model, max_steps=1), SeenBatches()
    seen.attach(trainer)
    trainer.train()
    assert len(seen.batches) == 2
    untrained = load_model(tiny_model_folder)
    sums = [masked_cross_entropy(untrained, batch) for batch in seen.batches]
    assert sums[0][1] != sums[1][1]
    by_token = sum(total for total, _ in sums) / sum(count for _, count in sums)
    by_batch = sum(total / count for total, count in sums) / 2
    assert trainer.state.log_history[0]["loss"] == pytest.approx(by_token, rel=1e-5)
    assert trainer.state.log_history[0]["loss"] != pytest.approx(by_batch, rel=1e-5)


def test_first_step_is_adams_on_the_hand_made_gradient(tiny_model, tiny_model_folder, make_trainer):
    """Adam's first step moves each weight by the learning rate, against its gradient's sign."""
    trainer, seen = make_trainer(tiny_model, max_steps=1), SeenBatches()
    seen.attach(trainer)
    trainer.train()
    reference = load_model(tiny_model_folder)
    total, count = 0.0, 0
    for batch in seen.batches:
        logits = reference(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits[:, :-1]
        targets = batch["labels"][:, 1:]
        supervised = targets != IGNORE_INDEX
        total = (
            total
            - torch.log_softmax(logits, dim=-1)[supervised]
            .gather(1, targets[supervised][:, None])
            .sum()
        )
        count += int(supervised.sum())
    (total / count).backward()
    norm = torch.sqrt(
        sum(parameter.grad.double().square().sum() for parameter in reference.parameters())
    ).item()
    assert trainer.state.log_history[0]["grad_norm"] == pytest.approx(norm, rel=1e-4)
    for (name, before), after in zip(
        reference.named_parameters(), tiny_model.parameters(), strict=True
    ):
        clear = before.grad.abs() > 1e-5  # elsewhere Adam's epsilon and rounding decide
        moved = (after - before)[clear]
        assert clear.any(), name
        assert torch.allclose(
            moved, -TINY.learning_rate * before.grad[clear].sign(), rtol=0.02, atol=1e-6
        ), name


def test_two_runs_of_a_seed_are_the_same_to_the_last_digit(tiny_model_folder, make_trainer):
    def run(seed: int, process_state: int):
        torch.manual_seed(process_state)  # what ran before in this process
        model = load_model(tiny_model_folder)
        trainer = make_trainer(model, seed=seed, max_steps=4)
        trainer.train()
        return [
            (step["loss"], step["grad_norm"])
            for step in trainer.state.log_history
            if "loss" in step
        ], model.state_dict()

    curve, weights = run(seed=1, process_state=5)
    again, weights_again = run(seed=1, process_state=6)
    other, _ = run(seed=2, process_state=5)
    assert len(curve) == 4
    assert curve == again
    assert other != curve
    assert all(torch.equal(weights[name], weights_again[name]) for name in weights)
    untrained = load_model(tiny_model_folder).state_dict()
    assert not any(
        torch.equal(weights[name], untrained[name]) for name in weights if name.endswith("weight")
    )  # all of it was trained


def test_arguments_are_the_articles_with_the_profiles_numbers(tmp_path):
    arguments = training_arguments(TINY, tmp_path / "out")
    assert (
        arguments.per_device_train_batch_size,
        arguments.gradient_accumulation_steps,
        arguments.logging_steps,
    ) == (4, 8, 10)
    assert (arguments.num_train_epochs, arguments.learning_rate, arguments.seed) == (
        1,
        TINY.learning_rate,
        TINY.seed,
    )
    assert arguments.lr_scheduler_type == "linear"
    assert arguments.output_dir == str(tmp_path / "out")
    assert (
        training_arguments(
            TINY, tmp_path / "out", num_train_epochs=3, warmup_steps=7
        ).num_train_epochs
        == 3
    )


@pytest.mark.parametrize("name", PROFILES)
def test_notebook_07_trains_with_the_profiles_recipe(tmp_path, monkeypatch, name):
    monkeypatch.setenv("TUTORIAL_PROFILE", name)
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    source = next(cell.source for cell in cells if "= TrainingArguments(" in cell.source)
    namespace = {"profile": get_profile(), "torch": torch, "TrainingArguments": TrainingArguments}
    exec(source, namespace)
    notebook, library = namespace["arguments"], training_arguments(get_profile(name), tmp_path)
    assert {each: getattr(notebook, each) for each in RECIPE} == {
        each: getattr(library, each) for each in RECIPE
    }


def test_the_fast_profile_falls_steeply_and_the_others_in_a_straight_line(tmp_path):
    fast = training_arguments(PROFILES["fast"], tmp_path)
    assert fast.lr_scheduler_type == "polynomial"
    assert fast.lr_scheduler_kwargs == {"power": 6, "lr_end": pytest.approx(0.06 * 9e-4)}
    for name in ("tiny", "article"):
        arguments = training_arguments(PROFILES[name], tmp_path)
        assert arguments.lr_scheduler_type == "linear"
        assert not arguments.lr_scheduler_kwargs


@pytest.mark.parametrize("fast", [False, True])
def test_a_list_of_examples_trains_like_a_data_set(
    tiny_model_folder, tokenizer, encoded, tmp_path, fast
):
    weights = []
    for number, examples in enumerate((encoded, encoded.to_list())):
        arguments = training_arguments(
            TINY, tmp_path / str(number), max_steps=2, save_strategy="no", disable_tqdm=True
        )
        model = load_model(tiny_model_folder)
        build_trainer(model, tokenizer, examples, arguments, fast=fast).train()
        weights.append(model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_further_callbacks_are_called(tiny_model, make_trainer):
    steps = []

    class Note(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            steps.append(state.global_step)

    make_trainer(tiny_model, callbacks=[Note()]).train()
    assert steps == [1, 2, 3]


def test_newest_checkpoint_is_found(tmp_path, tiny_model, make_trainer):
    assert last_checkpoint(tmp_path / "missing") is None
    assert last_checkpoint(tmp_path) is None
    make_trainer(tiny_model, save_strategy="steps", save_steps=1, max_steps=2).train()
    assert last_checkpoint(tmp_path / CHECKPOINTS_FOLDER) == str(
        tmp_path / CHECKPOINTS_FOLDER / "checkpoint-2"
    )


def test_promised_room_is_enough_for_a_run(tmp_path, tiny_model, make_trainer):
    """Weights and two checkpoints (the newest and its successor) take about what is required."""
    make_trainer(tiny_model, save_strategy="steps", save_steps=1, max_steps=2).train()
    written = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) - 2 * len(
        (tmp_path / CHECKPOINTS_FOLDER / "checkpoint-1" / "tokenizer.json").read_bytes()
    )
    weights = 4 * tiny_model.num_parameters()
    assert 6 * weights < written < 6 * weights * 1.3
    assert BYTES_PER_PARAMETER * tiny_model.num_parameters() == 7 * weights
