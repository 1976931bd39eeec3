"""What each widget shows, as a plain function: the same without a front end, or in a test."""

import random
from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure
from transformers import DataCollatorForSeq2Seq, PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_pt_utils import get_length_grouped_indices

from tutorial_lib.evaluation import token_losses
from tutorial_lib.formatting import IGNORE_INDEX, EncodedExample, encode_example, format_prompt
from tutorial_lib.inference import Answer, answer, next_token_probabilities
from tutorial_lib.scaling.shapes import SHAPES
from tutorial_lib.scaling.step_memory import (
    CARDS,
    GIB,
    PRECISIONS,
    Step,
    fixed_memory,
    plan_training_memory,
    sharded,
)
from tutorial_lib.show.plots import plot_batches, plot_memory, plot_next_tokens, plot_roles
from tutorial_lib.show.tables import html_table

TEMPLATES: Mapping[str, str] = {
    "the article's": "Human: {question}\n\nAssistant: ",
    "no last space": "Human: {question}\n\nAssistant:",
    "Q and A": "Q: {question}\nA: ",
    "question only": "{question}\n",
}
SAMPLINGS = ("as they come", "random", "sorted by length", "grouped by length")
# What the article says that each of its sizes takes (GB, of 10^9 bytes).
ARTICLES_GIGABYTES: Mapping[str, float] = {"0.8 B": 18, "8 B": 180, "80 B": 1_800}
NO_CUT = 1_000_000  # tokens; longer than any example


def mask_microscope(
    tokenizer: PreTrainedTokenizerBase,
    models: Mapping[str, PreTrainedModel],
    *,
    instruction: str,
    input: str = "",
    output: str,
    max_length: int = 64,
    template: str = "the article's",
) -> Figure:
    """Show a row token by token: id, label, loss for each model, and what the cut takes away.

    Args:
        tokenizer: must have an ``eos_token``.
        models: name -> causal language model; may be empty.
        instruction: a column of the row, as are `input` and `output`.
        input: may be empty.
        output: the answer to learn; not empty.
        max_length: tokens at which the example is cut.
        template: a key of TEMPLATES.

    Raises:
        RowError: the output is empty.
        NoSupervisedTokenError: the prompt leaves no room for a token of the answer.
    """
    row = {"instruction": instruction, "input": input, "output": output}
    prompt = TEMPLATES[template].format(question=f"{instruction}\n{input}".strip())
    whole = encode_example(row, tokenizer, NO_CUT, prompt=prompt)
    example = encode_example(row, tokenizer, max_length, prompt=prompt)
    kept, length = len(example["input_ids"]), len(whole["input_ids"])
    padding = [torch.nan] * (length - kept)
    losses = {name: token_losses(model, example) + padding for name, model in models.items()}
    supervised = sum(label != IGNORE_INDEX for label in example["labels"])
    title = f"{supervised} of {kept} tokens carry loss"
    if losses:
        means = {name: torch.tensor(values).nanmean().item() for name, values in losses.items()}
        title += ": on average " + ", ".join(f"{mean:.2f} {name}" for name, mean in means.items())
    if length > kept:
        title += f"; {length - kept} cut off, </s> among them"
    return plot_roles(
        [token_text(tokenizer, i) for i in whole["input_ids"]],
        whole["labels"],
        tokenizer.eos_token_id,
        title,
        ids=whole["input_ids"],
        losses={f"loss {name}": values for name, values in losses.items()},
        kept=kept,
    )


def batch_builder(
    rows: Sequence[EncodedExample],
    tokenizer: PreTrainedTokenizerBase,
    *,
    number: int = 1,
    batch_size: int = 4,
    padding_side: str = "left",
    sampling: str = "as they come",
    seed: int = 0,
) -> Figure:
    """Show which cells of a batch are padding, and how much padding all batches have together.

    Args:
        rows: encoded examples.
        tokenizer: its padding token fills the batch.
        number: which batch, from 1; one that is too large shows the last.
        batch_size: rows per batch.
        padding_side: ``"left"`` or ``"right"``.
        sampling: one of SAMPLINGS. ``"grouped by length"`` is Trainer's own: random, but rows of
            similar length go together.
        seed: of the random orders.
    """
    lengths = [len(row["input_ids"]) for row in rows]
    order = batch_order(lengths, sampling, batch_size, seed)
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    cells = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    number = min(number, len(batches))
    before, tokenizer.padding_side = tokenizer.padding_side, padding_side
    try:
        batch = DataCollatorForSeq2Seq(tokenizer)([dict(rows[i]) for i in batches[number - 1]])
    finally:
        tokenizer.padding_side = before
    share = 1 - sum(lengths) / cells
    name = f"{sampling}, {share:.0%} padding in all; batch {number} of {len(batches)}"
    return plot_batches({name: batch["attention_mask"]})


def batch_order(lengths: Sequence[int], sampling: str, batch_size: int, seed: int) -> list[int]:
    """Return the order in which rows of these lengths (tokens) are taken, as indices.

    Raises:
        ValueError: `sampling` is not one of SAMPLINGS.
    """
    indices = list(range(len(lengths)))
    if sampling == "as they come":
        return indices
    if sampling == "random":
        return random.Random(seed).sample(indices, len(indices))
    if sampling == "sorted by length":
        return sorted(indices, key=lambda i: lengths[i])
    if sampling == "grouped by length":
        generator = torch.Generator().manual_seed(seed)
        return get_length_grouped_indices(list(lengths), batch_size, generator=generator)
    raise ValueError(f"sampling {sampling!r} is not known: choose one of {', '.join(SAMPLINGS)}")


def sampling_playground(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    question: str,
    so_far: str = "",
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    samples: int = 5,
) -> list[Figure | str]:
    """Show the next token's probabilities before and after the settings, and sampled answers.

    Args:
        model: a causal language model.
        tokenizer: the model's.
        question: asked with the prompt of training.
        so_far: how the answer begins; the next token follows it. The samples begin afresh.
        temperature: above 0.
        top_k: 0 keeps all tokens.
        top_p: 1 keeps all tokens.
        seed: of the samples.
        samples: how many answers to sample.

    Returns:
        The figure, and the answers as HTML.
    """
    prompt = format_prompt(question) + so_far
    settings = {"temperature": float(temperature), "top_k": top_k, "top_p": float(top_p)}
    plain = next_token_probabilities(model, tokenizer, prompt)
    filtered = next_token_probabilities(model, tokenizer, prompt, **settings)
    top = {i: token_text(tokenizer, i) for i in plain.topk(8).indices.tolist()}
    bars = {
        name: {text: float(probabilities[i]) for i, text in top.items()}
        for name, probabilities in {"before the settings": plain, "with them": filtered}.items()
    }
    possible, first = int((filtered > 1e-4).sum()), int(filtered.argmax())
    best = f"“{token_text(tokenizer, first)}” with {filtered[first]:.1%}"
    figure = plot_next_tokens(bars, f"{possible} tokens can come next (above 0.01 %); {best}")
    limits = {"max_new_tokens": 40, "progress": False}
    with torch.random.fork_rng():  # even greedy answering draws: the pipeline's data loader does
        torch.manual_seed(seed)
        answers = answer([question], model, tokenizer, **limits)
        options = {"do_sample": True, **settings, **limits}
        answers += answer([question] * samples, model, tokenizer, **options)
    names = ["greedy", *(f"sample {number}" for number in range(1, samples + 1))]
    rows = [[name, answer_text(each)] for name, each in zip(names, answers, strict=True)]
    return [figure, html_table(["", "answer"], rows)]


def memory_planner(
    models: Mapping[str, int], *, precision: str = "float32", optimizer: str = "AdamW"
) -> Figure:
    """Show weights, gradients and states of models (name -> parameters) against graphics cards."""
    bars = {name: fixed_memory(count, precision, optimizer) for name, count in models.items()}
    totals = {name: sum(bar.values()) / GIB for name, bar in bars.items()}
    largest = max(totals, key=totals.__getitem__)
    fit = _fit(totals[largest], f"fits no single card of {CARDS[-1]} GB")
    title = f"{largest} takes {totals[largest]:,.3g} GiB before any activation, {fit}"
    return plot_memory(bars, CARDS, f"{title}\n({optimizer}, {precision})")


def training_planner(
    *,
    model: str = "0.8 B",
    batch: int = 4,
    length: int = 256,
    accumulation: int = 8,
    precision: str = "float32",
    optimizer: str = "AdamW",
    released: bool = False,
    checkpointing: bool = False,
    stage: int = 0,
    devices: int = 1,
) -> Figure:
    """Show what a training step takes on each device, by part, against cards and the article.

    Args:
        model: a key of ``shapes.SHAPES``.
        batch: see ``step_memory.Step``, as for the next six.
        length: tokens per row.
        accumulation: forward passes per optimizer step; 1 where gradients are released.
        precision: a key of ``step_memory.PRECISIONS``.
        optimizer: a key of ``step_memory.OPTIMIZERS``.
        released: gradients are applied and freed in the backward pass.
        checkpointing: activations are computed twice instead of kept.
        stage: of ZeRO, 0 to 3.
        devices: over which it shards.
    """
    ways = {"checkpointing": checkpointing, "released": released, "accumulation": accumulation}
    step = Step(batch, length, precision, optimizer, **ways)
    shape, weight = SHAPES[model], PRECISIONS[precision]
    # In stage 3 a layer is gathered while the next is on its way, and the embedding stays whole.
    gathered = weight * (2 * shape.layer_parameters + shape.other_parameters)
    parts = sharded(plan_training_memory(shape, step), devices, stage, gathered=gathered)
    peak = parts.pop("peak") / GIB
    where = f"each of {devices} devices, ZeRO {stage}" if devices > 1 else "one device"
    idle = f", on which ZeRO {stage} has nothing to share" if stage and devices == 1 else ""
    fit = _fit(peak, f"fits no card of {CARDS[-1]} GB")
    how = f"{accumulation} × {batch} × {length} tokens per step, {optimizer}, {precision}"
    how += ", checkpointing" * checkpointing + ", released" * released
    title = f"{model} takes {peak:,.3g} GiB on {where}{idle}, {fit}\n({how})"
    gigabytes = ARTICLES_GIGABYTES[model]
    mark = f"the article: {gigabytes:,} GB" + (" / devices" if devices > 1 else "")
    marks = {mark: gigabytes * 1e9 / GIB / devices}
    return plot_memory({f"{model}\n{where}": parts}, CARDS, title, marks=marks)


def chat(
    models: Mapping[str, PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    *,
    question: str,
    max_new_tokens: int = 48,
) -> str:
    """Return an HTML table of what each model (name -> model) answers, greedily."""
    limits = {"max_new_tokens": max_new_tokens, "progress": False}
    answers = [answer([question], model, tokenizer, **limits)[0] for model in models.values()]
    return html_table(list(models), [list(map(answer_text, answers))])


def answer_text(answer: Answer) -> str:
    """Return an answer as it is shown: "…" follows if the model did not stop by itself."""
    return answer.text.strip() + ("" if answer.stopped else " …")


def token_text(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    """Return a token with visible white space, and ``‹byte›`` for a part of a character."""
    text = tokenizer.decode([token_id])
    return text.replace("\n", "⏎").replace(" ", "·").replace("\ufffd", "‹byte›")


def _fit(gibibytes: float, otherwise: str) -> str:
    return next((f"fits a card of {card} GB" for card in CARDS if card > gibibytes), otherwise)
