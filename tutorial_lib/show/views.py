"""What the interactive views show, as plain functions: the same picture or table without a front end, in an export, in a test."""

import html
import random
from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure
from transformers import DataCollatorForSeq2Seq, PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_pt_utils import get_length_grouped_indices

from tutorial_lib.evaluation import token_losses
from tutorial_lib.formatting import EncodedExample, encode_example, format_prompt
from tutorial_lib.inference import Answer, answer, next_token_probabilities
from tutorial_lib.memory import (
    CARDS,
    GIB,
    PRECISIONS,
    SHAPES,
    Step,
    fixed_memory,
    plan_training_memory,
    sharded,
)
from tutorial_lib.show.plots import plot_batches, plot_memory, plot_next_tokens, plot_roles

TEMPLATES: Mapping[str, str] = {
    "the article's": "Human: {question}\n\nAssistant: ",
    "no last space": "Human: {question}\n\nAssistant:",
    "Q and A": "Q: {question}\nA: ",
    "question only": "{question}\n",
}
SAMPLINGS = ("as they come", "random", "sorted by length", "grouped by length")
WHOLE_ROW = 1_000_000  # tokens; longer than any row


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
    """Show a row token by token: id, label, the loss of each token for each model, and what `max_length` cuts off.

    Args:
        tokenizer: must have an ``eos_token``.
        models: name -> causal language model; may be empty.
        instruction: a column of the row, as are `input` and `output`.
        input: may be empty.
        output: the answer to learn; not empty.
        max_length: tokens the row is cut at.
        template: a key of TEMPLATES.

    Raises:
        RowError: the output is empty.
        NoSupervisedTokenError: the prompt leaves no room for a single token of the answer.
    """
    row = {"instruction": instruction, "input": input, "output": output}
    prompt = TEMPLATES[template].format(question=f"{instruction}\n{input}".strip())
    whole = encode_example(row, tokenizer, WHOLE_ROW, prompt=prompt)
    example = encode_example(row, tokenizer, max_length, prompt=prompt)
    kept, length = len(example["input_ids"]), len(whole["input_ids"])
    losses = {
        name: token_losses(model, example) + [torch.nan] * (length - kept)
        for name, model in models.items()
    }
    supervised = sum(label != -100 for label in example["labels"])
    title = f"{supervised} of {kept} tokens carry loss"
    if losses:
        means = {name: torch.tensor(values).nanmean().item() for name, values in losses.items()}
        title += ": on average " + ", ".join(f"{mean:.2f} {name}" for name, mean in means.items())
    if length > kept:
        title += f"; {length - kept} cut off, </s> among them"
    return plot_roles(
        [readable(tokenizer, i) for i in whole["input_ids"]],
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
    """Show which cells of a batch are padding, and how much padding all batches together have.

    Args:
        rows: encoded rows.
        tokenizer: its padding token fills the batch.
        number: which batch to show, from 1; one that is too large shows the last.
        batch_size: rows a batch.
        padding_side: ``"left"`` or ``"right"``.
        sampling: one of SAMPLINGS. ``"grouped by length"`` is Trainer's own: random, but rows of like length go together.
        seed: of the random orders.
    """
    lengths = [len(row["input_ids"]) for row in rows]
    order = batch_order(lengths, sampling, batch_size, seed)
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    cells = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    number = min(number, len(batches))
    own = tokenizer.padding_side
    tokenizer.padding_side = padding_side
    try:
        batch = DataCollatorForSeq2Seq(tokenizer)([dict(rows[i]) for i in batches[number - 1]])
    finally:
        tokenizer.padding_side = own
    share = 1 - sum(lengths) / cells
    return plot_batches(
        {
            f"{sampling}, {share:.0%} padding in all; batch {number} of {len(batches)}": batch[
                "attention_mask"
            ]
        }
    )


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
        return get_length_grouped_indices(
            list(lengths), batch_size, generator=torch.Generator().manual_seed(seed)
        )
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
    """Show the next token's probabilities as the model gives them and as they are drawn from, and a few sampled answers.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        question: asked with the prompt of training.
        so_far: how the answer begins; the next token follows it. The sampled answers begin afresh.
        temperature: above 0.
        top_k: 0 keeps all tokens.
        top_p: 1 keeps all tokens.
        seed: of the drawing.
        samples: how many answers to draw.

    Returns:
        The picture, and the answers as HTML.
    """
    prompt = format_prompt(question) + so_far
    plain = next_token_probabilities(model, tokenizer, prompt)
    drawn = next_token_probabilities(
        model, tokenizer, prompt, temperature=temperature, top_k=top_k, top_p=top_p
    )
    shown = plain.topk(8).indices.tolist()
    possible, likeliest = int((drawn > 1e-4).sum()), int(drawn.argmax())
    panels = {"as the model says": plain, "as it is drawn": drawn}
    picture = plot_next_tokens(
        {
            name: {readable(tokenizer, i): float(shares[i]) for i in shown}
            for name, shares in panels.items()
        },
        f"{possible} tokens can come next (above 0.01 %); “{readable(tokenizer, likeliest)}” with {drawn[likeliest]:.1%}",
    )
    with (
        torch.random.fork_rng()
    ):  # answering draws random numbers even when it is greedy: the pipeline's data loader does
        torch.manual_seed(seed)
        options = {
            "do_sample": True,
            "temperature": float(temperature),
            "top_k": top_k,
            "top_p": float(top_p),
        }
        answers = answer([question], model, tokenizer, max_new_tokens=40, progress=False)
        answers += answer(
            [question] * samples, model, tokenizer, max_new_tokens=40, progress=False, **options
        )
    names = ["greedy", *(f"sample {number}" for number in range(1, samples + 1))]
    return [
        picture,
        html_table(
            ["", "answer"],
            [[name, said(given)] for name, given in zip(names, answers, strict=True)],
        ),
    ]


def memory_planner(
    models: Mapping[str, int], *, precision: str = "float32", optimizer: str = "AdamW"
) -> Figure:
    """Show weights, gradients and optimizer states of models (name -> number of parameters) against graphics cards."""
    bars = {
        name: fixed_memory(parameters, precision, optimizer) for name, parameters in models.items()
    }
    totals = {name: sum(bar.values()) / 2**30 for name, bar in bars.items()}
    largest = max(totals, key=totals.__getitem__)
    card = next(
        (f"fits a card of {card} GB" for card in CARDS if card > totals[largest]),
        f"fits no single card of {CARDS[-1]} GB",
    )
    return plot_memory(
        bars,
        CARDS,
        f"{largest} takes {totals[largest]:,.3g} GiB before any activation, {card}\n({optimizer}, {precision})",
    )


# What the article says that each of its sizes takes (GB, of 10^9 bytes).
ARTICLES_GIGABYTES: Mapping[str, float] = {"0.8 B": 18, "8 B": 180, "80 B": 1_800}


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
    """Show what a whole training step takes on each device, by part, against graphics cards and the article's figure.

    Args:
        model: a key of ``memory.SHAPES``.
        batch: rows a device and forward pass.
        length: tokens a row.
        accumulation: forward passes an optimizer step; 1 where gradients are released.
        precision: a key of ``memory.PRECISIONS``.
        optimizer: a key of ``memory.OPTIMIZERS``.
        released: gradients are used and let go in the backward pass.
        checkpointing: activations are computed twice instead of kept.
        stage: of ZeRO, 0 to 3.
        devices: over which it shards.
    """
    step = Step(
        batch,
        length,
        precision,
        optimizer,
        checkpointing=checkpointing,
        released=released,
        accumulation=accumulation,
    )
    shape = SHAPES[model]
    weight = PRECISIONS[precision].weight
    whole = plan_training_memory(shape, step)
    # In stage 3 a layer is gathered while the next one is on its way, and the embedding stays gathered.
    each = sharded(
        whole,
        devices,
        stage,
        gathered=weight * (2 * shape.layer_parameters + shape.other_parameters),
    )
    peak = each.pop("peak") / GIB
    card = next(
        (f"fits a card of {card} GB" for card in CARDS if card > peak),
        f"fits no card of {CARDS[-1]} GB",
    )
    many = f"each of {devices} devices, ZeRO {stage}" if devices > 1 else "one device"
    idle = f", on which ZeRO {stage} has nothing to share" if stage and devices == 1 else ""
    bars = {f"{model}\n{many}": each}
    together = ARTICLES_GIGABYTES[model] * 1e9 / GIB / devices
    how = f"{accumulation} × {batch} × {length} tokens a step, {optimizer}, {precision}"
    title = f"{model} takes {peak:,.3g} GiB on {many}{idle}, {card}\n({how}{', checkpointing' * checkpointing}{', released' * released})"
    return plot_memory(
        bars,
        CARDS,
        title,
        marks={
            f"the article: {ARTICLES_GIGABYTES[model]:,} GB"
            + (" / devices" * (devices > 1)): together
        },
    )


def chat(
    models: Mapping[str, PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    *,
    question: str,
    max_new_tokens: int = 48,
) -> str:
    """Return a table (HTML) of what each model (name -> model) answers, greedily; "…" where it does not stop by itself."""
    answers = [
        answer([question], model, tokenizer, max_new_tokens=max_new_tokens, progress=False)[0]
        for model in models.values()
    ]
    return html_table(list(models), [list(map(said, answers))])


def said(given: Answer) -> str:
    """Return an answer as it is shown: "…" where the model did not stop by itself."""
    return given.text.strip() + ("" if given.stopped else " …")


def readable(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    """Return a token as text in which white space can be seen, and ``‹byte›`` for a part of a character."""
    return (
        tokenizer.decode([token_id])
        .replace("\n", "⏎")
        .replace(" ", "·")
        .replace("\ufffd", "‹byte›")
    )


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as HTML; every text is escaped, line breaks are kept."""

    def line(tag: str, cells: Sequence[str]) -> str:
        style = ' style="text-align:left;vertical-align:top;padding:2px 12px 2px 0"'
        return (
            "<tr>"
            + "".join(
                f"<{tag}{style}>{html.escape(cell).replace(chr(10), '<br>')}</{tag}>"
                for cell in cells
            )
            + "</tr>"
        )

    return "<table>" + line("th", header) + "".join(line("td", row) for row in rows) + "</table>"
