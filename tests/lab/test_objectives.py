import random
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DataCollatorForLanguageModeling, T5Config, T5ForConditionalGeneration

from tutorial_lib.formatting import IGNORE_INDEX
from tutorial_lib.lab.objectives import (
    causal_attention,
    corrupt_spans,
    draw_spans,
    infill_blanks,
    mask_tokens,
    prefix_attention,
)
from tutorial_lib.models import load_tokenizer
from tutorial_lib.profiles import TINYWORLD

MASK, START, END, SENTINELS = 900, 901, 902, list(range(910, 930))


def masked(shape, seed=0, allowed=None):
    ids = torch.randint(10, 800, shape, generator=torch.Generator().manual_seed(99))
    allowed = torch.ones(shape, dtype=torch.bool) if allowed is None else allowed
    return ids, *mask_tokens(ids, allowed, MASK, 800, torch.Generator().manual_seed(seed))


def shares_of(ids, read, labels, mask_id=MASK):
    """Shares: chosen of all tokens, and masked and unchanged of those chosen."""
    chosen = labels != IGNORE_INDEX
    count = chosen.sum().item()
    became_mask = (read == mask_id) & chosen
    stayed = (read == ids) & chosen
    return count / ids.numel(), became_mask.sum().item() / count, stayed.sum().item() / count


def test_masking_has_the_proportions_of_the_paper():
    ids, read, labels = masked((400, 500))
    for share, expected in zip(shares_of(ids, read, labels), (0.15, 0.8, 0.1), strict=True):
        assert share == pytest.approx(expected, abs=0.01)


def test_masking_agrees_with_the_collator_of_transformers():
    tokenizer = load_tokenizer(TINYWORLD)
    tokenizer.add_special_tokens({"mask_token": "[MASK]"})
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15, seed=0)
    ids = torch.randint(10, 4000, (400, 200), generator=torch.Generator().manual_seed(1))
    theirs = collator([{"input_ids": row} for row in ids])
    read, labels = mask_tokens(
        ids,
        torch.ones_like(ids, dtype=torch.bool),
        tokenizer.mask_token_id,
        len(tokenizer),
        torch.Generator().manual_seed(0),
    )
    ours = shares_of(ids, read, labels, tokenizer.mask_token_id)
    reference = shares_of(ids, theirs["input_ids"], theirs["labels"], tokenizer.mask_token_id)
    assert ours == pytest.approx(reference, abs=0.015)


def test_only_chosen_tokens_are_changed_and_labelled_with_what_they_were():
    ids, read, labels = masked((50, 80))
    chosen = labels != IGNORE_INDEX
    assert torch.equal(read[~chosen], ids[~chosen])
    assert torch.equal(labels[chosen], ids[chosen])


def test_tokens_that_are_not_allowed_are_left_alone():
    allowed = torch.zeros(50, 80, dtype=torch.bool)
    ids, read, labels = masked((50, 80), allowed=allowed)
    assert torch.equal(read, ids)
    assert (labels == IGNORE_INDEX).all()


def test_the_same_seed_masks_the_same():
    assert all(torch.equal(a, b) for a, b in zip(masked((9, 9), 5), masked((9, 9), 5), strict=True))
    assert not torch.equal(masked((9, 90), 5)[1], masked((9, 90), 6)[1])


rows_and_spans = st.builds(
    lambda ids, seed: (ids, draw_spans(len(ids), random.Random(seed))),
    st.lists(st.integers(1, 800), min_size=1, max_size=60),
    st.integers(),
)


@given(rows_and_spans)
def test_spans_are_in_order_apart_and_within_the_row(row):
    ids, spans = row
    assert spans
    assert all(0 <= begin < end <= len(ids) for begin, end in spans)
    assert all(first[1] < second[0] for first, second in pairwise(spans))


def test_spans_cover_the_share_that_is_wanted():
    rng = random.Random(0)
    drawn = [draw_spans(200, rng, share=0.15) for _ in range(300)]
    covered = [sum(end - begin for begin, end in spans) for spans in drawn]
    assert max(covered) <= 30
    assert sum(covered) / len(covered) > 0.9 * 30


def test_the_same_seed_draws_the_same_spans():
    assert draw_spans(50, random.Random(3)) == draw_spans(50, random.Random(3))
    assert len({tuple(draw_spans(50, random.Random(seed))) for seed in range(9)}) > 1


def test_every_position_can_be_taken_out():
    taken = {
        position
        for seed in range(300)
        for begin, end in draw_spans(12, random.Random(seed))
        for position in range(begin, end)
    }
    assert taken == set(range(12))


@given(rows_and_spans)
def test_a_corrupted_row_can_be_put_together_again(row):
    ids, spans = row
    read, labels = corrupt_spans(ids, spans, SENTINELS, END)
    assert read[-1] == labels[-1] == END
    contents, current = {}, None
    for token in labels[:-1]:
        if token in SENTINELS:
            current = token
            contents[current] = []
        else:
            contents[current].append(token)
    whole = [
        token
        for piece in read[:-1]
        for token in (contents[piece] if piece in SENTINELS else [piece])
    ]
    assert whole == ids
    assert contents[SENTINELS[len(spans)]] == []


def test_span_corruption_by_hand():
    read, labels = corrupt_spans([1, 2, 3, 4, 5, 6], [(1, 3), (4, 5)], [70, 71, 72], 9)
    assert read == [1, 70, 4, 71, 6, 9]
    assert labels == [70, 2, 3, 71, 5, 72, 9]


@pytest.mark.parametrize("spans", [[(2, 4), (1, 2)], [(0, 9)], [(2, 2)]])
def test_impossible_spans_are_refused(spans):
    with pytest.raises(ValueError, match="span"):
        corrupt_spans([1, 2, 3, 4], spans, [70, 71, 72], 9)


def test_too_few_sentinels_are_refused():
    with pytest.raises(ValueError, match="2 sentinels, found 1"):
        corrupt_spans([1, 2, 3], [(0, 1)], [70], 9)


def test_blank_infilling_by_hand():
    row = infill_blanks(
        [1, 2, 3, 4, 5, 6], [(2, 3), (4, 6)], MASK, START, END
    )  # the example of GLM's figure 2
    assert row.input_ids == [1, 2, MASK, 4, MASK, START, 3, START, 5, 6]
    assert row.labels == [IGNORE_INDEX] * 5 + [3, END, 5, 6, END]
    assert row.positions == [0, 1, 2, 3, 4, 2, 2, 4, 4, 4]
    assert row.block_positions == [0, 0, 0, 0, 0, 1, 2, 1, 2, 3]
    assert row.attention[:5, :5].all()
    assert not row.attention[:5, 5:].any()
    assert torch.equal(row.attention[5:, 5:], causal_attention(5))
    assert row.attention[5:, :5].all()


def test_one_blank_that_is_the_whole_row_is_a_causal_language_model():
    row = infill_blanks([1, 2, 3], [(0, 3)], MASK, START, END)
    assert row.input_ids == [MASK, START, 1, 2, 3]
    assert row.labels[1:] == [1, 2, 3, END]
    assert torch.equal(row.attention[1:, 1:], causal_attention(4))


def test_the_order_of_the_spans_is_drawn_but_not_their_positions():
    orders = set()
    for seed in range(9):
        row = infill_blanks(
            [1, 2, 3, 4, 5, 6], [(2, 3), (4, 6)], MASK, START, END, random.Random(seed)
        )
        assert dict(zip(row.input_ids[5:], row.positions[5:], strict=True)) == {
            START: row.positions[-1],
            3: 2,
            5: 4,
            6: 4,
        }
        orders.add(tuple(row.input_ids[5:]))
    assert orders == {(START, 3, START, 5, 6), (START, 5, 6, START, 3)}


@given(rows_and_spans)
def test_part_b_of_blank_infilling_is_what_a_sequence_to_sequence_decoder_generates(row):
    ids, spans = row
    filled = infill_blanks(ids, spans, MASK, START, END)
    _, generated = corrupt_spans(ids, spans, SENTINELS, END)
    part_b = [label for label in filled.labels if label not in (IGNORE_INDEX, END)]
    assert part_b == [token for token in generated if token not in SENTINELS and token != END]
    lists = (
        filled.input_ids,
        filled.labels,
        filled.positions,
        filled.block_positions,
        filled.attention,
    )
    assert {len(values) for values in lists} == {filled.attention.shape[1]}


def test_a_prefix_is_seen_by_all_and_the_rest_from_behind():
    seen = prefix_attention(2, 4).int().tolist()
    assert seen == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert torch.equal(prefix_attention(0, 5), causal_attention(5))
    assert prefix_attention(5, 5).all()


def test_no_model_can_look_past_the_prefix_mask_of_an_encoder_decoder():
    """T5's decoder depends at a position on what `prefix_attention` shows it, and on no more."""
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(
        T5Config(vocab_size=20, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    ).eval()
    read, generated = torch.arange(1, 5)[None], torch.arange(5, 9)[None]
    seen = prefix_attention(4, 8)
    with torch.inference_mode():
        before = model(input_ids=read, decoder_input_ids=generated).logits[0]
        for column in range(8):
            changed = torch.cat([read, generated], dim=1)
            changed[0, column] = 15
            after = model(input_ids=changed[:, :4], decoder_input_ids=changed[:, 4:]).logits[0]
            differs = (after != before).any(dim=-1)
            assert torch.equal(differs, seen[4:, column]), column
