"""The three pre-training objectives as batches: masked, causal, and sequence to sequence; and GLM's blank infilling, which joins them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tutorial_lib.formatting import IGNORE_INDEX

MASK_PROBABILITY = 0.15  # BERT's
REPLACED, RANDOM = 0.8, 0.1  # of the chosen tokens; the rest stay as they are


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
        allowed: bool, same shape: tokens that may be chosen (not padding, not special tokens).
        mask_id: stands in for 80 % of the chosen tokens; 10 % become a random token, 10 % stay.
        vocabulary_size: random tokens are drawn from 0 to this.
        generator: of every choice.

    Returns:
        What the model reads and its labels, both int64 of the same shape; labels are -100 where nothing is to be predicted.
    """
    shape = input_ids.shape
    chosen = (torch.rand(shape, generator=generator) < MASK_PROBABILITY) & allowed
    fate = torch.rand(shape, generator=generator)
    drawn = torch.randint(vocabulary_size, shape, generator=generator)
    read = torch.where(chosen & (fate < REPLACED), mask_id, input_ids)
    read = torch.where(chosen & (fate >= REPLACED) & (fate < REPLACED + RANDOM), drawn, read)
    return read, torch.where(chosen, input_ids, IGNORE_INDEX)


def corrupt_spans(
    ids: Sequence[int], spans: Sequence[tuple[int, int]], sentinels: Sequence[int], end_id: int
) -> tuple[list[int], list[int]]:
    """Replace spans by sentinels, as T5 does (Raffel et al., arXiv 1910.10683, figure 2).

    Args:
        ids: one row.
        spans: (begin, end) of each span, in order, without overlap, at least one token apart.
        sentinels: ids of at least one more special token than there are spans.
        end_id: ends both sequences.

    Returns:
        What the encoder reads (each span is one sentinel), and the decoder's labels (each sentinel, then its span; a last sentinel).

    Raises:
        ValueError: the spans are out of order, or too many.
    """
    if len(sentinels) <= len(spans):
        raise ValueError(
            f"{len(spans)} spans need {len(spans) + 1} sentinels, found {len(sentinels)}"
        )
    read, labels, place = [], [], 0
    for sentinel, (begin, end) in zip(sentinels, spans, strict=False):
        if not place <= begin < end <= len(ids):
            raise ValueError(
                f"span {(begin, end)} is out of order or outside a row of {len(ids)} tokens"
            )
        read += [*ids[place:begin], sentinel]
        labels += [sentinel, *ids[begin:end]]
        place = end
    return [*read, *ids[place:], end_id], [*labels, sentinels[len(spans)], end_id]


def draw_spans(
    length: int, rng: random.Random, share: float = 0.3, mean_length: int = 3
) -> list[tuple[int, int]]:
    """Draw spans to take out of a row: (begin, end) of each, in order, at least one token apart.

    T5 itself settled on a share of 0.15 and a mean length of 3; the default here is larger because the course's rows are a dozen tokens.

    Args:
        length: tokens of the row, at least 1.
        rng: of every choice.
        share: how much of the row the spans cover (a little less where they find no room).
        mean_length: spans have 1 to ``2 * mean_length - 1`` tokens.

    Returns:
        At least one span of at least one token.
    """
    spans, place = [], 0
    wanted = max(1, round(share * length))
    while wanted > 0 and place < length:
        span = min(wanted, length - place, rng.randint(1, 2 * mean_length - 1))
        begin = rng.randint(place, max(place, length - wanted - (1 if spans else 0)))
        span = min(span, length - begin)
        spans.append((begin, begin + span))
        place, wanted = begin + span + 1, wanted - span
    return spans


@dataclass(frozen=True)
class BlankInfilling:
    """One row for GLM: part A with its blanks, then the blanks' contents; all lists equally long, `attention` square.

    Attributes:
        input_ids: part A, then for each span a start token and its tokens.
        labels: -100 in part A; in part B the next token of the span, at its end the end token.
        positions: where a token stands in the text; in part B, where its blank stands.
        block_positions: 0 in part A; 1, 2, … within a span.
        attention: bool, shape (length, length): row t may look at column s. Part A looks at all of part A; part B at part A and at
            what stands before in part B.
    """

    input_ids: list[int]
    labels: list[int]
    positions: list[int]
    block_positions: list[int]
    attention: torch.Tensor


def infill_blanks(
    ids: Sequence[int],
    spans: Sequence[tuple[int, int]],
    mask_id: int,
    start_id: int,
    end_id: int,
    rng: random.Random | None = None,
) -> BlankInfilling:
    """Make a row for autoregressive blank infilling (Du et al., GLM, arXiv 2103.10360, section 2.1).

    Args:
        ids: one row.
        spans: (begin, end) of each span, in order, without overlap.
        mask_id: stands for each span in part A.
        start_id: begins each span in part B.
        end_id: the label at the end of each span.
        rng: draws the order of the spans in part B, as the paper does; without it they stay in order, which is easier to read.
    """
    part_a, blanks, place = [], [], 0
    for begin, end in spans:
        part_a += [*ids[place:begin], mask_id]
        blanks.append(len(part_a) - 1)
        place = end
    part_a += ids[place:]
    input_ids, labels = list(part_a), [IGNORE_INDEX] * len(part_a)
    positions, block_positions = list(range(len(part_a))), [0] * len(part_a)
    part_b = list(zip(blanks, spans, strict=True))
    if rng is not None:
        rng.shuffle(part_b)
    for blank, (begin, end) in part_b:
        span = list(ids[begin:end])
        input_ids += [start_id, *span]
        labels += [*span, end_id]
        positions += [blank] * (len(span) + 1)
        block_positions += range(1, len(span) + 2)
    return BlankInfilling(
        input_ids, labels, positions, block_positions, prefix_attention(len(part_a), len(input_ids))
    )


def causal_attention(length: int) -> torch.Tensor:
    """Return a bool tensor (length, length): row t may look at columns 0 to t."""
    return torch.ones(length, length, dtype=torch.bool).tril()


def prefix_attention(prefix: int, length: int) -> torch.Tensor:
    """Return a bool tensor (length, length): the first `prefix` columns are seen by every row, the others as in a causal mask."""
    attention = causal_attention(length)
    attention[:, :prefix] = True
    return attention
