"""Batches of the pre-training objectives: masked, causal, sequence to sequence, blank infilling."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tutorial_lib.formatting import IGNORE_INDEX

MASK_PROBABILITY = 0.15  # BERT's
REPLACED, RANDOM = 0.8, 0.1  # of the chosen tokens; the rest stay as they are
Spans = Sequence[tuple[int, int]]  # (begin, end) of each span, in order, without overlap


def mask_tokens(
    input_ids: torch.Tensor,
    allowed: torch.Tensor,
    mask_id: int,
    vocabulary_size: int,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose tokens to predict, as BERT does (Devlin et al., arXiv 1810.04805, section 3.1).

    Args:
        input_ids: int64, any shape.
        allowed: bool, same shape: tokens that may be chosen (no padding, no special tokens).
        mask_id: replaces 80 % of the chosen tokens; 10 % become a random token, 10 % stay.
        vocabulary_size: random tokens are below it.
        generator: draws every choice.

    Returns:
        Input and labels, int64 of the same shape; a label is -100 where nothing is predicted.
    """
    shape = input_ids.shape
    chosen = (torch.rand(shape, generator=generator) < MASK_PROBABILITY) & allowed
    fate = torch.rand(shape, generator=generator)
    drawn = torch.randint(vocabulary_size, shape, generator=generator)
    masked = torch.where(chosen & (fate < REPLACED), mask_id, input_ids)
    random_too = chosen & (fate >= REPLACED) & (fate < REPLACED + RANDOM)
    return torch.where(random_too, drawn, masked), torch.where(chosen, input_ids, IGNORE_INDEX)


def corrupt_spans(
    ids: Sequence[int], spans: Spans, sentinels: Sequence[int], end_id: int
) -> tuple[list[int], list[int]]:
    """Replace spans by sentinels, as T5 does (Raffel et al., arXiv 1910.10683, figure 2).

    Returns:
        The encoder's input (each span is one sentinel), and the decoder's labels (each sentinel,
        then its span; a last sentinel). `end_id` ends both.

    Raises:
        ValueError: the spans are out of order, or there are not more `sentinels` than spans.
    """
    needed = len(spans) + 1
    if len(sentinels) < needed:
        raise ValueError(f"{len(spans)} spans need {needed} sentinels, found {len(sentinels)}")
    inputs, labels, position = [], [], 0
    for sentinel, (begin, end) in zip(sentinels, spans, strict=False):
        if not position <= begin < end <= len(ids):
            where = f"out of order or outside an example of {len(ids)} tokens"
            raise ValueError(f"span {(begin, end)} is {where}")
        inputs += [*ids[position:begin], sentinel]
        labels += [sentinel, *ids[begin:end]]
        position = end
    return [*inputs, *ids[position:], end_id], [*labels, sentinels[len(spans)], end_id]


def draw_spans(
    length: int, rng: random.Random, share: float = 0.3, mean_length: int = 3
) -> list[tuple[int, int]]:
    """Draw at least one span of an example of `length` >= 1 tokens, at least one token apart.

    Args:
        length: tokens of the example.
        rng: draws every choice.
        share: how much of the example the spans cover (a little less where they find no room).
            T5 settled on 0.15; the course's examples are only a dozen tokens.
        mean_length: spans have 1 to ``2 * mean_length - 1`` tokens.
    """
    spans, position = [], 0
    left = max(1, round(share * length))
    while left > 0 and position < length:
        span = min(left, length - position, rng.randint(1, 2 * mean_length - 1))
        begin = rng.randint(position, max(position, length - left - (1 if spans else 0)))
        span = min(span, length - begin)
        spans.append((begin, begin + span))
        position, left = begin + span + 1, left - span
    return spans


@dataclass(frozen=True)
class BlankInfilling:
    """One example for GLM: part A with its blanks, then their contents; lists of equal length.

    Attributes:
        input_ids: part A, then for each span a start token and its tokens.
        labels: -100 in part A; in part B the next token of the span, at its end the end token.
        positions: of a token in the text; in part B, of its blank.
        block_positions: 0 in part A; 1, 2, … within a span.
        attention: bool, (length, length): row t may look at column s. Part A looks at all of
            part A; part B at part A and at what is before it in part B.
    """

    input_ids: list[int]
    labels: list[int]
    positions: list[int]
    block_positions: list[int]
    attention: torch.Tensor


def infill_blanks(
    ids: Sequence[int],
    spans: Spans,
    mask_id: int,
    start_id: int,
    end_id: int,
    rng: random.Random | None = None,
) -> BlankInfilling:
    """Make an example of blank infilling (Du et al., GLM, arXiv 2103.10360, section 2.1).

    Args:
        ids: one example.
        spans: its blanks.
        mask_id: replaces each span in part A.
        start_id: begins each span in part B.
        end_id: the label at the end of each span.
        rng: draws the order of the spans in part B, as in the paper. Without it they stay in
            order, which is easier to read.
    """
    part_a, part_b, position = [], [], 0
    for begin, end in spans:
        part_a += [*ids[position:begin], mask_id]
        part_b.append((len(part_a) - 1, ids[begin:end]))
        position = end
    part_a += ids[position:]
    if rng is not None:
        rng.shuffle(part_b)
    input_ids, labels = list(part_a), [IGNORE_INDEX] * len(part_a)
    positions, block_positions = list(range(len(part_a))), [0] * len(part_a)
    for blank, span in part_b:
        input_ids += [start_id, *span]
        labels += [*span, end_id]
        positions += [blank] * (len(span) + 1)
        block_positions += range(1, len(span) + 2)
    attention = prefix_attention(len(part_a), len(input_ids))
    return BlankInfilling(input_ids, labels, positions, block_positions, attention)


def causal_attention(length: int) -> torch.Tensor:
    """Return a bool tensor (length, length): row t may look at columns 0 to t."""
    return torch.ones(length, length, dtype=torch.bool).tril()


def prefix_attention(prefix: int, length: int) -> torch.Tensor:
    """Return ``causal_attention`` in which every row may look at the first `prefix` columns too."""
    attention = causal_attention(length)
    attention[:, :prefix] = True
    return attention
