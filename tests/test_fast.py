"""The fast recipe computes what the plain one does: the same loss and gradients, every row once."""

import copy
import dataclasses
import itertools
import json
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DataCollatorForSeq2Seq, Trainer

from tutorial_lib import train
from tutorial_lib.data import encode_dataset
from tutorial_lib.fast import LengthSortedSampler, answer_loss, fuse
from tutorial_lib.formatting import IGNORE_INDEX, encode_example
from tutorial_lib.models import multiplies_bfloat16
from tutorial_lib.profiles import PROFILES
from tutorial_lib.recipe import build_trainer, training_arguments


def gradients(model):
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


@pytest.fixture
def batch(splits, tokenizer):
    rows = encode_dataset(splits["train"].select(range(0, 160, 10)), tokenizer).dataset
    return DataCollatorForSeq2Seq(tokenizer, padding=True)(rows.to_list())


@pytest.mark.parametrize("side", ["left", "right"])
def test_loss_and_gradients_are_those_of_the_models_own_forward(
    tiny_model, splits, tokenizer, side
):
    own = copy.deepcopy(tokenizer)
    own.padding_side = side
    rows = encode_dataset(splits["train"].select(range(0, 160, 10)), tokenizer).dataset
    batch = DataCollatorForSeq2Seq(own, padding=True)(rows.to_list())
    reference = copy.deepcopy(tiny_model)
    expected = reference(**batch).loss
    expected.backward()
    loss = answer_loss(fuse(tiny_model), batch)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(gradients(tiny_model), gradients(reference), rtol=1e-3, atol=1e-6)


def test_the_sum_is_divided_by_what_is_given(tiny_model, batch):
    count = int((batch["labels"][:, 1:] != IGNORE_INDEX).sum())
    mean, halved = (
        answer_loss(tiny_model, batch),
        answer_loss(tiny_model, batch, num_items=2 * count),
    )
    assert halved.item() == pytest.approx(mean.item() / 2, rel=1e-6)


def test_fewer_logits_are_computed(tiny_model, batch):
    computed = []
    tiny_model.lm_head.register_forward_hook(
        lambda module, inputs, output: computed.append(output.shape[1])
    )
    answer_loss(tiny_model, batch)
    answer = max(int((row != IGNORE_INDEX).sum()) for row in batch["labels"])
    assert computed == [answer]
    assert answer < batch["labels"].shape[1]


def test_a_fused_model_answers_as_before_and_is_saved_as_it_was(model, tmp_path, tokenizer):
    fused = fuse(copy.deepcopy(model))
    ids = torch.tensor(
        [
            encode_example({"instruction": "法国的首都是哪里？", "output": "巴黎"}, tokenizer)[
                "input_ids"
            ]
        ]
    )
    with torch.inference_mode():
        torch.testing.assert_close(fused(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-4)
    fused.save_pretrained(tmp_path / "fused")
    model.save_pretrained(tmp_path / "plain")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "fused" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_under_autocast_the_layers_hand_on_bfloat16_and_the_loss_is_float32(tiny_model, batch):
    seen = []
    fuse(tiny_model).transformer.h[1].register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].dtype)
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = answer_loss(tiny_model, batch)
    full = answer_loss(tiny_model, batch)
    assert seen == [torch.bfloat16, torch.float32]
    assert low.dtype == torch.float32
    assert low.item() == pytest.approx(full.item(), rel=1e-2)


@given(
    lengths=st.lists(st.integers(1, 300), max_size=200),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 3),
)
def test_every_row_comes_once_and_batches_hold_rows_of_similar_length(
    lengths, batch_size, seed, epoch
):
    sampler, again = (LengthSortedSampler(lengths, batch_size, seed) for _ in range(2))
    sampler.set_epoch(epoch)
    again.set_epoch(epoch)
    order = list(sampler)
    assert sorted(order) == list(range(len(lengths)))
    assert len(sampler) == len(order)
    assert list(again) == order
    spans = sorted(
        (min(batch), max(batch))
        for batch in (
            [lengths[i] for i in order[k : k + batch_size]]
            for k in range(0, len(order), batch_size)
        )
    )
    assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(spans)), (
        "batches overlap in length"
    )


def test_the_longest_rows_do_not_come_at_the_beginning_and_are_mixed_in_afterwards():
    lengths = [*range(1, 71)] * 20
    orders = [
        list(LengthSortedSampler(lengths, 10, seed=seed, beginning=1 / 4, shorter=6 / 7))
        for seed in range(5)
    ]
    for order in orders:
        assert all(lengths[i] <= 60 for i in order[:350])
        assert [lengths[i] for i in order[:350]] != sorted(lengths[i] for i in order[:350])
        longest = [position for position, i in enumerate(order) if lengths[i] > 60]
        assert 350 <= min(longest) < 700
        assert sum(longest) / len(longest) == pytest.approx(
            (350 + 1_400) / 2, abs=150
        )  # as far as chance has it, evenly
    assert len({tuple(order) for order in orders}) == 5


def test_another_epoch_has_another_order():
    sampler = LengthSortedSampler([5] * 50, 4, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first


def test_at_most_three_percent_of_what_is_computed_is_padding(splits, tokenizer):
    lengths = [len(ids) for ids in encode_dataset(splits["train"], tokenizer).dataset["input_ids"]]
    order = list(LengthSortedSampler(lengths, PROFILES["fast"].per_device_train_batch_size, 42))
    size = PROFILES["fast"].per_device_train_batch_size
    batches = [[lengths[i] for i in order[k : k + size]] for k in range(0, len(order), size)]
    assert 1 - sum(lengths) / sum(len(batch) * max(batch) for batch in batches) <= 0.03


PAGE_FAULTS = """
import resource, sys, torch
from tutorial_lib.fast import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit(3)
def fault():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**21)  # 8 MiB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
fault()
print(fault())
"""


def test_freed_memory_is_used_again_without_asking_the_system():
    environment = {
        **os.environ,
        "MALLOC_MMAP_THRESHOLD_": "65536",
    }  # every tensor goes back: the worst case, on any machine
    runs = {}
    for what in ("leave", "keep"):
        done = subprocess.run(
            [sys.executable, "-c", PAGE_FAULTS, what],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        if done.returncode == 3:
            pytest.skip("no glibc here")
        runs[what] = int(done.stdout)
    assert runs["keep"] < runs["leave"] / 10, runs


def run(trainer_rows, tokenizer, model, folder, *, fast, accumulation=2, **options):
    arguments = training_arguments(
        PROFILES["tiny"],
        folder,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=accumulation,
        logging_steps=1,
        save_strategy="no",
        disable_tqdm=True,
        **options,
    )
    trainer = build_trainer(model, tokenizer, trainer_rows, arguments, fast=fast)
    trainer.train()
    return trainer


def test_steps_are_those_of_the_plain_trainer(splits, tokenizer, tiny_model, tmp_path):
    """Eight rows in one step: in any order, loss and new weights are the plain Trainer's."""
    rows = encode_dataset(splits["train"].select(range(0, 80, 10)), tokenizer).dataset
    plain = run(rows, tokenizer, copy.deepcopy(tiny_model), tmp_path / "plain", fast=False)
    fast = run(rows, tokenizer, tiny_model, tmp_path / "fast", fast=True)
    assert type(plain) is Trainer
    assert plain.state.global_step == fast.state.global_step == 1
    losses = [trainer.state.log_history[0]["loss"] for trainer in (plain, fast)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    norms = [trainer.state.log_history[0]["grad_norm"] for trainer in (plain, fast)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)


def test_the_fast_profile_is_the_tiny_one_in_a_faster_way():
    tiny, fast = PROFILES["tiny"], PROFILES["fast"]
    differing = {
        field.name
        for field in dataclasses.fields(tiny)
        if getattr(tiny, field.name) != getattr(fast, field.name)
    }
    assert (tiny.fast, fast.fast) == (False, True)
    assert differing <= {
        "name",
        "fast",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "learning_rate",
        "decay_power",
        "last_share",
        "warmup_steps",
    }
    assert training_arguments(fast, "unused").bf16 == multiplies_bfloat16()


def test_the_learning_rate_falls_as_the_profile_says(splits, tokenizer, tiny_model, tmp_path):
    rows = encode_dataset(splits["train"].select(range(0, 400, 10)), tokenizer).dataset
    profile = dataclasses.replace(
        PROFILES["fast"], learning_rate=0.5, decay_power=3, last_share=0.2, warmup_steps=2
    )
    batch = {
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    trainer = build_trainer(
        tiny_model, tokenizer, rows, training_arguments(profile, tmp_path, **batch), fast=True
    )
    trainer.train()
    rates = [log["learning_rate"] for log in trainer.state.log_history if "learning_rate" in log]
    left = [1 - done / 8 for done in range(8)]  # the first two of ten steps warm up
    assert rates == pytest.approx([0, 0.25, *(0.1 + 0.4 * share**3 for share in left)])


def test_the_command_trains_with_the_fast_profile_and_repeats_exactly(
    tiny_model_folder, tmp_path, capsys
):
    for name in ("first", "second"):
        options = [
            "--profile",
            "fast",
            "--model",
            tiny_model_folder,
            "--out",
            tmp_path / name,
            "--limit-rows",
            128,
            "--logging-steps",
            1,
        ]
        train.main(
            [str(option) for option in [*options, "--evaluation-rows", 2, "--max-new-tokens", 2]]
        )
    losses = [
        json.loads((tmp_path / name / "metrics.json").read_text())["losses"]
        for name in ("first", "second")
    ]
    assert len(losses[0]) >= 2
    assert losses[0] == losses[1]
