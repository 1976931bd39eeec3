import math
from dataclasses import fields

import pytest
import torch
from transformers import DataCollatorForSeq2Seq

from tutorial_lib.formatting import encode_example, format_prompt
from tutorial_lib.lab.what_breaks import (
    VARIANTS,
    Outcome,
    Recipe,
    ask,
    collate,
    encode,
    run_variants,
    train,
)

RIGHT = Recipe()


@pytest.fixture(scope="module")
def rows(splits):
    return splits["train"].select(range(40)).to_list()


@pytest.fixture(scope="module")
def fitting(rows, tokenizer):
    return [
        row
        for row in rows
        if len(tokenizer(format_prompt(row["instruction"], row["input"]))["input_ids"]) < 200
    ]


def test_every_variant_but_the_first_turns_exactly_one_switch():
    assert VARIANTS["nothing changed"] == RIGHT
    for name, recipe in VARIANTS.items():
        changed = [
            f.name for f in fields(Recipe) if getattr(recipe, f.name) != getattr(RIGHT, f.name)
        ]
        allowed = (
            2 if name == "bfloat16, small learning rate" else 1
        )  # compared with the same rate in float32
        assert len(changed) == (0 if recipe == RIGHT else allowed), name
        assert all(change in recipe.changes for change in changed)


def test_the_right_recipe_encodes_as_the_course_does(fitting, tokenizer):
    for row in fitting:
        expected = encode_example(row, tokenizer)
        assert encode(row, RIGHT, tokenizer) == (expected["input_ids"], expected["labels"])


def test_the_right_recipe_fills_batches_up_as_the_collator_does(fitting, tokenizer):
    encoded = [encode_example(row, tokenizer) for row in fitting[:8]]
    expected = DataCollatorForSeq2Seq(tokenizer)(encoded)
    batch = collate([(row["input_ids"], row["labels"]) for row in encoded], RIGHT, tokenizer)
    assert all(torch.equal(batch[key], expected[key]) for key in batch)


def test_each_mistake_does_what_its_name_says(fitting, tokenizer):
    row, end, pad = fitting[0], tokenizer.eos_token_id, tokenizer.pad_token_id
    ids, labels = encode(row, VARIANTS["no label mask"], tokenizer)
    assert ids == labels
    assert (
        encode(row, VARIANTS["no end token"], tokenizer)[0] == encode(row, RIGHT, tokenizer)[0][:-1]
    )
    cut = VARIANTS["end token cut off"]
    assert all(len(encode(row, cut, tokenizer)[0]) <= cut.max_length for row in fitting)
    pair = [
        encode(row, RIGHT, tokenizer)
        for row in sorted(fitting, key=lambda row: len(row["output"]))[:: len(fitting) - 1]
    ]
    learnt, by_value = (
        collate(pair, VARIANTS[name], tokenizer)
        for name in ("padding is learnt", "padding is the end token")
    )
    assert (learnt["labels"][learnt["attention_mask"] == 0] == pad).all()
    assert (by_value["input_ids"][by_value["attention_mask"] == 0] == end).all()
    assert end not in by_value["labels"]
    assert end in collate(pair, RIGHT, tokenizer)["labels"]


def test_rows_without_a_label_are_left_out_unless_that_is_the_mistake(tiny_model_folder, tokenizer):
    dead = [{"instruction": "长" * 300, "input": "", "output": "a"}] * 8
    good = [{"instruction": "a", "input": "", "output": "b"}] * 8
    _, losses = train(RIGHT, good + dead, tokenizer, tiny_model_folder)
    assert len(losses) == 1
    assert math.isfinite(losses[0])
    _, losses = train(VARIANTS["rows without a label"], good + dead, tokenizer, tiny_model_folder)
    assert sorted(map(math.isfinite, losses)) == [False, True]


def test_training_repeats_exactly_and_learns(tiny_model_folder, fitting, tokenizer):
    few = fitting[:8] * 10
    one, other = (train(RIGHT, few, tokenizer, tiny_model_folder) for _ in range(2))
    assert one[1] == other[1]
    assert one[1][-1] < one[1][0]
    assert train(RIGHT, few, tokenizer, tiny_model_folder, seed=7)[1] != one[1]


def test_asking_in_the_right_way_does_not_depend_on_the_batch(model, splits, tokenizer):
    questions = [row for row in splits["held_out"] if row["task"] == "relation"][:6]
    together = ask(model, RIGHT, questions, tokenizer, max_new_tokens=8)
    alone = [ask(model, RIGHT, [row], tokenizer, max_new_tokens=8)[0] for row in questions]
    assert together == alone
    assert (
        ask(model, VARIANTS["asked without a mask"], questions, tokenizer, max_new_tokens=8)
        != alone
    )
    assert (
        ask(model, VARIANTS["asked with right padding"], questions, tokenizer, max_new_tokens=8)
        != alone
    )


@pytest.mark.parametrize(
    ("exact", "stops", "loss", "harm"),
    [
        (0.9, 1.0, 0.1, "none measured"),
        (0.88, 1.0, 9.0, "none measured"),
        (0.85, 1.0, 0.1, "small"),
        (0.79, 1.0, 0.1, "clear"),
        (0.9, 0.5, 0.1, "clear"),
        (0.95, 1.0, math.nan, "clear"),
    ],
)
def test_harm_is_by_a_fixed_rule(exact, stops, loss, harm):
    right = Outcome(0.9, 1.0, 0.1, 0, 1.0, ())
    assert Outcome(exact, stops, loss, 0, 1.0, ()).harm(right) == harm


def test_variants_that_differ_in_the_asking_share_one_training(
    tiny_model_folder, fitting, tokenizer, monkeypatch
):
    trained = []
    monkeypatch.setattr(
        "tutorial_lib.lab.what_breaks.train",
        lambda recipe, *args, **kwargs: trained.append(recipe) or train(recipe, *args, **kwargs),
    )
    names = ["nothing changed", "no end token", "asked one space short", "asked without a mask"]
    outcomes = dict(run_variants(names, fitting[:8], fitting[:3], tokenizer, tiny_model_folder))
    assert list(outcomes) == names
    assert trained == [RIGHT, VARIANTS["no end token"]]
    assert all(len(outcome.answers) == 3 for outcome in outcomes.values())
