"""References, hidden cases and misconceptions of assignment 07. Not for students."""

from tutorial_lib.exercises.task import Case, Task

IGNORED = -100


# --- collate -------------------------------------------------------------------------------------


def collate(rows, pad_id, side):
    width = max(len(row["input_ids"]) for row in rows)

    def fill(values, filling):
        missing = [filling] * (width - len(values))
        return missing + values if side == "left" else values + missing

    return {
        "input_ids": [fill(row["input_ids"], pad_id) for row in rows],
        "attention_mask": [fill([1] * len(row["input_ids"]), 0) for row in rows],
        "labels": [fill(row["labels"], IGNORED) for row in rows],
    }


def labels_get_the_pad_id(rows, pad_id, side):
    right = collate(rows, pad_id, side)
    labels = [
        [label if seen else pad_id for label, seen in zip(*pair, strict=True)]
        for pair in zip(right["labels"], right["attention_mask"], strict=True)
    ]
    return {**right, "labels": labels}


def mask_by_value(rows, pad_id, side):
    right = collate(rows, pad_id, side)
    return {
        **right,
        "attention_mask": [[int(token != pad_id) for token in row] for row in right["input_ids"]],
    }


def always_left(rows, pad_id, side):
    return collate(rows, pad_id, "left")


def labels_on_the_other_side(rows, pad_id, side):
    return {
        **collate(rows, pad_id, side),
        "labels": collate(rows, pad_id, "right" if side == "left" else "left")["labels"],
    }


def to_a_fixed_length(rows, pad_id, side):
    longer = [*rows, {"input_ids": [0] * 32, "labels": [0] * 32}]
    return {key: values[:-1] for key, values in collate(longer, pad_id, side).items()}


def draw_batches(rng):
    def row(size, prompt):
        ids = [rng.randrange(4, 90) for _ in range(size)]
        return {"input_ids": ids, "labels": [IGNORED] * prompt + ids[prompt:]}

    short, long = row(rng.randint(3, 5), 2), row(rng.randint(8, 12), 4)
    with_pad = {"input_ids": [5, 3, 6], "labels": [IGNORED, 3, 6]}
    return [
        Case("input_ids and mask", ([short, long], 3, "left"), "two rows, padded on the left"),
        Case(
            "input_ids and mask",
            ([short, long, row(1, 0)], 3, "right"),
            "three rows, padded on the right",
        ),
        Case(
            "input_ids and mask",
            ([with_pad, long], 3, "left"),
            "a row in which the padding id occurs as a token",
        ),
        Case("labels", ([row(6, 2), row(2, 1)], 3, "left"), "a long and a short row"),
        Case("labels", ([row(2, 1), row(7, 3)], 0, "right"), "a padding id of 0"),
        Case("one row", ([long], 3, "left"), "a batch of one"),
    ]


# --- padding_share (measure) ---------------------------------------------------------------------


def padding_share(lengths, batch_size):
    batches = [lengths[start : start + batch_size] for start in range(0, len(lengths), batch_size)]
    positions = sum(len(batch) * max(batch) for batch in batches)
    return 1 - sum(lengths) / positions


def against_the_longest_of_all(lengths, batch_size):
    return 1 - sum(lengths) / (len(lengths) * max(lengths))


def mean_of_batches(lengths, batch_size):
    batches = [lengths[start : start + batch_size] for start in range(0, len(lengths), batch_size)]
    return sum(1 - sum(batch) / (len(batch) * max(batch)) for batch in batches) / len(batches)


def drops_the_last(lengths, batch_size):
    whole = len(lengths) // batch_size * batch_size
    return padding_share(lengths[:whole], batch_size) if whole else 0.0


def draw_lengths(rng):
    lengths = [rng.randint(5, 60) for _ in range(22)]
    return [
        Case("random order", (lengths, 4), "22 rows in batches of 4: the last is shorter"),
        Case("random order", ([3, 50, 4, 5, 9, 6], 2), "one long row"),
        Case("sorted by length", (sorted(lengths), 4), "the same rows, sorted"),
        Case("edges", (lengths[:5], 1), "batches of one: nothing to fill"),
        Case("edges", (lengths[:3], 8), "fewer rows than a batch"),
    ]


# --- newest_checkpoint (debug) -------------------------------------------------------------------


def newest_checkpoint(folders):
    whole = {
        name: files
        for name, files in folders.items()
        if name.startswith("checkpoint-") and "trainer_state.json" in files
    }
    return max(whole, key=lambda name: int(name.removeprefix("checkpoint-")), default=None)


def by_name(folders):
    return max(
        (
            name
            for name, files in folders.items()
            if name.startswith("checkpoint-") and "trainer_state.json" in files
        ),
        default=None,
    )


def takes_half_ones(folders):
    return max(
        (name for name in folders if name.startswith("checkpoint-")),
        key=lambda name: int(name.removeprefix("checkpoint-")),
        default=None,
    )


def oldest(folders):
    whole = [
        name
        for name, files in folders.items()
        if name.startswith("checkpoint-") and "trainer_state.json" in files
    ]
    return min(whole, key=lambda name: int(name.removeprefix("checkpoint-")), default=None)


def last_listed(folders):
    return (
        [
            name
            for name, files in folders.items()
            if name.startswith("checkpoint-") and "trainer_state.json" in files
        ]
        or [None]
    )[-1]


def draw_folders(rng):
    whole, half = ["model.safetensors", "optimizer.pt", "trainer_state.json"], ["model.safetensors"]
    low, high = rng.randint(2, 9) * 10, rng.randint(10, 40) * 10
    return [
        Case(
            "the newest",
            ({f"checkpoint-{high}": whole, f"checkpoint-{low}": whole},),
            "steps of two and of three digits",
        ),
        Case(
            "the newest",
            (
                {
                    "checkpoint-50": whole,
                    "checkpoint-150": whole,
                    "checkpoint-100": whole,
                    "runs": [],
                },
            ),
            "three checkpoints and another folder",
        ),
        Case(
            "the newest",
            ({"checkpoint-200": whole, "checkpoint-300": whole, "checkpoint-100": whole},),
            "three checkpoints in no order",
        ),
        Case(
            "cut off",
            ({"checkpoint-100": whole, "checkpoint-200": half},),
            "the newest was cut off while it was written",
        ),
        Case("cut off", ({"checkpoint-100": half},), "nothing but a cut-off one"),
        Case("none", ({},), "no checkpoints"),
        Case("none", ({"logs": ["trainer_state.json"]},), "another folder that has such a file"),
    ]


TASKS = [
    Task(
        "collate",
        {"input_ids and mask": 2, "labels": 2, "one row": 1},
        collate,
        [
            Case(
                "input_ids and mask",
                (
                    [
                        {"input_ids": [11, 12, 13, 2], "labels": [IGNORED, IGNORED, 13, 2]},
                        {"input_ids": [21, 2], "labels": [IGNORED, 2]},
                    ],
                    3,
                    "left",
                ),
                "two rows, padded on the left",
            ),
            Case(
                "labels",
                (
                    [
                        {"input_ids": [11, 2], "labels": [IGNORED, 2]},
                        {"input_ids": [9], "labels": [9]},
                    ],
                    3,
                    "right",
                ),
                "two rows, padded on the right",
            ),
        ],
        draw_batches,
        {
            (
                "padding is labelled with the padding id: the model learns to say it"
            ): labels_get_the_pad_id,
            "the mask is made by value: a token with the padding's id is hidden too": mask_by_value,
            "the side is not looked at": always_left,
            "labels are padded on the other side than the ids": labels_on_the_other_side,
            "padded to a fixed length instead of the longest row of the batch": to_a_fixed_length,
        },
    ),
    Task(
        "padding_share",
        {"random order": 2, "sorted by length": 1, "edges": 1},
        padding_share,
        [Case("random order", ([2, 4, 3, 3], 2), "two batches, one of which has padding")],
        draw_lengths,
        {
            (
                "every batch is filled to the longest row of all; it is as wide as its own longest"
            ): against_the_longest_of_all,
            (
                "a mean of the batches' shares: a narrow batch weighs as much as a wide one"
            ): mean_of_batches,
            "the last, shorter batch is left out": drops_the_last,
        },
    ),
    Task(
        "newest_checkpoint",
        {"the newest": 2, "cut off": 1, "none": 1},
        newest_checkpoint,
        [
            Case(
                "the newest",
                (
                    {
                        "checkpoint-10": ["trainer_state.json"],
                        "checkpoint-9": ["trainer_state.json"],
                    },
                ),
                "steps 9 and 10",
            )
        ],
        draw_folders,
        {
            "compared as texts: checkpoint-90 comes after checkpoint-100": by_name,
            (
                "a checkpoint that was cut off is taken: trainer_state.json is written last"
            ): takes_half_ones,
            "the oldest one, not the newest": oldest,
            "the last one listed: folders come in any order": last_listed,
        },
    ),
]
