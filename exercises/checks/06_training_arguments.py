"""References, hidden cases and misconceptions of assignment 06. Not for students."""

import math

from tutorial_lib.exercises.task import Case, Task

# --- optimizer_steps -----------------------------------------------------------------------------


def optimizer_steps(rows, batch_size, accumulation, devices, epochs):
    batches = math.ceil(math.ceil(rows / devices) / batch_size)
    return epochs * math.ceil(batches / accumulation)


def draw_runs(rng):
    return [
        Case("one device", (26_858, 4, 8, 1, 1), "the article's run"),
        Case(
            "one device",
            (rng.randint(1_000, 9_000) * 32, 4, 8, 1, 1),
            "rows that make whole windows",
        ),
        Case("one device", (32 * rng.randint(5, 50) + 1, 4, 8, 1, 1), "one row too many"),
        Case("one device", (3, 4, 8, 1, 1), "fewer rows than a batch"),
        Case("several devices", (26_858, 4, 8, 2, 1), "two devices"),
        Case(
            "several devices",
            (rng.randint(1_000, 9_000), 4, 1, 8, 1),
            "eight devices, no accumulation",
        ),
        Case("several epochs", (65, 4, 8, 1, 3), "a short last window in each of three epochs"),
        Case("several epochs", (rng.randint(100, 900) * 32 + 5, 4, 8, 1, 2), "two epochs"),
    ]


def draw_all_epochs_together(rows, batch_size, accumulation, devices, epochs):
    return math.ceil(math.ceil(math.ceil(rows / devices) / batch_size) * epochs / accumulation)


# --- learning_rate -------------------------------------------------------------------------------


def learning_rate(step, peak, warmup, total):
    if step < warmup:
        return peak * step / warmup
    return peak * max(0, total - step) / max(1, total - warmup)


def draw_rates(rng):
    peak, warmup, total = rng.uniform(1e-5, 1e-3), rng.randint(5, 30), rng.randint(100, 300)
    return [
        Case("warm-up", (0, peak, warmup, total), "the first step"),
        Case("warm-up", (warmup - 2, peak, warmup, total), "a step within the warm-up"),
        Case("decay", (warmup, peak, warmup, total), "the step after the warm-up"),
        Case("decay", ((warmup + total) // 2, peak, warmup, total), "a step in the middle"),
        Case("decay", (total - 1, peak, warmup, total), "the last step"),
        Case("edges", (0, peak, 0, total), "no warm-up"),
        Case("edges", (total + 5, peak, warmup, total), "a step after the end"),
    ]


def jumps_after_the_warmup(step, peak, warmup, total):
    return peak * step / warmup if step < warmup else peak * max(0, total - step) / total


# --- window_loss (debug) -------------------------------------------------------------------------


def window_loss(batches):
    tokens = sum(len(batch) for batch in batches)
    return sum(map(sum, batches)) / tokens if tokens else math.nan


def mean_of_means(batches):
    return sum(sum(batch) / len(batch) for batch in batches if batch) / max(
        1, sum(map(bool, batches))
    )


def draw_windows(rng):
    def batch(size):
        return [rng.uniform(0.1, 5) for _ in range(size)]

    return [
        Case("every token weighs the same", ([batch(2), batch(9)],), "a short and a long batch"),
        Case(
            "every token weighs the same",
            ([batch(3), batch(3), batch(1), batch(7)],),
            "four batches",
        ),
        Case("edges", ([batch(4)],), "a single batch"),
        Case("edges", ([batch(3), []],), "a batch without a supervised token"),
        Case("edges", ([[], []],), "nothing supervised at all: nan"),
    ]


# --- training_memory (measure) -------------------------------------------------------------------


def training_memory(parameters, states):
    return parameters * (4 + 4 + 4 * states) / 2**30


def draw_memory(rng):
    size = rng.randint(1, 9) * 10**8
    return [
        Case("AdamW", (size, 2), "AdamW: two states a parameter"),
        Case("AdamW", (750_841_344, 2), "the article's model"),
        Case("other optimizers", (size, 0), "SGD: no state"),
        Case("other optimizers", (size + 7, 1), "momentum: one state"),
    ]


TASKS = [
    Task(
        "optimizer_steps",
        {"one device": 2, "several devices": 1, "several epochs": 1},
        optimizer_steps,
        [
            Case("one device", (100, 4, 8, 1, 1), "100 rows, batches of 4, 8 of them a step"),
            Case("several devices", (100, 4, 8, 2, 1), "the same on two devices"),
        ],
        draw_runs,
        {
            "the last, shorter window is lost: it makes a step too": lambda r, b, a, d, e: (
                e * (r // (b * a * d))
            ),
            "accumulation is left out: these are batches, not steps": lambda r, b, a, d, e: (
                e * math.ceil(math.ceil(r / d) / b)
            ),
            "devices are left out: each takes a part of the rows": lambda r, b, a, d, e: (
                e * math.ceil(math.ceil(r / b) / a)
            ),
            (
                "the epochs are run together: each has a last window of its own"
            ): draw_all_epochs_together,
        },
    ),
    Task(
        "learning_rate",
        {"warm-up": 1, "decay": 2, "edges": 1},
        learning_rate,
        [
            Case("warm-up", (5, 1e-3, 10, 110), "half of the warm-up"),
            Case("decay", (60, 1e-3, 10, 110), "half of the way down"),
        ],
        draw_rates,
        {
            (
                "the decay is counted from step 0: after the warm-up the rate jumps"
            ): jumps_after_the_warmup,
            "no warm-up: the first steps are taken at full rate": lambda s, p, w, t: (
                p * max(0, t - s) / max(1, t - w) if s >= w else p
            ),
            "the rate stays at its peak: the default falls to zero": lambda s, p, w, t: (
                p * min(1, s / w) if w else p
            ),
            "the warm-up begins at step 1: the first step's rate is 0": lambda s, p, w, t: (
                p * (s + 1) / w if s < w else learning_rate(s, p, w, t)
            ),
        },
        tolerance=1e-9,
    ),
    Task(
        "window_loss",
        {"every token weighs the same": 2, "edges": 1},
        window_loss,
        [
            Case(
                "every token weighs the same",
                ([[1.0], [3.0, 3.0, 3.0]],),
                "one token in the first batch, three in the second",
            )
        ],
        draw_windows,
        {
            "a mean of the batches' means: tokens of a short batch weigh more": mean_of_means,
            "a sum: the rate would grow with the window": lambda batches: sum(map(sum, batches)),
            "divided by the number of batches, not of tokens": lambda batches: (
                sum(map(sum, batches)) / len(batches)
            ),
        },
    ),
    Task(
        "training_memory",
        {"AdamW": 2, "other optimizers": 1},
        training_memory,
        [Case("AdamW", (2**30, 2), "as many parameters as a GiB has bytes")],
        draw_memory,
        {
            "gradients are missing: as large as the weights": lambda n, s: n * (4 + 4 * s) / 2**30,
            "two bytes a number: float32 has four": lambda n, s: n * (2 + 2 + 2 * s) / 2**30,
            "GB (10^9 bytes) where GiB (2^30 bytes) are asked for": lambda n, s: (
                n * (8 + 4 * s) / 1e9
            ),
            "the weights alone: that is what inference takes": lambda n, s: n * 4 / 2**30,
        },
    ),
]
