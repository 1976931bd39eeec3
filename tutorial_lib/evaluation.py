"""Measure answers: exact match by task and language, and how many answers stop by themselves."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tutorial_lib.formatting import IGNORE_INDEX, EncodedExample
from tutorial_lib.inference import Answer, answer

HAN = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]")
LANGUAGE_NAMES = {"zh": "Chinese", "en": "English"}


@dataclass(frozen=True)
class Score:
    """How many of a group of answers are exactly right."""

    right: int
    total: int

    @property
    def share(self) -> float:
        """The share of right answers, from 0 to 1."""
        return self.right / self.total if self.total else 0.0

    def __str__(self) -> str:
        return f"{self.right}/{self.total} = {self.share:.1%}"


def is_exact(expected: str, answer: Answer) -> bool:
    """Tell whether an answer is exactly the expected one, apart from white space at its ends."""
    return answer.text.strip() == expected.strip()


def exact_match(
    rows: Sequence[Mapping[str, str]],
    answers: Sequence[Answer],
    by: Sequence[str] = ("task", "language"),
) -> dict[tuple[str, ...], Score]:
    """Count exactly right answers, in groups.

    Args:
        rows: instruction rows; ``output`` is the expected answer.
        answers: one per row.
        by: the columns that make a group. A row without a ``language`` is Chinese ("zh") if its
            instruction has a Chinese character, else English ("en"); any other column that is
            missing counts as "all".

    Returns:
        A Score per value of the columns `by`, sorted; ``by=()`` gives one group, ``()``.

    Raises:
        ValueError: there are not as many answers as rows.
    """
    if len(rows) != len(answers):
        raise ValueError(f"{len(rows)} rows but {len(answers)} answers: give one answer per row")
    right: dict[tuple[str, ...], list[bool]] = {}
    for row, each in zip(rows, answers, strict=True):
        group = tuple(_group(row, column) for column in by)
        right.setdefault(group, []).append(is_exact(row["output"], each))
    return {group: Score(sum(right[group]), len(right[group])) for group in sorted(right)}


def stopping_rate(answers: Iterable[Answer]) -> float:
    """Return the share of answers (0 to 1) that the model ended itself; 0 if there are none."""
    stopped = [each.stopped for each in answers]
    return sum(stopped) / len(stopped) if stopped else 0.0


def measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Mapping[str, Sequence[Mapping[str, str]]],
    max_new_tokens: int,
    state: PartialState | None = None,
) -> dict:
    """Answer every question greedily, each process its share; return ``metrics.json``'s figures.

    Args:
        model: a causal language model.
        tokenizer: the model's.
        questions: instruction rows of each split.
        max_new_tokens: the longest answer.
        state: of several processes; None in a notebook.

    Returns:
        ``{"exact_match": {split: {"zh": share, "en": share}}, "stopping_rate": share}``, shares
        from 0 to 1; None for a language without questions.
    """
    state = state or PartialState()
    shares, answers = {}, []
    for split, rows in questions.items():
        with state.split_between_processes(list(rows)) as share:
            mine = answer(share, model, tokenizer, max_new_tokens=max_new_tokens)
        # With fewer rows than processes, some versions of accelerate repeat the last row.
        of_split = gather_object(mine)[: len(rows)]
        scores = exact_match(rows, of_split, by=("language",))
        shares[split] = {
            language: scores[language,].share if (language,) in scores else None
            for language in LANGUAGE_NAMES
        }
        answers += of_split
    return {"exact_match": shares, "stopping_rate": stopping_rate(answers) if answers else None}


def before_after_table(before: Mapping, after: Mapping) -> str:
    """Return the figures of two calls of ``measure`` as text, a line per figure."""
    lines = [f"{'answered exactly':<28}{'before':>12}{'after':>12}"]
    for split, label in [("held_out", "held-out questions"), ("train", "training questions")]:
        for language, name in LANGUAGE_NAMES.items():
            shares = [figures["exact_match"][split][language] for figures in (before, after)]
            lines.append(_line(f"{label}, {name}", shares))
    rates = [figures["stopping_rate"] for figures in (before, after)]
    return "\n".join([*lines, _line("answers that stop", rates)])


@torch.inference_mode()
def token_losses(model: PreTrainedModel, example: EncodedExample) -> list[float]:
    """Return the loss of each token of one example (nats).

    It is nan where the label is -100, and for the first token, which nothing predicts. The mean
    of the others is the model's own loss. The model is in evaluation mode during the call.
    """
    was_training = model.training
    model.eval()
    try:
        ids = torch.tensor([example["input_ids"]], device=model.device)
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, :-1].float()
    finally:
        model.train(was_training)
    labels = torch.tensor(example["labels"][1:], device=model.device)
    losses = cross_entropy(logits, labels, reduction="none", ignore_index=IGNORE_INDEX)
    losses[labels == IGNORE_INDEX] = torch.nan
    return [math.nan, *losses.tolist()]


def _line(label: str, shares: Sequence[float | None]) -> str:
    texts = ["none asked" if share is None else f"{share:.1%}" for share in shares]
    return f"{label:<28}" + "".join(f"{text:>12}" for text in texts)


def _group(row: Mapping[str, str], column: str) -> str:
    if value := row.get(column):
        return value
    if column == "language":
        return "zh" if HAN.search(row["instruction"]) else "en"
    return "all"
