"""The switches of notebook 10, and its training loop: every line of it, broken once, is noticed."""

import math
from dataclasses import fields, replace
from pathlib import Path

import nbformat
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import DataCollatorForSeq2Seq, LlamaConfig, LlamaForCausalLM

from tutorial_lib.formatting import encode_example, format_prompt
from tutorial_lib.lab.what_breaks import (
    VARIANTS,
    Choices,
    Outcome,
    ask,
    batches_of_similar_length,
    run_variants,
)
from tutorial_lib.models import load_model

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "10_what_breaks.ipynb"
RIGHT = Choices()


def recipe_source() -> str:
    """The code of the notebook's cells that hold the recipe."""
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    return "\n\n".join(c.source for c in cells if "recipe" in c.metadata.get("tags", []))


def recipe(tokenizer, source: str | None = None, *, bfloat16: bool = False):
    """The notebook's functions, by name, with products in float32 unless asked otherwise."""
    names = {"tokenizer": tokenizer}
    exec(recipe_source() if source is None else source, names)
    names["multiplies_bfloat16"] = lambda: bfloat16
    return names


@pytest.fixture(scope="module")
def notebook(tokenizer):
    return recipe(tokenizer)


@pytest.fixture(scope="module")
def rows(splits):
    return splits["train"].select(range(40)).to_list()


@pytest.fixture(scope="module")
def fitting(rows, tokenizer):
    def length(row):
        return len(tokenizer(format_prompt(row["instruction"], row["input"]))["input_ids"])

    return [row for row in rows if length(row) < 200]


def save_llama(folder: Path, tokenizer, **options) -> Path:
    """A random model in which ``fuse`` finds nothing to change: the reference is exact."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), num_attention_heads=4, **sizes, **options)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llama(tokenizer, tmp_path_factory):
    return save_llama(tmp_path_factory.mktemp("llama"), tokenizer)


def test_every_variant_but_the_first_turns_exactly_one_switch():
    assert VARIANTS["nothing changed"] == RIGHT
    for name, choices in VARIANTS.items():
        names = [f.name for f in fields(Choices)]
        changed = [name for name in names if getattr(choices, name) != getattr(RIGHT, name)]
        # bfloat16 is compared with the same rate in float32.
        allowed = 2 if name == "bfloat16, small learning rate" else 1
        assert len(changed) == (0 if choices == RIGHT else allowed), name
        assert all(change in choices.changes for change in changed)


# --- the loop, against a reference written by hand ------------------------------------------------


def reference(rows, tokenizer, folder, choices=RIGHT, batch_size=8, seed=42):
    """The same training in other words: library encoding, collator, own clipping and decay."""
    model = load_model(folder, dtype=choices.dtype).train()
    fitting = [row for row in rows if len(row["instruction"]) < 250]
    encoded = [encode_example(row, tokenizer) for row in fitting]
    pairs = [(example["input_ids"], example["labels"]) for example in encoded]
    steps = batches_of_similar_length(pairs, batch_size, seed)
    optimizer = torch.optim.AdamW(model.parameters(), foreach=False, fused=False)
    losses = []
    for number, step in enumerate(steps):
        size = -(-len(step) // choices.micro_batches)
        parts = [step[i : i + size] for i in range(0, len(step), size)]
        means = []
        for part in parts:
            ones = [{"input_ids": i, "attention_mask": [1] * len(i), "labels": y} for i, y in part]
            batch = DataCollatorForSeq2Seq(tokenizer)(ones)
            inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
            logits = model(**inputs).logits[:, :-1].float()
            targets = batch["labels"][:, 1:]
            supervised = targets != -100
            means.append(cross_entropy(logits[supervised], targets[supervised]))
        loss = sum(means) / len(means)
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        gradients = [parameter.grad for parameter in model.parameters()]
        norm = sum(float(gradient.float().square().sum()) for gradient in gradients) ** 0.5
        for gradient in gradients:
            gradient.mul_(min(1.0, 1.0 / norm))
        optimizer.param_groups[0]["lr"] = choices.learning_rate * (1 - number / len(steps))
        optimizer.step()
    return model, losses


def distance(one, other, start) -> float:
    """How far two trainings end from each other, as a share of the way that one has gone."""
    flat = [
        torch.cat([p.detach().double().flatten() for p in m.parameters()]) for m in (one, other)
    ]
    origin = torch.cat([p.detach().double().flatten() for p in start.parameters()])
    return float((flat[0] - flat[1]).norm() / (flat[1] - origin).norm())


CASES = {
    "right": replace(RIGHT, learning_rate=2e-2),
    "mean of means": replace(VARIANTS["mean of means"], learning_rate=2e-2),
    "bfloat16": replace(VARIANTS["bfloat16, small learning rate"], learning_rate=2e-2),
}


# Weights of bfloat16 round after every operation.
TOLERANCES = {"right": 2e-4, "mean of means": 2e-4, "bfloat16": 0.01}


def departure(names, rows, tokenizer, folder, case: str) -> float:
    """How far the notebook's training is from the reference: weights, losses, steps."""
    model, losses = names["train"](CASES[case], rows, folder)
    expected, expected_losses = reference(rows, tokenizer, folder, CASES[case])
    if len(losses) != len(expected_losses):
        return math.inf
    off = max(abs(a - b) for a, b in zip(losses, expected_losses, strict=True))
    start = load_model(folder, dtype=CASES[case].dtype)
    return max(off, distance(model, expected, start)) if math.isfinite(off) else math.inf


@pytest.fixture(scope="module")
def training_rows(fitting):
    dead = [{"instruction": "长" * 300, "input": "", "output": "a"}] * 2
    return fitting[:32] + dead


@pytest.mark.parametrize("case", CASES)
def test_the_notebooks_loop_is_the_reference(notebook, training_rows, tokenizer, llama, case):
    assert departure(notebook, training_rows, tokenizer, llama, case) < TOLERANCES[case] / 2


# A line of the recipe, its broken form, and the case that shows it.
BREAKS = [
    ("prompt + response", "response + prompt", "right"),
    ("if choices.end_token:", "if not choices.end_token:", "right"),
    ("[IGNORE_INDEX] * len(prompt) if choices.mask_prompt", "prompt if True", "right"),
    ("[*response, tokenizer.eos_token_id]", "[*response, tokenizer.pad_token_id]", "right"),
    ("[pad] * (width - len(i)) + i", "i + [pad] * (width - len(i))", "right"),
    ("[0] * (width - len(i)) + [1]", "[1] * (width - len(i)) + [1]", "right"),
    ("[pad_label] * (width - len(y)) + y", "y + [pad_label] * (width - len(y))", "right"),
    ('choices.padding == "learnt"', 'choices.padding == "ignored"', "right"),
    ('choices.padding == "end token"', 'choices.padding == "ignored"', "right"),
    ("if not choices.dead_rows:", "if choices.dead_rows:", "right"),
    ("batches_of_similar_length(examples, batch_size, seed)", "[examples]", "right"),
    ("batches_of_similar_length(examples, batch_size, seed)",
     "batches_of_similar_length(examples, batch_size, seed + 1)", "right"),
    ("lr=choices.learning_rate", "lr=1e-3", "right"),
    ("torch.optim.AdamW", "torch.optim.Adam", "right"),
    ("1 - step / len(steps)", "1", "right"),
    ("decay.step()", "pass", "right"),
    ("choices.micro_batches)", "1)", "mean of means"),
    ("/ len(parts)", "/ 1", "mean of means"),
    ("loss.backward()", "pass", "right"),
    ("losses[-1] += loss.item()", "losses[-1] = 2 * loss.item()", "right"),
    ("clip_grad_norm_(model.parameters(), max_norm=1.0)", "pass", "right"),
    ("max_norm=1.0", "max_norm=100.0", "right"),
    ("max_norm=1.0", "max_norm=0.5", "right"),
    ("optimizer.step()", "pass", "right"),
    ("optimizer.zero_grad()", "pass", "right"),
    ("dtype=choices.dtype", "dtype=torch.float32", "bfloat16"),
    ("and is_broken(model)", "or True", "right"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "broken", "case"), BREAKS, ids=[f"{b[0]}-{b[1]}" for b in BREAKS])
def test_each_broken_line_is_noticed(training_rows, tokenizer, llama, line, broken, case):
    source = recipe_source()
    assert source.count(line) == 1 or line == "optimizer.step()", (
        "the line is in the notebook, once"
    )
    names = recipe(tokenizer, source.replace(line, broken))
    assert departure(names, training_rows, tokenizer, llama, case) > TOLERANCES[case]


def test_dropout_is_on_while_it_trains_and_drawn_from_the_seed(
    notebook, fitting, tokenizer, tmp_path
):
    folder = save_llama(tmp_path, tokenizer, attention_dropout=0.5)
    one, other, quiet = (
        recipe(tokenizer, recipe_source().replace(*change))["train"](RIGHT, fitting[:16], folder)
        for change in [("", ""), ("", ""), (").train()", ").eval()")]
    )
    assert one[1] == other[1]
    assert one[1] != quiet[1]
    assert not one[0].training
    seedless = recipe_source().replace("torch.manual_seed(seed)", "torch.seed()")
    assert recipe(tokenizer, seedless)["train"](RIGHT, fitting[:16], folder)[1] != one[1]


@pytest.mark.parametrize(("choice", "low"), [("nothing changed", True), ("float16 weights", False)])
def test_products_are_in_bfloat16_where_the_processor_can_and_weights_are_float32(
    fitting, tokenizer, llama, choice, low, monkeypatch
):
    names, seen, fused = recipe(tokenizer, bfloat16=True), set(), []
    adamw = torch.optim.AdamW
    monkeypatch.setattr(
        torch.optim, "AdamW", lambda *args, **kw: fused.append(kw["fused"]) or adamw(*args, **kw)
    )

    def watched(*arguments, **options):
        model = load_model(*arguments, **options)
        model.lm_head.register_forward_hook(lambda module, x, y: seen.add(y.dtype))
        return model

    names["load_model"] = watched
    model, _ = names["train"](VARIANTS[choice], fitting[:8], llama)
    assert seen == {torch.bfloat16 if low else torch.float16}
    assert fused == [low], "the fused kernel computes in float32, whatever the weights are"
    assert {p.dtype for p in model.parameters()} == {torch.float32 if low else torch.float16}


def test_the_loop_ends_when_the_weights_are_lost(notebook, fitting, llama):
    lost = replace(RIGHT, learning_rate=math.inf)
    _, losses = notebook["train"](lost, fitting[:32], llama)
    assert len(losses) < 4


def test_the_right_choices_encode_as_the_course_does(notebook, fitting, tokenizer):
    for row in fitting:
        expected = encode_example(row, tokenizer)
        assert notebook["encode"](row, RIGHT) == (expected["input_ids"], expected["labels"])


def test_the_right_choices_pad_as_the_collator_does(notebook, fitting, tokenizer):
    encoded = [encode_example(row, tokenizer) for row in fitting[:8]]
    expected = DataCollatorForSeq2Seq(tokenizer)(encoded)
    batch = notebook["collate"]([(e["input_ids"], e["labels"]) for e in encoded], RIGHT)
    assert all(torch.equal(batch[key], expected[key]) for key in batch)


def test_each_mistake_does_what_its_name_says(notebook, fitting, tokenizer):
    encode, collate = notebook["encode"], notebook["collate"]
    row, end, pad = fitting[0], tokenizer.eos_token_id, tokenizer.pad_token_id
    ids, labels = encode(row, VARIANTS["no label mask"])
    assert ids == labels
    assert encode(row, VARIANTS["no end token"])[0] == encode(row, RIGHT)[0][:-1]
    cut = VARIANTS["end token cut off"]
    for each in fitting:
        ids, labels = encode(each, cut)
        assert len(ids) == len(labels) <= cut.max_length
    by_length = sorted(fitting, key=lambda row: len(row["output"]))
    pair = [encode(row, RIGHT) for row in (by_length[0], by_length[-1])]
    learnt = collate(pair, VARIANTS["padding is learnt"])
    by_value = collate(pair, VARIANTS["padding is the end token"])
    assert (learnt["labels"][learnt["attention_mask"] == 0] == pad).all()
    assert (by_value["input_ids"][by_value["attention_mask"] == 0] == end).all()
    assert end not in by_value["labels"]
    assert end in collate(pair, RIGHT)["labels"]


def test_rows_without_a_label_are_left_out_unless_that_is_the_mistake(notebook, llama):
    dead = [{"instruction": "长" * 300, "input": "", "output": "a"}] * 8
    good = [{"instruction": "a", "input": "", "output": "b"}] * 8
    _, losses = notebook["train"](RIGHT, good + dead, llama)
    assert len(losses) == 1
    assert math.isfinite(losses[0])
    _, losses = notebook["train"](VARIANTS["rows without a label"], good + dead, llama)
    assert sorted(map(math.isfinite, losses)) == [False, True]


# --- asking and judging ---------------------------------------------------------------------------


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
    right = Outcome(0.9, 1.0, 0.1, 0, ())
    assert Outcome(exact, stops, loss, 0, ()).harm(right) == harm


def test_variants_that_differ_in_the_asking_share_one_training(notebook, fitting, tokenizer, llama):
    trained = []

    def train(choices, rows):
        trained.append(choices)
        return notebook["train"](choices, rows, llama)

    names = ["nothing changed", "no end token", "asked one space short", "asked without a mask"]
    outcomes = dict(run_variants(names, train, fitting[:8], fitting[:3], tokenizer))
    assert list(outcomes) == names
    assert trained == [RIGHT, VARIANTS["no end token"]]
    assert all(len(outcome.answers) == 3 for outcome in outcomes.values())
