"""References, hidden cases and misconceptions of assignment 04. Not for students."""

import math

from tutorial_lib.exercises.task import Case, Task

IGNORED = -100


# --- mask_prompt ---------------------------------------------------------------------------------


def mask_prompt(input_ids, prompt_length):
    kept = min(prompt_length, len(input_ids))
    return [IGNORED] * kept + list(input_ids[kept:])


def draw_masked(rng):
    def ids(size):
        return [rng.randrange(4, 90) for _ in range(size)]

    return [
        Case("the prompt", (ids(9), 4), "a prompt and an answer"),
        Case("the prompt", ([7, 7, 7, 7, 7], 2), "a prompt whose tokens occur in the answer too"),
        Case("the answer", (ids(5), 0), "no prompt"),
        Case("the answer", (ids(8), 7), "an answer of one token"),
        Case("length", (ids(6), 6), "nothing but prompt"),
        Case("length", (ids(4), 9), "a prompt that was cut itself"),
    ]


# --- causal_loss ---------------------------------------------------------------------------------


def causal_loss(log_probabilities, labels):
    losses = [
        -row[label]
        for row, label in zip(log_probabilities[:-1], labels[1:], strict=True)
        if label != IGNORED
    ]
    return sum(losses) / len(losses) if losses else math.nan


def no_shift(log_probabilities, labels):
    losses = [
        -row[label]
        for row, label in zip(log_probabilities, labels, strict=True)
        if label != IGNORED
    ]
    return sum(losses) / len(losses) if losses else math.nan


def shifts_twice(log_probabilities, labels):
    losses = [
        -row[label]
        for row, label in zip(log_probabilities[:-2], labels[2:], strict=True)
        if label != IGNORED
    ]
    return sum(losses) / len(losses) if losses else math.nan


def divides_by_everything(log_probabilities, labels):
    losses = [
        -row[label]
        for row, label in zip(log_probabilities[:-1], labels[1:], strict=True)
        if label != IGNORED
    ]
    return sum(losses) / (len(labels) - 1) if len(labels) > 1 else math.nan


def a_sum(log_probabilities, labels):
    losses = [
        -row[label]
        for row, label in zip(log_probabilities[:-1], labels[1:], strict=True)
        if label != IGNORED
    ]
    return sum(losses) if losses else math.nan


def zero_for_nothing(log_probabilities, labels):
    loss = causal_loss(log_probabilities, labels)
    return 0.0 if math.isnan(loss) else loss


def draw_losses(rng):
    def scores(size):
        rows = [[rng.uniform(0.05, 1) for _ in range(6)] for _ in range(size)]
        return [[math.log(p / sum(row)) for p in row] for row in rows]

    return [
        Case(
            "the shift",
            (scores(6), [IGNORED, IGNORED, 1, 2, 3, 4]),
            "a masked prompt and an answer",
        ),
        Case("the shift", (scores(4), [0, 1, 2, 3]), "nothing masked"),
        Case("the shift", (scores(5), [IGNORED, 5, 5, 5, 0]), "the first token masked"),
        Case(
            "the mean",
            (scores(8), [IGNORED, 2, IGNORED, 4, IGNORED, IGNORED, 1, IGNORED]),
            "gaps in the labels",
        ),
        Case("the mean", (scores(5), [IGNORED] * 4 + [3]), "a single label"),
        Case("nothing to learn", (scores(4), [IGNORED] * 4), "a row without any label"),
    ]


# --- mask_padding (debug) ------------------------------------------------------------------------


def mask_padding(input_ids, attention_mask, pad_id):
    return [
        token if seen else IGNORED for token, seen in zip(input_ids, attention_mask, strict=True)
    ]


def draw_padding(rng):
    ids = [rng.randrange(4, 90) for _ in range(4)]
    return [
        Case("padding", ([3, 3, 3, *ids], [0, 0, 0, 1, 1, 1, 1], 3), "padding on the left"),
        Case("padding", ([*ids, 3, 3], [1, 1, 1, 1, 0, 0], 3), "padding on the right"),
        Case(
            "padding", ([8, 8, *ids], [0, 0, 1, 1, 1, 1], 3), "padding with another id than usual"
        ),
        Case(
            "the end token",
            ([2, 2, *ids, 2], [0, 0, 1, 1, 1, 1, 1], 2),
            "padding with the end token",
        ),
        Case(
            "the end token",
            ([*ids, 2, 2, 2], [1, 1, 1, 1, 1, 0, 0], 2),
            "padding with the end token, on the right",
        ),
    ]


# --- supervised_share (measure) ------------------------------------------------------------------


def supervised_share(labels):
    return sum(label != IGNORED for row in labels for label in row[1:]) / sum(
        len(row) - 1 for row in labels
    )


def draw_supervised(rng):
    def row(prompt, answer):
        return [IGNORED] * prompt + [rng.randrange(4, 90) for _ in range(answer)]

    return [
        Case("several rows", ([row(9, 3), row(2, 14), row(5, 5)],), "rows of different length"),
        Case("several rows", ([row(4, 1), row(20, 2)],), "long prompts with short answers"),
        Case(
            "no mask",
            ([row(0, 6), row(0, 3)],),
            "rows without a mask: what is first has nothing before it",
        ),
        Case("no mask", ([row(3, 4)],), "a batch of one"),
    ]


TASKS = [
    Task(
        "mask_prompt",
        {"the prompt": 1, "the answer": 1, "length": 1},
        mask_prompt,
        [
            Case("the prompt", ([11, 12, 13, 21, 22, 2], 3), "a prompt of three tokens"),
            Case("length", ([11, 12], 5), "a prompt longer than the row"),
        ],
        draw_masked,
        {
            "labels of the prompt are the ids, not -100": lambda ids, n: list(ids),
            "the labels are moved by one: the model does that itself": lambda ids, n: (
                [*mask_prompt(ids, n), IGNORED][1:] if ids else []
            ),
            "the last token of the prompt carries a label: one too few is masked": lambda ids, n: (
                mask_prompt(ids, n - 1) if n else list(ids)
            ),
            "the first token of the answer is masked: one too many": lambda ids, n: mask_prompt(
                ids, n + 1
            ),
            "the prompt is taken out: labels must be as long as the ids": lambda ids, n: list(
                ids[n:]
            ),
        },
    ),
    Task(
        "causal_loss",
        {"the shift": 2, "the mean": 2, "nothing to learn": 1},
        causal_loss,
        [
            Case(
                "the shift",
                (
                    [
                        [math.log(0.5), math.log(0.5)],
                        [math.log(0.25), math.log(0.75)],
                        [math.log(0.9), math.log(0.1)],
                    ],
                    [IGNORED, 1, 0],
                ),
                "three positions, the first label masked",
            ),
            Case(
                "nothing to learn",
                ([[0.0], [0.0]], [IGNORED, IGNORED]),
                "no label: the mean of nothing is nan",
            ),
        ],
        draw_losses,
        {
            "no shift: the output at t belongs to the label at t + 1": no_shift,
            "shifted twice": shifts_twice,
            "divided by all positions: -100 takes no part in the mean": divides_by_everything,
            "a sum where a mean is asked for": a_sum,
            (
                "a loss of 0 where there is nothing to learn: it looks perfect and is nothing"
            ): zero_for_nothing,
        },
        tolerance=1e-5,
    ),
    Task(
        "mask_padding",
        {"padding": 1, "the end token": 2},
        mask_padding,
        [
            Case("padding", ([3, 3, 11, 12], [0, 0, 1, 1], 3), "padding on the left"),
            Case("the end token", ([2, 11, 2], [0, 1, 1], 2), "the padding token is the end token"),
        ],
        draw_padding,
        {
            (
                "masked by value: where the padding token is the end token, the true end is lost"
            ): lambda ids, mask, pad: [IGNORED if token == pad else token for token in ids],
            "padding carries a label": lambda ids, mask, pad: list(ids),
            "padding is labelled with its own id, not -100": lambda ids, mask, pad: [
                token if seen else pad for token, seen in zip(ids, mask, strict=True)
            ],
            (
                "the mask is read the wrong way round: 1 is a token, 0 is padding"
            ): lambda ids, mask, pad: [
                IGNORED if seen else token for token, seen in zip(ids, mask, strict=True)
            ],
        },
    ),
    Task(
        "supervised_share",
        {"several rows": 2, "no mask": 1},
        supervised_share,
        [
            Case(
                "several rows",
                ([[IGNORED, IGNORED, 7, 2], [IGNORED, 5, 6, 2]],),
                "two rows of four tokens",
            )
        ],
        draw_supervised,
        {
            "the first position counts too: it is never predicted": lambda labels: (
                sum(x != IGNORED for row in labels for x in row) / sum(map(len, labels))
            ),
            "a mean of the rows' shares: a short row weighs as much as a long one": lambda labels: (
                sum(sum(x != IGNORED for x in row[1:]) / (len(row) - 1) for row in labels)
                / len(labels)
            ),
            "the share of what is masked": lambda labels: 1 - supervised_share(labels),
        },
    ),
]
