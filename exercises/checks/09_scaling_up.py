"""References, hidden cases and misconceptions of assignment 09. Not for students."""

import math

from tutorial_lib.exercises.task import Case, Task

# --- sharded_bytes -------------------------------------------------------------------------------


def sharded_bytes(parameters, world_size, stage):
    part = -(-parameters // world_size)
    weights = part if stage >= 3 else parameters
    gradients = part if stage >= 2 else parameters
    states = 2 * (part if stage >= 1 else parameters)
    return 4 * (weights + gradients + states)


def draw_shards(rng):
    even = 24 * rng.randint(1_000, 9_000)
    return [
        Case("no sharding", (even, 4, 0), "stage 0: every device has everything"),
        Case("no sharding", (even, 1, 3), "a single device"),
        Case("what each stage divides", (even, 8, 1), "stage 1"),
        Case("what each stage divides", (even, 8, 2), "stage 2"),
        Case("what each stage divides", (even, rng.choice((2, 3, 4, 6)), 3), "stage 3"),
        Case(
            "what each stage divides",
            (750_841_344, 2, 1),
            "the article's model, stage 1 on two devices",
        ),
        # On 2 or 4 devices, every way to split a number gives whole bytes, and the same ones.
        Case(
            "uneven parts",
            (4 * rng.randint(100, 900) + 1, 4, 3),
            "one parameter too many for four equal parts",
        ),
        Case(
            "uneven parts",
            (4 * rng.randint(100, 900) + 3, 2, 2),
            "an odd number of parameters on two devices",
        ),
    ]


def states_of(count):
    """As the reference, with another number of states."""
    return lambda n, w, s: sharded_bytes(n, w, s) + 4 * (count - 2) * (-(-n // w) if s >= 1 else n)


def with_parts(part, divided):
    """As the reference, with another part and other first stages that divide.

    `divided`: of (weights, gradients, states).
    """

    def mistaken(n, w, s):
        return 4 * sum(
            times * (part(n, w) if s >= first else n)
            for times, first in zip((1, 1, 2), divided, strict=True)
        )

    return mistaken


def rounded_up(n, w):
    return math.ceil(n / w)


# --- process_losses (debug) ----------------------------------------------------------------------


def process_losses(losses, labels):
    sums = [
        sum(x for x, y in zip(*both, strict=True) if y != -100)
        for both in zip(losses, labels, strict=True)
    ]
    tokens = sum(y != -100 for row in labels for y in row)
    return [len(losses) * total / tokens for total in sums]


def kept(losses, labels):
    return [
        [x for x, y in zip(*both, strict=True) if y != -100]
        for both in zip(losses, labels, strict=True)
    ]


def own_means(losses, labels):
    return [sum(row) / len(row) if row else 0.0 for row in kept(losses, labels)]


def own_means_unguarded(losses, labels):
    return [sum(row) / len(row) for row in kept(losses, labels)]


def no_factor(losses, labels):
    rows = kept(losses, labels)
    return [sum(row) / sum(map(len, rows)) for row in rows]


def all_positions_count(losses, labels):
    return process_losses(losses, [[0] * len(row) for row in losses])


def all_positions_divide(losses, labels):
    return [len(losses) * sum(row) / sum(map(len, losses)) for row in kept(losses, labels)]


def sums_only(losses, labels):
    return [sum(row) for row in kept(losses, labels)]


def nan_for_none(losses, labels):
    right = process_losses(losses, labels)
    return [
        loss if row else math.nan for loss, row in zip(right, kept(losses, labels), strict=True)
    ]


def loss_of_all(losses, labels):
    right = process_losses(losses, labels)
    return [sum(right) / len(right)] * len(right)


def draw_processes(rng):
    def process(supervised, ignored=0):
        labels = [rng.randint(1, 500) for _ in range(supervised)] + [-100] * ignored
        rng.shuffle(labels)
        return [rng.uniform(0.1, 5) for _ in labels], labels

    def case(idea, words, *sizes):
        losses, labels = zip(*(process(*size) for size in sizes), strict=True)
        return Case(idea, (list(losses), list(labels)), words)

    return [
        case("every token weighs the same", "two processes, one with few tokens", (2,), (9,)),
        case("every token weighs the same", "four processes", (3,), (5,), (1,), (7,)),
        case("labels of -100", "labels of -100 in both processes", (4, 3), (2, 6)),
        case("labels of -100", "labels of -100 in one of three processes", (4,), (3, 5), (6,)),
        case("edges", "a single process", (5,)),
        case("edges", "a process without a supervised token", (4, 1), (0, 3)),
        case("edges", "a process without any token", (3,), (0,)),
    ]


# --- lora_parameters -----------------------------------------------------------------------------


def lora_parameters(shapes, rank, targets):
    wanted = set(targets)
    return sum(
        rank * (rows + columns)
        for name, (rows, columns) in shapes.items()
        if name.rpartition(".")[2] in wanted
    )


def bloom_shapes(width, layers):
    matrices = {
        "self_attention.query_key_value": [width, 3 * width],
        "self_attention.dense": [width, width],
        "mlp.dense_h_to_4h": [width, 4 * width],
        "mlp.dense_4h_to_h": [4 * width, width],
    }
    return {
        f"h.{layer}.{name}": list(shape)
        for layer in range(layers)
        for name, shape in matrices.items()
    }


def targeted(size, chosen=lambda name, targets: name.split(".")[-1] in targets):
    """A count of `size(in, out, rank)` for each matrix that is `chosen`."""
    return lambda shapes, rank, targets: sum(
        size(i, o, rank) for name, (i, o) in shapes.items() if chosen(name, targets)
    )


def draw_loras(rng):
    width, layers, rank = 8 * rng.randint(2, 9), rng.randint(2, 4), rng.choice((2, 4, 8))
    shapes = bloom_shapes(width, layers)
    every = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]
    small = {"lm_head": [rng.randint(20, 60), rng.randint(200, 900)], "h.0.dense": [7, 11]}
    return [
        Case("two small matrices", (shapes, rank, every), "all four matrices of every layer"),
        Case(
            "two small matrices",
            (dict(list(shapes.items())[:4]), rank + 1, every),
            "a single layer",
        ),
        Case(
            "two small matrices",
            (bloom_shapes(1_536, 24), 8, every),
            "the size of the article's model",
        ),
        Case("targets", (shapes, rank, ["query_key_value"]), "one target"),
        Case(
            "targets",
            (shapes, rank, ["dense", "query_key_value"]),
            "a target whose name is a part of others' names",
        ),
        Case("targets", (small, rank, ["lm_head"]), "a name without a dot"),
        Case("targets", (small, rank, ["h"]), "a target that no matrix is called"),
    ]


# --- same_step (measure) -------------------------------------------------------------------------


def same_step(rows, per_device, most):
    return [
        [n, rows // (per_device * n)] for n in range(1, most + 1) if rows % (per_device * n) == 0
    ]


def listed(batches, fits=lambda rows, at_a_time: True):
    """[processes, `batches`] of every number of processes that `fits`."""
    return lambda r, b, most: [[n, batches(r, b, n)] for n in range(1, most + 1) if fits(r, b * n)]


def divides(rows, at_a_time):
    return rows % at_a_time == 0


def draw_steps(rng):
    batch = rng.choice((2, 4, 8))
    return [
        Case(
            "whole numbers of batches",
            (32, 4, 16),
            "the article's step, up to more processes than it has batches",
        ),
        Case(
            "whole numbers of batches",
            (32, 4, 8),
            "the article's step, up to a process for each of its batches",
        ),
        Case(
            "whole numbers of batches",
            (batch * 6 * rng.randint(1, 9), batch, 6),
            "a step that three processes can share",
        ),
        Case(
            "whole numbers of batches",
            (batch * rng.choice((5, 7, 11)), batch, 4),
            "a step that one process alone can take",
        ),
        Case(
            "edges",
            (batch * rng.randint(3, 9) + 1, batch, 5),
            "rows that make no whole number of batches: nothing fits",
        ),
        Case("edges", (batch * rng.randint(2, 9), batch, 1), "one process at most"),
    ]


TASKS = [
    Task(
        "sharded_bytes",
        {"no sharding": 1, "what each stage divides": 2, "uneven parts": 1},
        sharded_bytes,
        [
            Case("what each stage divides", (1_000, 4, 1), "stage 1 on four devices"),
            Case("what each stage divides", (1_000, 4, 2), "stage 2 on four devices"),
        ],
        draw_shards,
        {
            (
                "everything is divided from stage 1 on: "
                "gradients are from stage 2, weights from stage 3"
            ): with_parts(rounded_up, (1, 1, 1)),
            "everything is divided always: stage 0 divides nothing": with_parts(
                rounded_up, (0, 0, 0)
            ),
            "gradients are divided before the states: stage 1 divides the states": with_parts(
                rounded_up, (3, 1, 2)
            ),
            "nothing is divided: that is data parallel training, stage 0": lambda n, w, s: 16 * n,
            "one state for each parameter: AdamW has two": states_of(1),
            "the optimizer's states are missing": states_of(0),
            "a part is rounded down: some parameters would belong to nobody": with_parts(
                lambda n, w: n // w, (3, 2, 1)
            ),
            "a number is split between devices: a part holds whole numbers": with_parts(
                lambda n, w: n / w, (3, 2, 1)
            ),
        },
    ),
    Task(
        "process_losses",
        {"every token weighs the same": 2, "labels of -100": 1, "edges": 1},
        process_losses,
        [
            Case(
                "every token weighs the same",
                ([[1.0], [3.0, 3.0, 3.0]], [[5], [6, 7, 8]]),
                "one token here, three there",
            ),
            Case(
                "labels of -100",
                ([[2.0, 9.0], [4.0]], [[5, -100], [6]]),
                "one position that is not supervised",
            ),
        ],
        draw_processes,
        {
            (
                "each process takes its own mean: tokens of a process with few of them weigh more"
            ): own_means,
            (
                "each process takes its own mean, and one without supervised tokens divides by zero"
            ): own_means_unguarded,
            (
                "the number of processes is missing: "
                "the mean of the gradients divides by it once more"
            ): no_factor,
            "positions labelled -100 count: they are not supervised": all_positions_count,
            "divided by all positions: only supervised tokens count": all_positions_divide,
            (
                "sums that are divided by nothing: "
                "the gradient would grow with the number of tokens"
            ): sums_only,
            (
                "a process without supervised tokens gives nan: it adds nothing, its loss is 0"
            ): nan_for_none,
            (
                "every process has the loss of all: a process has the losses of its own tokens only"
            ): loss_of_all,
        },
    ),
    Task(
        "lora_parameters",
        {"two small matrices": 2, "targets": 2},
        lora_parameters,
        [
            Case(
                "two small matrices",
                ({"h.0.dense": [10, 30]}, 2, ["dense"]),
                "one matrix of 10 by 30, rank 2",
            ),
            Case(
                "targets",
                (
                    {"h.0.dense": [10, 10], "h.0.dense_h_to_4h": [10, 40], "h.0.query": [10, 30]},
                    1,
                    ["dense", "query"],
                ),
                "two targets and a matrix that is none",
            ),
        ],
        draw_loras,
        {
            "the frozen matrix is counted too: only the two small ones are trained": targeted(
                lambda i, o, r: i * o + r * (i + o)
            ),
            (
                "rank times the whole matrix: the two small ones have rank * in and rank * out"
            ): targeted(lambda i, o, r: r * i * o),
            "only the first of the two small matrices": targeted(lambda i, o, r: r * i),
            "only the second of the two small matrices": targeted(lambda i, o, r: r * o),
            "targets are left out: every matrix is counted": targeted(
                lambda i, o, r: r * (i + o), lambda name, targets: True
            ),
            "a part of a name is enough: `dense` is not `dense_h_to_4h`": targeted(
                lambda i, o, r: r * (i + o),
                lambda name, targets: any(target in name for target in targets),
            ),
        },
    ),
    Task(
        "same_step",
        {"whole numbers of batches": 2, "edges": 1},
        same_step,
        [
            Case(
                "whole numbers of batches",
                (24, 4, 4),
                "24 rows in batches of 4, on up to four processes",
            ),
            Case(
                "whole numbers of batches",
                (8, 4, 4),
                "8 rows in batches of 4, on up to four processes",
            ),
        ],
        draw_steps,
        {
            "batches are rounded down: the step has fewer rows than before": listed(
                lambda r, b, n: r // (b * n), lambda r, at_a_time: at_a_time <= r
            ),
            "batches are rounded up: the step has more rows than before": listed(
                lambda r, b, n: math.ceil(r / (b * n))
            ),
            "a part of a batch: a process takes whole ones": listed(lambda r, b, n: r / (b * n)),
            "the batches of all processes together: each takes its share": listed(
                lambda r, b, n: r // b, divides
            ),
            "the rows of a process, not its batches": listed(lambda r, b, n: r // n, divides),
            (
                "at least one batch each: with many processes the step has more rows than before"
            ): listed(
                lambda r, b, n: max(1, r // (b * n)),
                lambda r, at_a_time: at_a_time > r or divides(r, at_a_time),
            ),
            "the largest number of processes is left out": lambda r, b, most: same_step(
                r, b, most - 1
            ),
        },
    ),
]
