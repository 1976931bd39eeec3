"""Measure answers: exact match by task and language, and how many answers stop by themselves."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from tutorial_lib.formatting import IGNORE_INDEX, EncodedExample
from tutorial_lib.inference import Answer

HAN = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]")


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
    """Tell whether an answer says exactly what was expected; only white space at its ends is forgiven."""
    return answer.text.strip() == expected.strip()


def exact_match(
    rows: Sequence[Mapping[str, str]],
    answers: Sequence[Answer],
    by: Sequence[str] = ("task", "language"),
) -> dict[tuple[str, ...], Score]:
    """Count exactly right answers, in groups.

    Args:
        rows: instruction rows; ``output`` is the expected answer.
        answers: one a row.
        by: the columns that make a group. A row without a ``language`` is Chinese ("zh") if its instruction has a Chinese character, else
            English ("en"); any other column that is missing counts as "all".

    Returns:
        One Score for each value of the columns `by` that occurs, sorted by these values; ``by=()`` gives one group, ``()``.

    Raises:
        ValueError: there are not as many answers as rows.
    """
    if len(rows) != len(answers):
        raise ValueError(f"{len(rows)} rows but {len(answers)} answers: give one answer a row")
    counts: dict[tuple[str, ...], list[int]] = {}
    for row, given in zip(rows, answers, strict=True):
        count = counts.setdefault(tuple(_group(row, column) for column in by), [0, 0])
        count[0] += is_exact(row["output"], given)
        count[1] += 1
    return {group: Score(*counts[group]) for group in sorted(counts)}


def stopping_rate(answers: Iterable[Answer]) -> float:
    """Return the share of answers that ended with the end-of-sequence token within the limit, from 0 to 1 (0 if there are none)."""
    stopped = [given.stopped for given in answers]
    return sum(stopped) / len(stopped) if stopped else 0.0


@torch.inference_mode()
def token_losses(model: PreTrainedModel, example: EncodedExample) -> list[float]:
    """Return the loss of each token of one row (nats), nan where its label is -100 and for the first token, which nothing predicts.

    The mean of those that are numbers is the model's own loss for this row. The model is put in evaluation mode for the time of the call.
    """
    was_training = model.training
    model.eval()
    try:
        ids = torch.tensor([example["input_ids"]], device=model.device)
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, :-1].float()
    finally:
        model.train(was_training)
    labels = torch.tensor(example["labels"][1:], device=model.device)
    each = cross_entropy(logits, labels, reduction="none", ignore_index=IGNORE_INDEX)
    each[labels == IGNORE_INDEX] = torch.nan
    return [math.nan, *each.tolist()]


def _group(row: Mapping[str, str], column: str) -> str:
    if value := row.get(column):
        return value
    if column == "language":
        return "zh" if HAN.search(row["instruction"]) else "en"
    return "all"
