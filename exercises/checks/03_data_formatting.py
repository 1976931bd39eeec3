"""References, hidden cases and misconceptions of assignment 03. Not for students."""

from tutorial_lib.exercises.task import Case, Task

IGNORED, END = -100, 2
WORDS = ["法国的首都是哪里？", "Reduce this fraction.", "排序", "Naïve café 🧪", "Name a river"]


# --- build_prompt --------------------------------------------------------------------------------


def build_prompt(instruction, input):
    return f"Human: {instruction}\n{input}".strip() + "\n\nAssistant: "


def draw_prompts(rng):
    text = rng.choice(WORDS)
    return [
        Case(
            "with an input",
            (text, f"{rng.randint(2, 9)}/{rng.randint(11, 19)}"),
            "an instruction and an input",
        ),
        Case("with an input", (text, "3, 1, 2\n4"), "an input of two lines"),
        Case("without an input", (text, ""), "an empty input"),
        Case(
            "without an input",
            (rng.choice(WORDS) + "\n", ""),
            "an instruction that ends in a new line",
        ),
        Case("the end", (text, "x "), "an input that ends in a space"),
    ]


# --- encode_row ----------------------------------------------------------------------------------


def encode_row(prompt_ids, response_ids, end_id, max_length):
    response = [*response_ids, end_id] if response_ids[-1:] != [end_id] else list(response_ids)
    room = max(0, max_length - len(prompt_ids))
    if len(response) > room:
        response = [*response[: max(0, room - 1)], end_id][:room]
    ids = (prompt_ids + response)[:max_length]
    return {
        "input_ids": ids,
        "attention_mask": [1] * len(ids),
        "labels": ([IGNORED] * len(prompt_ids) + response)[:max_length],
    }


def cuts_the_end_off(prompt_ids, response_ids, end_id, max_length):
    response = [*response_ids, end_id] if response_ids[-1:] != [end_id] else list(response_ids)
    ids = (prompt_ids + response)[:max_length]
    return {
        "input_ids": ids,
        "attention_mask": [1] * len(ids),
        "labels": ([IGNORED] * len(prompt_ids) + response)[:max_length],
    }


def labels_the_prompt(prompt_ids, response_ids, end_id, max_length):
    right = encode_row(prompt_ids, response_ids, end_id, max_length)
    return {**right, "labels": list(right["input_ids"])}


def never_ends(prompt_ids, response_ids, end_id, max_length):
    ids = (prompt_ids + list(response_ids))[:max_length]
    return {
        "input_ids": ids,
        "attention_mask": [1] * len(ids),
        "labels": ([IGNORED] * len(prompt_ids) + list(response_ids))[:max_length],
    }


def ends_twice(prompt_ids, response_ids, end_id, max_length):
    response = [*response_ids, end_id]
    room = max(0, max_length - len(prompt_ids))
    if len(response) > room:
        response = [*response[: max(0, room - 1)], end_id][:room]
    ids = (prompt_ids + response)[:max_length]
    return {
        "input_ids": ids,
        "attention_mask": [1] * len(ids),
        "labels": ([IGNORED] * len(prompt_ids) + response)[:max_length],
    }


def mask_is_the_labels(prompt_ids, response_ids, end_id, max_length):
    right = encode_row(prompt_ids, response_ids, end_id, max_length)
    return {**right, "attention_mask": [int(label != IGNORED) for label in right["labels"]]}


def draw_rows(rng):
    def ids(size):
        return [rng.randrange(4, 90) for _ in range(size)]

    return [
        Case("labels", (ids(4), ids(3), END, 32), "a row that fits"),
        Case("labels", (ids(3), [], END, 32), "an empty answer"),
        Case("labels", ([], ids(3), END, 32), "an empty prompt"),
        Case(
            "the end token",
            (ids(4), [*ids(2), END], END, 32),
            "an answer that ends with the end token already",
        ),
        Case("the end token", (ids(2), ids(2), END, 5), "a row that fits exactly"),
        Case("the cut", (ids(4), ids(20), END, 12), "an answer that is too long"),
        Case("the cut", (ids(15), ids(3), END, 8), "a prompt that is longer than the limit"),
        Case("the cut", (ids(8), ids(3), END, 9), "room for a single token"),
    ]


# --- dead_rows (debug) ---------------------------------------------------------------------------


def dead_rows(lengths, max_length):
    return [number for number, (prompt, _) in enumerate(lengths) if prompt >= max_length]


def draw_dead(rng):
    limit = rng.randint(20, 40)
    return [
        Case(
            "the border",
            ([[limit - 1, 5], [limit, 5], [limit + 1, 5]], limit),
            "prompts at the limit and one off it",
        ),
        Case("the border", ([[limit, 1]], limit), "a prompt of exactly the limit"),
        Case(
            "cut but alive",
            ([[3, 500], [limit - 2, 3], [limit - 1, 90]], limit),
            "rows that are cut and keep a label",
        ),
        Case("cut but alive", ([], limit), "no rows"),
        Case(
            "cut but alive", ([[3, 5], [limit + 9, 2], [4, limit + 3]], limit), "a row of each kind"
        ),
    ]


# --- cut_report (measure) ------------------------------------------------------------------------


def cut_report(lengths, max_length):
    cut = [(prompt, response) for prompt, response in lengths if prompt + response > max_length]
    dead = sum(prompt >= max_length for prompt, _ in lengths)
    return {"cut": len(cut), "dead": dead, "share": len(cut) / len(lengths)}


def draw_reports(rng):
    limit = rng.randint(20, 40)
    rows = [[rng.randint(3, 50), rng.randint(1, 50)] for _ in range(20)]
    return [
        Case("counts", (rows, limit), "twenty rows"),
        Case(
            "counts",
            ([[limit - 3, 3], [limit - 3, 4], [limit, 1]], limit),
            "rows at the limit and over it",
        ),
        Case("share", (rows[:7], limit), "seven rows"),
        Case("share", ([[3, 4], [5, 1]], limit), "rows that all fit"),
    ]


TASKS = [
    Task(
        "build_prompt",
        {"with an input": 1, "without an input": 1, "the end": 1},
        build_prompt,
        [
            Case("with an input", ("Reduce this fraction.", "6/8"), "an instruction and an input"),
            Case(
                "without an input", ("法国的首都是哪里？", ""), "an empty input: no line of its own"
            ),
        ],
        draw_prompts,
        {
            (
                "the space after 'Assistant:' is missing: it was stripped, or never there"
            ): lambda instruction, input: build_prompt(instruction, input).rstrip(" "),
            (
                "an empty input leaves an empty line behind: strip before the last part is added"
            ): lambda instruction, input: f"Human: {instruction}\n{input}\n\nAssistant: ",
            "one new line before 'Assistant:' instead of two": lambda instruction, input: (
                f"Human: {instruction}\n{input}".strip() + "\nAssistant: "
            ),
            "instruction and input stand on one line": lambda instruction, input: (
                f"Human: {instruction} {input}".strip() + "\n\nAssistant: "
            ),
        },
    ),
    Task(
        "encode_row",
        {"labels": 2, "the end token": 2, "the cut": 2},
        encode_row,
        [
            Case("labels", ([11, 12, 13], [21, 22], END, 32), "a row that fits"),
            Case(
                "the cut",
                ([11, 12, 13], [21, 22, 23, 24], END, 6),
                "an answer that is cut and still ends",
            ),
        ],
        draw_rows,
        {
            (
                "the cut takes the end token away: "
                "the model does not learn to stop after long answers"
            ): cuts_the_end_off,
            "labels of the prompt are the ids, not -100": labels_the_prompt,
            "the end token is never added": never_ends,
            "an answer that ends already gets a second end token": ends_twice,
            (
                "the attention mask hides the prompt: "
                "the model must read it, only its labels are -100"
            ): mask_is_the_labels,
        },
    ),
    Task(
        "dead_rows",
        {"the border": 2, "cut but alive": 1},
        dead_rows,
        [
            Case("the border", ([[8, 3], [10, 3]], 10), "a prompt below the limit and one at it"),
            Case("cut but alive", ([[3, 50]], 10), "a cut answer"),
        ],
        draw_dead,
        {
            "a prompt of exactly the limit leaves no room either": lambda lengths, limit: [
                n for n, (prompt, _) in enumerate(lengths) if prompt > limit
            ],
            "every row that is cut counts as dead; many keep some labels": lambda lengths, limit: [
                n for n, row in enumerate(lengths) if sum(row) > limit
            ],
            (
                "the answer's length is compared; it is the prompt that takes the room"
            ): lambda lengths, limit: [n for n, row in enumerate(lengths) if row[1] >= limit],
        },
    ),
    Task(
        "cut_report",
        {"counts": 2, "share": 1},
        cut_report,
        [
            Case(
                "counts",
                ([[3, 4], [6, 6], [12, 2]], 10),
                "one row that fits, one that is cut, one that is dead",
            )
        ],
        draw_reports,
        {
            "a row of exactly the limit is counted as cut": lambda lengths, limit: {
                "cut": sum(p + r >= limit for p, r in lengths),
                "dead": sum(p >= limit for p, _ in lengths),
                "share": sum(p + r >= limit for p, r in lengths) / len(lengths),
            },
            "dead rows are not counted as cut; they are cut too": lambda lengths, limit: {
                "cut": sum(p < limit < p + r for p, r in lengths),
                "dead": sum(p >= limit for p, _ in lengths),
                "share": sum(p < limit < p + r for p, r in lengths) / len(lengths),
            },
            "a percentage where a share from 0 to 1 is asked for": lambda lengths, limit: {
                **cut_report(lengths, limit),
                "share": 100 * cut_report(lengths, limit)["share"],
            },
        },
    ),
]
