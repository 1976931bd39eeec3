"""What breaks if…: every choice of a short fine-tuning as a switch, and what each mistake costs.

The training itself stands in notebook 10, as plain PyTorch: several of the mistakes can't be made
with ``Trainer`` any more.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tutorial_lib.evaluation import is_exact, stopping_rate
from tutorial_lib.fast import keep_freed_memory
from tutorial_lib.formatting import MAX_LENGTH, RESPONSE_PREFIX, format_prompt
from tutorial_lib.inference import Answer

CLEAR_HARM, SMALL_HARM = 0.10, 0.03  # loss of exact match or of the stopping rate, as shares
Row = Mapping[str, str]


@dataclass(frozen=True)
class Choices:
    """Everything that can be done wrong; the defaults are right.

    Attributes:
        mask_prompt: whether the prompt's labels are -100.
        end_token: whether the end-of-sequence token follows the answer in training.
        max_length: tokens at which an example is cut.
        padding: ``"ignored"`` labels padding -100; ``"learnt"`` leaves the padding id as its
            label; ``"end token"`` pads with the end-of-sequence token and then masks by value,
            so that the true end is masked too.
        dead_rows: train on rows whose prompt fills ``max_length``.
        micro_batches: parts of a step, each averaged by itself if there are several.
        learning_rate: of AdamW, decayed linearly to 0.
        dtype: of the weights.
        response_prefix: what the prompt ends with in a question; training uses the article's.
        ask_padding_side: the side on which the prompts of questions are padded.
        ask_attention_mask: whether questions come with a mask of their padding.
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
        """What differs from the right choices, e.g. ``"mask_prompt=False"``."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        right = Choices()
        return ", ".join(f"{n}={v!r}" for n, v in values.items() if v != getattr(right, n))

    @property
    def training_part(self) -> "Choices":
        """The same training with the right questions: equal parts share one trained model."""
        right = Choices()
        return replace(
            self,
            response_prefix=right.response_prefix,
            ask_padding_side=right.ask_padding_side,
            ask_attention_mask=right.ask_attention_mask,
        )


VARIANTS: Mapping[str, Choices] = {
    "nothing changed": Choices(),
    "no label mask": Choices(mask_prompt=False),
    "no end token": Choices(end_token=False),
    "end token cut off": Choices(max_length=26),
    "padding is learnt": Choices(padding="learnt"),
    "padding is the end token": Choices(padding="end token"),
    "rows without a label": Choices(dead_rows=True),
    "mean of means": Choices(micro_batches=4),
    "learning rate × 100": Choices(learning_rate=8e-2),
    "learning rate ÷ 100": Choices(learning_rate=8e-6),
    "float32, small learning rate": Choices(learning_rate=2e-4),
    "bfloat16, small learning rate": Choices(learning_rate=2e-4, dtype=torch.bfloat16),
    "float16 weights": Choices(dtype=torch.float16),
    "asked one space short": Choices(response_prefix=RESPONSE_PREFIX.rstrip(" ")),
    "asked with right padding": Choices(ask_padding_side="right"),
    "asked without a mask": Choices(ask_attention_mask=False),
}

# choices, rows -> the trained model and the loss of each step
Train = Callable[[Choices, Sequence[Row]], tuple[PreTrainedModel, list[float]]]


@dataclass(frozen=True)
class Outcome:
    """What became of a variant.

    Attributes:
        exact_match: share of the questions answered exactly, from 0 to 1.
        stopping_rate: share of the answers that ended by themselves, from 0 to 1.
        loss: mean of the last 20 finite steps (nats per supervised token); nan if weights are nan.
        lost_steps: steps whose loss was not finite.
        answers: one per question.
    """

    exact_match: float
    stopping_rate: float
    loss: float
    lost_steps: int
    answers: tuple[str, ...]

    def harm(self, right: "Outcome") -> str:
        """Say how much worse than `right` this is: ``clear``, ``small`` or ``none measured``."""
        lost = max(right.exact_match - self.exact_match, right.stopping_rate - self.stopping_rate)
        if not math.isfinite(self.loss) or lost > CLEAR_HARM:
            return "clear"
        return "small" if lost > SMALL_HARM else "none measured"


def batches_of_similar_length(examples: Sequence, batch_size: int, seed: int) -> list[list]:
    """Return each example (ids, labels) once, in batches of similar length, in random order."""
    rng = random.Random(seed)
    shuffled = rng.sample(list(examples), len(examples))
    ordered = sorted(shuffled, key=lambda example: len(example[0]))
    batches = [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]
    rng.shuffle(batches)
    return batches


def is_broken(model: PreTrainedModel) -> bool:
    """Tell whether any weight is nan."""
    return any(parameter.isnan().any() for parameter in model.parameters())


@torch.inference_mode()
def ask(
    model: PreTrainedModel,
    choices: Choices,
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_new_tokens: int = 32,
) -> list[Answer]:
    """Answer each row greedily, 50 per batch."""
    answers = []
    for start in range(0, len(rows), 50):
        chunk = rows[start : start + 50]
        prompts = [format_prompt(row["instruction"], row["input"]) for row in chunk]
        inputs = tokenizer(
            [p.removesuffix(RESPONSE_PREFIX) + choices.response_prefix for p in prompts],
            padding=True,
            padding_side=choices.ask_padding_side,
            add_special_tokens=False,
            return_tensors="pt",
        )
        if not choices.ask_attention_mask:
            inputs["attention_mask"] = torch.ones_like(inputs["attention_mask"])
        output = model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
        for ids in output[:, inputs["input_ids"].shape[1] :].tolist():
            stopped = tokenizer.eos_token_id in ids
            ids = ids[: ids.index(tokenizer.eos_token_id)] if stopped else ids
            text = tokenizer.decode(ids, skip_special_tokens=True).strip()
            answers.append(Answer(text, stopped))
    return answers


def measure(
    choices: Choices,
    model: PreTrainedModel,
    losses: Sequence[float],
    questions: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
) -> Outcome:
    """Ask the questions and count; a model with nan weights answers nothing."""
    broken = is_broken(model)
    if broken:
        answers = [Answer("", stopped=False)] * len(questions)
    else:
        answers = ask(model.float(), choices, questions, tokenizer)
    exact = [is_exact(row["output"], a) for row, a in zip(questions, answers, strict=True)]
    last = [loss for loss in losses if math.isfinite(loss)][-20:]
    return Outcome(
        exact_match=sum(exact) / len(questions),
        stopping_rate=stopping_rate(answers),
        loss=math.nan if broken else sum(last) / len(last),
        lost_steps=sum(not math.isfinite(loss) for loss in losses),
        answers=tuple(answer.text for answer in answers),
    )


def run_variants(
    names: Sequence[str],
    train: Train,
    rows: Sequence[Row],
    questions: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
) -> Iterator[tuple[str, Outcome]]:
    """Yield the outcome of each variant when it is there.

    Variants that differ only in how the model is asked share one call of `train`.
    """
    keep_freed_memory()
    trained: dict[Choices, tuple[PreTrainedModel, list[float]]] = {}
    for name in names:
        choices = VARIANTS[name]
        part = choices.training_part
        if part not in trained:
            # Only the right model is asked again: the others need not be kept.
            trained = {key: value for key, value in trained.items() if key == Choices()}
            trained[part] = train(choices, rows)
        yield name, measure(choices, *trained[part], questions, tokenizer)
