"""References, hidden cases and misconceptions of assignment 08. Not for students."""

from tutorial_lib.exercises.task import Case, Task

END = 2


# --- read_answer ---------------------------------------------------------------------------------


def read_answer(output_ids, prompt_length, end_id):
    generated = output_ids[prompt_length:]
    if end_id in generated:
        return {"ids": generated[: generated.index(end_id)], "stopped": True}
    return {"ids": generated, "stopped": False}


def with_the_question(output_ids, prompt_length, end_id):
    if end_id in output_ids[prompt_length:]:
        return {
            "ids": output_ids[: prompt_length + output_ids[prompt_length:].index(end_id)],
            "stopped": True,
        }
    return {"ids": output_ids, "stopped": False}


def keeps_the_end(output_ids, prompt_length, end_id):
    generated = output_ids[prompt_length:]
    return (
        {"ids": generated[: generated.index(end_id) + 1], "stopped": True}
        if end_id in generated
        else {"ids": generated, "stopped": False}
    )


def finds_the_end_in_the_prompt(output_ids, prompt_length, end_id):
    if end_id in output_ids:
        return {
            "ids": output_ids[prompt_length : max(prompt_length, output_ids.index(end_id))],
            "stopped": True,
        }
    return {"ids": output_ids[prompt_length:], "stopped": False}


def always_stopped(output_ids, prompt_length, end_id):
    return {**read_answer(output_ids, prompt_length, end_id), "stopped": True}


def only_at_the_very_end(output_ids, prompt_length, end_id):
    generated = output_ids[prompt_length:]
    return (
        {"ids": generated[:-1], "stopped": True}
        if generated[-1:] == [end_id]
        else {"ids": generated, "stopped": False}
    )


def draw_outputs(rng):
    def ids(size):
        return [rng.randrange(4, 90) for _ in range(size)]

    prompt, answer = ids(5), ids(4)
    return [
        Case("the answer", ([*prompt, *answer, END], 5, END), "an answer that ends"),
        Case("the answer", ([*prompt, *answer, END, 3, 3, 3], 5, END), "padding after the end"),
        Case(
            "the answer",
            ([*prompt, *answer, END, *ids(3), END], 5, END),
            "more text after the first end",
        ),
        Case("did it stop", ([*prompt, *answer], 5, END), "an answer that never ends"),
        Case(
            "did it stop",
            ([*prompt[:2], END, *prompt[3:], *answer], 5, END),
            "an end token in the prompt",
        ),
        Case("edges", ([*prompt, END], 5, END), "an empty answer"),
        Case("edges", (prompt, 5, END), "nothing generated"),
    ]


# --- top_p ---------------------------------------------------------------------------------------


def top_p(probabilities, p):
    order = sorted(range(len(probabilities)), key=lambda i: -probabilities[i])
    kept, mass = [], 0.0
    for token in order:
        kept.append(token)
        mass += probabilities[token]
        if mass >= p:
            break
    return [probabilities[i] / mass if i in kept else 0.0 for i in range(len(probabilities))]


def without_the_one_that_reaches_it(probabilities, p):
    order = sorted(range(len(probabilities)), key=lambda i: -probabilities[i])
    kept, mass = [], 0.0
    for token in order:
        if mass + probabilities[token] > p and kept:
            break
        kept.append(token)
        mass += probabilities[token]
    return [probabilities[i] / mass if i in kept else 0.0 for i in range(len(probabilities))]


def not_renormalised(probabilities, p):
    return [
        own if new else 0.0 for own, new in zip(probabilities, top_p(probabilities, p), strict=True)
    ]


def a_threshold(probabilities, p):
    kept = [own if own >= 1 - p else 0.0 for own in probabilities]
    return [own / sum(kept) for own in kept] if sum(kept) else list(probabilities)


def in_order_of_the_vocabulary(probabilities, p):
    kept, mass = set(), 0.0
    for token, own in enumerate(probabilities):
        kept.add(token)
        mass += own
        if mass >= p:
            break
    return [own / mass if token in kept else 0.0 for token, own in enumerate(probabilities)]


def draw_probabilities(rng):
    def some(size):
        # Of clearly different size, and no partial sum is near a p that is used.
        weights = [2.0**-rank for rank in range(size)]
        rng.shuffle(weights)
        return [weight / sum(weights) for weight in weights]

    return [
        Case("what is kept", (some(5), 0.6), "five tokens"),
        Case("what is kept", (some(7), 0.9), "seven tokens"),
        Case("what is kept", ([0.1, 0.2, 0.3, 0.4], 0.65), "the likeliest come last"),
        Case("what is kept", ([0.35, 0.33, 0.32], 0.9), "tokens of nearly the same probability"),
        Case("the sum", (some(6), 0.8), "six tokens"),
        Case("the sum", ([0.9, 0.06, 0.04], 0.5), "one token is enough"),
        Case("edges", (some(4), 1.0), "all tokens"),
        Case("edges", ([1.0], 0.3), "a vocabulary of one"),
    ]


# --- exact_match (debug) -------------------------------------------------------------------------


def exact_match(expected, answers):
    return sum(
        want.strip() == answer.strip() for want, answer in zip(expected, answers, strict=True)
    ) / len(expected)


def draw_matches(rng):
    pool = ["The capital of France is Paris.", "巴黎。", "Au", "2\n3\n5", "3/4"]
    right = rng.sample(pool, 4)
    return [
        Case(
            "right answers",
            (right, [f" {right[0]}", f"{right[1]}\n", right[2], "no"]),
            "white space at the ends",
        ),
        Case("right answers", (right, right), "all right"),
        Case("wrong answers", (["Au", "Ag"], ["au", "Ag"]), "another case"),
        Case("wrong answers", (["巴黎。"], ["法国的首都是巴黎。"]), "more than was asked for"),
        Case(
            "wrong answers",
            (["The capital of France is Paris.", "3/4"], ["Paris", "3/4 "]),
            "a part of the answer",
        ),
        Case(
            "wrong answers",
            (["2\n3\n5", "Au"], ["2 3 5", ""]),
            "lines run together, and an empty answer",
        ),
    ]


# --- stopping_rate (measure) ---------------------------------------------------------------------


def stopping_rate(generated, end_id, limit):
    return sum(end_id in row[:limit] for row in generated) / len(generated)


def draw_generated(rng):
    def row(size, ends):
        return [rng.randrange(4, 90) for _ in range(size)] + ([END] if ends else [])

    return [
        Case(
            "stopped",
            (
                [row(3, True), row(9, False), [*row(2, True), 3, 3], row(1, True), row(9, False)],
                END,
                9,
            ),
            "some that stop, some that don't",
        ),
        Case("stopped", ([row(9, False), row(9, False)], END, 9), "none that stops"),
        Case(
            "within the limit",
            ([row(6, True), row(2, True), row(11, True)], END, 5),
            "some end after the limit",
        ),
        Case(
            "within the limit",
            ([row(4, True), row(5, True)], END, 5),
            "an end at the last position that counts, and one after it",
        ),
        Case("stopped", ([[END]], END, 3), "a single, empty answer"),
    ]


TASKS = [
    Task(
        "read_answer",
        {"the answer": 2, "did it stop": 1, "edges": 1},
        read_answer,
        [
            Case(
                "the answer",
                ([11, 12, 13, 21, 22, END, 3], 3, END),
                "a prompt of three tokens, an answer of two",
            ),
            Case("did it stop", ([11, 12, 21, 22], 2, END), "an answer that never ends"),
        ],
        draw_outputs,
        {
            (
                "the question is still in front of the answer: generate returns both"
            ): with_the_question,
            "the end token stays in the answer": keeps_the_end,
            "an end token in the prompt is taken for the answer's": finds_the_end_in_the_prompt,
            "every answer counts as stopped; one that ran into the limit did not": always_stopped,
            (
                "the end is looked for at the very end only; padding may follow it"
            ): only_at_the_very_end,
        },
    ),
    Task(
        "top_p",
        {"what is kept": 2, "the sum": 1, "edges": 1},
        top_p,
        [
            Case("what is kept", ([0.5, 0.3, 0.15, 0.05], 0.7), "the first two make up 0.7"),
            Case("the sum", ([0.5, 0.3, 0.15, 0.05], 0.7), "what remains sums to 1"),
        ],
        draw_probabilities,
        {
            (
                "the token that reaches p is left out; it belongs to those kept"
            ): without_the_one_that_reaches_it,
            "what is kept does not sum to 1: divide by its sum": not_renormalised,
            "p is used as a threshold for single tokens": a_threshold,
            (
                "taken in the order of the vocabulary, not from the likeliest down"
            ): in_order_of_the_vocabulary,
        },
        tolerance=1e-5,
    ),
    Task(
        "exact_match",
        {"right answers": 1, "wrong answers": 2},
        exact_match,
        [
            Case("right answers", (["Au"], ["Au "]), "a space at the end"),
            Case("wrong answers", (["Au"], ["Au and Ag"]), "more than was asked for"),
        ],
        draw_matches,
        {
            (
                "an answer that contains the right one counts; it must be the right one"
            ): lambda want, answers: (
                sum(a.strip() in b for a, b in zip(want, answers, strict=True)) / len(want)
            ),
            "upper and lower case are not told apart": lambda want, answers: (
                sum(
                    a.strip().lower() == b.strip().lower()
                    for a, b in zip(want, answers, strict=True)
                )
                / len(want)
            ),
            "white space at the ends is not forgiven": lambda want, answers: (
                sum(a == b for a, b in zip(want, answers, strict=True)) / len(want)
            ),
            "all white space is ignored, new lines too": lambda want, answers: (
                sum(
                    "".join(a.split()) == "".join(b.split())
                    for a, b in zip(want, answers, strict=True)
                )
                / len(want)
            ),
        },
    ),
    Task(
        "stopping_rate",
        {"stopped": 2, "within the limit": 1},
        stopping_rate,
        [
            Case("stopped", ([[5, 6, END], [5, 6, 7]], END, 3), "one of two"),
            Case("within the limit", ([[5, 6, 7, END]], END, 3), "an end after the limit"),
        ],
        draw_generated,
        {
            (
                "the limit is not looked at: who needs longer did not stop in time"
            ): lambda rows, end, limit: sum(end in row for row in rows) / len(rows),
            (
                "the last token alone is looked at; padding may follow the end"
            ): lambda rows, end, limit: sum(row[:limit][-1:] == [end] for row in rows) / len(rows),
            "a percentage where a share from 0 to 1 is asked for": lambda rows, end, limit: (
                100 * stopping_rate(rows, end, limit)
            ),
            "the share of those that do *not* stop": lambda rows, end, limit: (
                1 - stopping_rate(rows, end, limit)
            ),
        },
    ),
]
