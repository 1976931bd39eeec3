"""What breaks if…: one short fine-tuning recipe whose every choice is a switch, so that exactly one can be turned at a time.

The recipe is plain PyTorch, since several of the mistakes can't be made with ``Trainer`` any more. Its switches stand in a ``Recipe``; all
defaults are right, a variant changes one.
"""

import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tutorial_lib.evaluation import is_exact, stopping_rate
from tutorial_lib.fast import answer_loss, fuse, keep_freed_memory, multiplies_bfloat16
from tutorial_lib.formatting import (
    IGNORE_INDEX,
    MAX_LENGTH,
    RESPONSE_PREFIX,
    encode_prompt,
    format_prompt,
)
from tutorial_lib.inference import Answer
from tutorial_lib.models import load_model

CLEAR_HARM, SMALL_HARM = 0.10, 0.03  # loss of exact match or of the stopping rate, as shares
Row = Mapping[str, str]


@dataclass(frozen=True)
class Recipe:
    """Everything that can be done wrong, done right.

    Attributes:
        mask_prompt: whether the prompt's labels are -100.
        end_token: whether the end-of-sequence token follows the answer in training.
        max_length: tokens a row is cut at.
        padding: ``"ignored"`` labels padding -100; ``"learnt"`` leaves the padding id as its label; ``"end token"`` pads with the
            end-of-sequence token and then masks by value, so that the true end is masked too.
        dead_rows: rows with a prompt that fills ``max_length`` are trained on instead of left out.
        micro_batches: into how many parts a step's rows are divided, each averaged by itself if more than one.
        learning_rate: of AdamW, decayed linearly to 0.
        dtype: of the weights.
        response_prefix: what the prompt ends with when the model is asked; training uses the article's.
        ask_padding_side: the side on which prompts of a batch are filled up when the model is asked.
        ask_attention_mask: whether the model is told which of them is padding.
    """

    mask_prompt: bool = True
    end_token: bool = True
    max_length: int = MAX_LENGTH
    padding: Literal["ignored", "learnt", "end token"] = "ignored"
    dead_rows: bool = False
    micro_batches: int = 1
    learning_rate: float = 8e-4
    dtype: torch.dtype = torch.float32
    response_prefix: str = RESPONSE_PREFIX
    ask_padding_side: Literal["left", "right"] = "left"
    ask_attention_mask: bool = True

    @property
    def changes(self) -> str:
        """What differs from the recipe that is right, e.g. ``"mask_prompt=False"``."""
        right = Recipe()
        return ", ".join(
            f"{f.name}={getattr(self, f.name)!r}"
            for f in fields(self)
            if getattr(self, f.name) != getattr(right, f.name)
        )

    @property
    def training_part(self) -> "Recipe":
        """The same training, asked in the right way: recipes with the same training part share one model."""
        right = Recipe()
        asked = ("response_prefix", "ask_padding_side", "ask_attention_mask")
        return replace(self, **{name: getattr(right, name) for name in asked})


VARIANTS: Mapping[str, Recipe] = {
    "nothing changed": Recipe(),
    "no label mask": Recipe(mask_prompt=False),
    "no end token": Recipe(end_token=False),
    "end token cut off": Recipe(max_length=26),
    "padding is learnt": Recipe(padding="learnt"),
    "padding is the end token": Recipe(padding="end token"),
    "rows without a label": Recipe(dead_rows=True),
    "mean of means": Recipe(micro_batches=4),
    "learning rate × 100": Recipe(learning_rate=8e-2),
    "learning rate ÷ 100": Recipe(learning_rate=8e-6),
    "float32, small learning rate": Recipe(learning_rate=2e-4),
    "bfloat16, small learning rate": Recipe(learning_rate=2e-4, dtype=torch.bfloat16),
    "float16 weights": Recipe(dtype=torch.float16),
    "asked one space short": Recipe(response_prefix=RESPONSE_PREFIX.rstrip(" ")),
    "asked with right padding": Recipe(ask_padding_side="right"),
    "asked without a mask": Recipe(ask_attention_mask=False),
}


@dataclass(frozen=True)
class Outcome:
    """What became of a variant.

    Attributes:
        exact_match: share of the questions answered exactly, from 0 to 1.
        stopping_rate: share of the answers that ended by themselves, from 0 to 1.
        loss: mean of the last 20 steps whose loss was a number (nats a supervised token); nan if the weights are no numbers.
        lost_steps: steps whose loss was no number.
        seconds: of training and asking.
        answers: one a question.
    """

    exact_match: float
    stopping_rate: float
    loss: float
    lost_steps: int
    seconds: float
    answers: tuple[str, ...]

    def harm(self, right: "Outcome") -> str:
        """Say how much worse than `right` this is: ``clear``, ``small`` or ``none measured``."""
        lost = max(right.exact_match - self.exact_match, right.stopping_rate - self.stopping_rate)
        if not math.isfinite(self.loss) or lost > CLEAR_HARM:
            return "clear"
        return "small" if lost > SMALL_HARM else "none measured"


def encode(
    row: Row, recipe: Recipe, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[int]]:
    """Return ``input_ids`` and ``labels`` of a row, equally long."""
    prompt_ids = encode_prompt(row["instruction"], row["input"], tokenizer)
    response_ids = (
        tokenizer(row["output"], add_special_tokens=False)["input_ids"]
        + [tokenizer.eos_token_id] * recipe.end_token
    )
    prompt_labels = [IGNORE_INDEX] * len(prompt_ids) if recipe.mask_prompt else prompt_ids
    return (prompt_ids + response_ids)[: recipe.max_length], (prompt_labels + response_ids)[
        : recipe.max_length
    ]


def collate(
    encoded: Sequence[tuple[list[int], list[int]]],
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, torch.Tensor]:
    """Fill the rows up on the left; return int64 tensors of shape (rows, longest): ``input_ids``, ``attention_mask``, ``labels``."""
    width = max(len(ids) for ids, _ in encoded)
    pad = tokenizer.eos_token_id if recipe.padding == "end token" else tokenizer.pad_token_id
    pad_label = tokenizer.pad_token_id if recipe.padding == "learnt" else IGNORE_INDEX
    batch = {
        "input_ids": torch.tensor([[pad] * (width - len(ids)) + ids for ids, _ in encoded]),
        "attention_mask": torch.tensor(
            [[0] * (width - len(ids)) + [1] * len(ids) for ids, _ in encoded]
        ),
        "labels": torch.tensor(
            [[pad_label] * (width - len(labels)) + labels for _, labels in encoded]
        ),
    }
    if recipe.padding == "end token":
        batch["labels"][batch["input_ids"] == pad] = (
            IGNORE_INDEX  # masks the end of every answer as well
        )
    return batch


def train(
    recipe: Recipe,
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    base: str,
    *,
    batch_size: int = 8,
    seed: int = 42,
) -> tuple[PreTrainedModel, list[float]]:
    """Fine-tune a fresh copy of `base` for one epoch; return the model and each step's loss.

    Stops when the weights are no numbers.
    """
    torch.manual_seed(seed)
    model = fuse(
        load_model(base, dtype=recipe.dtype)
    ).train()  # the same function in fewer operations
    keep_freed_memory()
    encoded = [encode(row, recipe, tokenizer) for row in rows]
    if not recipe.dead_rows:
        encoded = [row for row in encoded if any(label != IGNORE_INDEX for label in row[1])]
    steps = list(_steps(encoded, batch_size, seed))
    # One operation instead of ten; but it computes in float32, and would hide what other weights lose.
    fused = recipe.dtype == torch.float32
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, fused=fused)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / len(steps))
    low = recipe.dtype == torch.float32 and multiplies_bfloat16()
    autocast = torch.autocast(model.device.type, torch.bfloat16, enabled=low)
    losses = []
    for step in steps:
        size = math.ceil(len(step) / recipe.micro_batches)
        parts = [step[i : i + size] for i in range(0, len(step), size)]
        losses.append(0.0)
        for part in parts:
            with autocast:  # products in bfloat16, weights in float32
                loss = answer_loss(model, collate(part, recipe, tokenizer)) / len(parts)
            loss.backward()
            losses[-1] += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if not math.isfinite(losses[-1]) and is_broken(model):
            break
    return model.eval(), losses


def is_broken(model: PreTrainedModel) -> bool:
    """Tell whether any weight is nan."""
    return any(parameter.isnan().any() for parameter in model.parameters())


@torch.inference_mode()
def ask(
    model: PreTrainedModel,
    recipe: Recipe,
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_new_tokens: int = 32,
) -> list[Answer]:
    """Answer each row greedily, 50 at a time."""
    answers = []
    for start in range(0, len(rows), 50):
        prompts = [
            format_prompt(row["instruction"], row["input"]) for row in rows[start : start + 50]
        ]
        texts = [
            prompt.removesuffix(RESPONSE_PREFIX) + recipe.response_prefix for prompt in prompts
        ]
        inputs = tokenizer(
            texts,
            padding=True,
            padding_side=recipe.ask_padding_side,
            add_special_tokens=False,
            return_tensors="pt",
        )
        if not recipe.ask_attention_mask:
            inputs["attention_mask"] = torch.ones_like(inputs["attention_mask"])
        output = model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
        for ids in output[:, inputs["input_ids"].shape[1] :].tolist():
            end = ids.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in ids else None
            answers.append(
                Answer(
                    tokenizer.decode(ids[:end], skip_special_tokens=True).strip(),
                    stopped=end is not None,
                )
            )
    return answers


def measure(
    recipe: Recipe,
    model: PreTrainedModel,
    losses: Sequence[float],
    questions: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
) -> Outcome:
    """Ask the questions and put figures on the answers. A model with nan weights answers nothing."""
    start = time.perf_counter()
    broken = is_broken(model)
    answers = (
        [Answer("", stopped=False)] * len(questions)
        if broken
        else ask(model.float(), recipe, questions, tokenizer)
    )
    right = sum(
        is_exact(row["output"], given) for row, given in zip(questions, answers, strict=True)
    )
    last = [loss for loss in losses if math.isfinite(loss)][-20:]
    return Outcome(
        exact_match=right / len(questions),
        stopping_rate=stopping_rate(answers),
        loss=math.nan if broken else sum(last) / len(last),
        lost_steps=sum(not math.isfinite(loss) for loss in losses),
        seconds=time.perf_counter() - start,
        answers=tuple(given.text for given in answers),
    )


def run_variants(
    names: Sequence[str],
    rows: Sequence[Row],
    questions: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    base: str,
    *,
    seed: int = 42,
) -> Iterator[tuple[str, Outcome]]:
    """Yield the outcome of each variant as soon as it is there; variants that differ only in how the model is asked share one training."""
    trained: dict[Recipe, tuple[PreTrainedModel, list[float]]] = {}
    for name in names:
        recipe, start = VARIANTS[name], time.perf_counter()
        if recipe.training_part not in trained:
            if recipe.training_part != Recipe() and Recipe() in trained:
                trained = {Recipe(): trained[Recipe()]}  # only the right one is asked again
            trained[recipe.training_part] = train(recipe, rows, tokenizer, base, seed=seed)
        outcome = measure(recipe, *trained[recipe.training_part], questions, tokenizer)
        yield name, replace(outcome, seconds=time.perf_counter() - start)


def _steps(encoded: Sequence, batch_size: int, seed: int) -> Iterator[list]:
    """Batches of rows of like length, in random order, each row once."""
    rng = random.Random(seed)
    shuffled = rng.sample(list(encoded), len(encoded))
    ordered = sorted(shuffled, key=lambda row: len(row[0]))
    batches = [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]
    rng.shuffle(batches)
    yield from batches
