"""References, hidden cases and misconceptions of assignment 05. Not for students."""

import struct

from tutorial_lib.exercises.task import Case, Task

# --- bloom_parameters ----------------------------------------------------------------------------


def bloom_parameters(vocabulary, hidden, layers):
    per_layer = (
        12 * hidden * hidden + 13 * hidden
    )  # attention 4h² + 4h, feed-forward 8h² + 5h, two layer norms 4h
    return vocabulary * hidden + layers * per_layer + 4 * hidden


def draw_sizes(rng):
    def sizes():
        return rng.choice([1_000, 4_096, 46_145]), rng.choice([64, 256, 1_536]), rng.randint(2, 24)

    return [
        Case("the sum", sizes(), "some model"),
        Case("the sum", (46_145, 1_536, 24), "the article's shape"),
        Case("the sum", (rng.randint(50, 99), 8, 3), "a very small model"),
        Case("outside the layers", (rng.randint(100, 999), 16, 0), "no layers at all"),
        Case("outside the layers", (0, 32, rng.randint(1, 4)), "an empty vocabulary"),
    ]


# --- training_dtypes (debug) ---------------------------------------------------------------------


def training_dtypes(saved, has_bfloat16):
    return {"weights": "float32", "autocast": "bfloat16" if has_bfloat16 else None}


def draw_dtypes(rng):
    return [
        Case("weights", ("float16", True), "a checkpoint saved in float16"),
        Case("weights", ("bfloat16", rng.random() < 0.5), "a checkpoint saved in bfloat16"),
        Case("weights", ("float32", False), "a checkpoint saved in float32"),
        Case("autocast", ("float32", True), "hardware that has bfloat16"),
        Case("autocast", ("float16", False), "hardware without bfloat16"),
    ]


# --- lost_steps (measure) ------------------------------------------------------------------------


def to_bfloat16(value):
    """Round to the nearest number of bfloat16: the upper half of a float32, ties to even."""
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    bits += 0x7FFF + ((bits >> 16) & 1)
    return struct.unpack("<f", struct.pack("<I", bits & 0xFFFF0000))[0]


def lost_steps(weights, step):
    kept = [to_bfloat16(weight) for weight in weights]
    return sum(to_bfloat16(weight - to_bfloat16(step)) == weight for weight in kept) / len(kept)


def in_float32(weights, step):
    def single(value):
        return struct.unpack("<f", struct.pack("<f", value))[0]

    return sum(single(single(weight) - single(step)) == single(weight) for weight in weights) / len(
        weights
    )


def in_float16(weights, step):
    def half(value):
        return struct.unpack("<e", struct.pack("<e", value))[0]

    return sum(half(half(weight) - half(step)) == half(weight) for weight in weights) / len(weights)


def draw_steps(rng):
    # Powers of two; steps of an eighth of the distance to the next number, or of four distances:
    # no rounding is near a tie.
    def weights(size):
        return [rng.choice([-1, 1]) * 2.0 ** -rng.randint(1, 9) for _ in range(size)]

    return [
        Case("small steps", (weights(20), 2.0**-15), "weights of many sizes"),
        Case("small steps", ([0.5, 0.25, 0.125], 2.0**-14), "large weights"),
        Case("small steps", ([0.5, -0.5], 2.0**-12), "weights of both signs"),
        Case("large steps", ([0.5, 2.0**-9, 2.0**-8], 2.0**-6), "a step larger than some weights"),
        Case("large steps", (weights(9), 0.0), "a step of 0"),
    ]


TASKS = [
    Task(
        "bloom_parameters",
        {"the sum": 3, "outside the layers": 1},
        bloom_parameters,
        [
            Case("the sum", (10, 4, 1), "a vocabulary of 10, hidden size 4, one layer"),
            Case("outside the layers", (10, 4, 0), "no layers: embedding and two norms"),
        ],
        draw_sizes,
        {
            "the output head is counted again: it shares the embedding's weights": lambda v, h, n: (
                bloom_parameters(v, h, n) + v * h
            ),
            "biases are missing": lambda v, h, n: v * h + n * (12 * h * h + 4 * h) + 4 * h,
            "layer norms are missing": lambda v, h, n: v * h + n * (12 * h * h + 9 * h),
            (
                "the feed-forward part has two matrices, not one: up to 4 × hidden and down again"
            ): lambda v, h, n: bloom_parameters(v, h, n) - n * 4 * h * h,
        },
    ),
    Task(
        "training_dtypes",
        {"weights": 2, "autocast": 1},
        training_dtypes,
        [
            Case("weights", ("float16", False), "a checkpoint saved in float16"),
            Case("autocast", ("float32", True), "hardware that has bfloat16"),
        ],
        draw_dtypes,
        {
            (
                "the checkpoint's own dtype is trained: float16 weights become nan"
            ): lambda saved, has: {"weights": saved, "autocast": "bfloat16" if has else None},
            "weights are trained in bfloat16: small steps are rounded away": lambda saved, has: {
                "weights": "bfloat16" if has else "float32",
                "autocast": None,
            },
            "autocast is asked for where the hardware has no bfloat16": lambda saved, has: {
                "weights": "float32",
                "autocast": "bfloat16",
            },
            "autocast in the checkpoint's dtype: it depends on the hardware": lambda saved, has: {
                "weights": "float32",
                "autocast": saved if saved != "float32" else None,
            },
        },
    ),
    Task(
        "lost_steps",
        {"small steps": 2, "large steps": 1},
        lost_steps,
        [
            Case("small steps", ([0.5, 2.0**-9], 2.0**-14), "a large weight and a small one"),
            Case("large steps", ([0.5], 2.0**-2), "half of the weight"),
        ],
        draw_steps,
        {
            "measured in float32: put the weights into bfloat16 first": in_float32,
            "measured in float16, which has more digits than bfloat16": in_float16,
            "the share of the steps that are *not* lost": lambda weights, step: (
                1 - lost_steps(weights, step)
            ),
        },
    ),
]
