"""References, hidden cases and misconceptions of assignment 01. Not for students."""

from tutorial_lib.exercises.task import Case, Task

MASK, IGNORED = 99, -100


# --- mask_tokens ---------------------------------------------------------------------------------


def mask_tokens(ids, chosen, draws, random_ids, mask_id):
    read, labels = [], []
    for token, picked, draw, other in zip(ids, chosen, draws, random_ids, strict=True):
        labels.append(token if picked else IGNORED)
        read.append(mask_id if picked and draw < 0.8 else other if picked and draw < 0.9 else token)
    return {"input_ids": read, "labels": labels}


def labels_on_masks_only(ids, chosen, draws, random_ids, mask_id):
    right = mask_tokens(ids, chosen, draws, random_ids, mask_id)
    labels = [
        token if read == mask_id else IGNORED
        for token, read in zip(ids, right["input_ids"], strict=True)
    ]
    return {**right, "labels": labels}


def labels_everywhere(ids, chosen, draws, random_ids, mask_id):
    return {**mask_tokens(ids, chosen, draws, random_ids, mask_id), "labels": list(ids)}


def always_masks(ids, chosen, draws, random_ids, mask_id):
    right = mask_tokens(ids, chosen, draws, random_ids, mask_id)
    return {
        **right,
        "input_ids": [
            mask_id if picked else token for token, picked in zip(ids, chosen, strict=True)
        ],
    }


def swaps_random_and_kept(ids, chosen, draws, random_ids, mask_id):
    swapped = [draw if draw < 0.8 else 0.95 if draw < 0.9 else 0.85 for draw in draws]
    return mask_tokens(ids, chosen, swapped, random_ids, mask_id)


def draw_masks(rng):
    def one(size, idea, words, draws=None, chosen=None):
        ids = [rng.randrange(4, 90) for _ in range(size)]
        return Case(
            idea,
            (
                ids,
                chosen or [rng.random() < 0.6 for _ in ids],
                draws or [rng.random() for _ in ids],
                [rng.choice([i for i in range(4, 90) if i != token]) for token in ids],
                MASK,
            ),
            words,
        )

    spread = [0.1, 0.85, 0.95, 0.5, 0.82, 0.99]
    return [
        one(6, "what is read", "a chosen token of each of the three kinds", spread, [True] * 6),
        one(
            6,
            "what is read",
            "draws that are exactly 0.8 and 0.9",
            [0.8, 0.9, 0.79, 0.89, 0.0, 0.999],
            [True] * 6,
        ),
        one(12, "what is read", "a longer row"),
        one(
            6,
            "labels",
            "a chosen token of each of the three kinds",
            spread,
            [True, True, True, False, False, True],
        ),
        one(12, "labels", "a longer row", spread * 2, [True, False] * 6),
        one(4, "labels", "a row of which nothing is chosen", None, [False] * 4),
        one(0, "labels", "an empty row"),
    ]


# --- next_token_pairs ----------------------------------------------------------------------------


def next_token_pairs(ids):
    return [[ids[:end], ids[end]] for end in range(1, len(ids))]


def draw_pairs(rng):
    row = [rng.randrange(4, 90) for _ in range(rng.randint(4, 8))]
    return [
        Case("what is read", (row,), "a row of several tokens"),
        Case("what is read", ([5, 5, 5, 5],), "a row of equal tokens"),
        Case("ends", (row[:2],), "a row of two tokens"),
        Case("ends", (row[:1],), "a row of one token: nothing follows"),
        Case("ends", ([],), "an empty row"),
    ]


# --- corrupt_spans (debug) -----------------------------------------------------------------------


def corrupt_spans(ids, spans, sentinels, end_id):
    inputs, targets, position = [], [], 0
    for (start, end), sentinel in zip(spans, sentinels, strict=False):
        inputs += [*ids[position:start], sentinel]
        targets += [sentinel, *ids[start:end]]
        position = end
    return {"input_ids": [*inputs, *ids[position:], end_id], "labels": [*targets, end_id]}


def one_sentinel_for_all(ids, spans, sentinels, end_id):
    return corrupt_spans(ids, spans, [sentinels[0]] * len(spans), end_id)


def loses_the_rest(ids, spans, sentinels, end_id):
    right = corrupt_spans(ids, spans, sentinels, end_id)
    last = spans[-1][1] if spans else 0
    kept = right["input_ids"][: len(right["input_ids"]) - 1 - (len(ids) - last)]
    return {**right, "input_ids": [*kept, end_id]}


def a_sentinel_per_token(ids, spans, sentinels, end_id):
    inputs, targets, position = [], [], 0
    for (start, end), sentinel in zip(spans, sentinels, strict=False):
        inputs += [*ids[position:start], *[sentinel] * (end - start)]
        targets += [sentinel, *ids[start:end]]
        position = end
    return {"input_ids": [*inputs, *ids[position:], end_id], "labels": [*targets, end_id]}


def forgets_the_end(ids, spans, sentinels, end_id):
    right = corrupt_spans(ids, spans, sentinels, end_id)
    return {**right, "labels": right["labels"][:-1]}


def draw_spans(rng):
    ids = [rng.randrange(4, 90) for _ in range(12)]
    return [
        Case(
            "what the encoder reads",
            (ids, [[2, 5], [7, 8]], [101, 102, 103], 2),
            "two spans of different length",
        ),
        Case(
            "what the encoder reads", (ids, [[0, 3]], [101, 102, 103], 2), "a span at the beginning"
        ),
        Case(
            "what the decoder says",
            (ids, [[1, 2], [4, 7], [9, 12]], [101, 102, 103], 2),
            "a span at the very end",
        ),
        Case("what the decoder says", (ids, [], [101, 102, 103], 2), "nothing taken out"),
    ]


# --- labelled_share (measure) --------------------------------------------------------------------


def labelled_share(labels, attention_mask):
    supervised = sum(label != IGNORED for row in labels for label in row)
    return supervised / sum(map(sum, attention_mask))


def over_all_places(labels, attention_mask):
    return sum(label != IGNORED for row in labels for label in row) / sum(map(len, labels))


def mean_of_rows(labels, attention_mask):
    shares = [
        sum(label != IGNORED for label in row) / sum(mask)
        for row, mask in zip(labels, attention_mask, strict=True)
    ]
    return sum(shares) / len(shares)


def in_percent(labels, attention_mask):
    return 100 * labelled_share(labels, attention_mask)


def draw_shares(rng):
    def batch(lengths):
        width = max(lengths)
        mask = [[0] * (width - length) + [1] * length for length in lengths]
        labels = [
            [
                7 if seen and (position % 3 or rng.random() < 0.3) else IGNORED
                for position, seen in enumerate(row)
            ]
            for row in mask
        ]
        return labels, mask

    return [
        Case("padding is left out", batch([12, 4, rng.randint(5, 9)]), "a batch with padding"),
        Case("padding is left out", batch([3, 11]), "a short and a long row"),
        Case("one row", batch([6]), "a batch of one"),
    ]


TASKS = [
    Task(
        "mask_tokens",
        {"what is read": 2, "labels": 2},
        mask_tokens,
        [
            Case(
                "what is read",
                (
                    [11, 12, 13, 14],
                    [True, True, True, False],
                    [0.5, 0.85, 0.95, 0.1],
                    [21, 22, 23, 24],
                    MASK,
                ),
                "one token of each kind",
            ),
            Case(
                "labels",
                ([11, 12], [False, True], [0.1, 0.95], [21, 22], MASK),
                "a chosen token that is read as it is",
            ),
        ],
        draw_masks,
        {
            (
                "only tokens read as the mask carry a label; every chosen token must"
            ): labels_on_masks_only,
            "tokens that were not chosen carry a label": labels_everywhere,
            (
                "every chosen token is read as the mask; "
                "one in ten is another token, one in ten stays"
            ): always_masks,
            "the random tenth and the unchanged tenth are swapped": swaps_random_and_kept,
        },
    ),
    Task(
        "next_token_pairs",
        {"what is read": 2, "ends": 1},
        next_token_pairs,
        [Case("what is read", ([7, 8, 9],), "three tokens"), Case("ends", ([7],), "one token")],
        draw_pairs,
        {
            "each token is asked for while it is read: the shift is missing": lambda ids: [
                [ids[: end + 1], ids[end]] for end in range(len(ids))
            ],
            "shifted twice: the token after the next is asked for": lambda ids: [
                [ids[:end], ids[end + 1]] for end in range(1, len(ids) - 1)
            ],
            "only the last token is read, not all before the asked one": lambda ids: [
                [ids[end - 1 : end], ids[end]] for end in range(1, len(ids))
            ],
            "the first token is asked for with nothing before it": lambda ids: [
                [ids[:end], ids[end]] for end in range(len(ids))
            ],
        },
    ),
    Task(
        "corrupt_spans",
        {"what the encoder reads": 2, "what the decoder says": 2},
        corrupt_spans,
        [
            Case(
                "what the encoder reads",
                ([11, 12, 13, 14, 15], [[1, 3]], [101, 102], 2),
                "one span of two tokens in the middle",
            ),
            Case(
                "what the decoder says",
                ([11, 12, 13, 14, 15], [[0, 1], [3, 4]], [101, 102], 2),
                "two spans",
            ),
        ],
        draw_spans,
        {
            (
                "all gaps have the same sentinel: the decoder can't tell them apart"
            ): one_sentinel_for_all,
            "what follows the last gap is lost": loses_the_rest,
            (
                "a sentinel for each missing token: a gap has one, however long it is"
            ): a_sentinel_per_token,
            "the decoder is never asked for the end": forgets_the_end,
        },
    ),
    Task(
        "labelled_share",
        {"padding is left out": 2, "one row": 1},
        labelled_share,
        [
            Case(
                "padding is left out",
                (
                    [[IGNORED, IGNORED, 7, 8], [7, IGNORED, 9, IGNORED]],
                    [[0, 0, 1, 1], [1, 1, 1, 1]],
                ),
                "two rows, one padded",
            )
        ],
        draw_shares,
        {
            "padding counts as text: divide by the tokens that are there": over_all_places,
            "a mean of the rows' shares: a short row weighs as much as a long one": mean_of_rows,
            "a percentage where a share from 0 to 1 is asked for": in_percent,
        },
    ),
]
