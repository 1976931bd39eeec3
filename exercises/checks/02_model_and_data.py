"""References, hidden cases and misconceptions of assignment 02. Not for students."""

from tutorial_lib.exercises.task import Case, Task

WORDS = ["金", "copper", "巴黎", "a river", "Näme 𬭛", "two words", "42"]


# --- to_columns ----------------------------------------------------------------------------------


def to_columns(rows, columns):
    return [
        {
            name: row.get(columns.get(name, name)) or ""
            if name == "input"
            else row[columns.get(name, name)]
            for name in ("instruction", "input", "output")
        }
        for row in rows
    ]


def keeps_the_rest(rows, columns):
    return [
        {**{k: v for k, v in row.items() if k not in columns.values()}, **new}
        for row, new in zip(rows, to_columns(rows, columns), strict=True)
    ]


def none_as_text(rows, columns):
    return [
        {name: str(row.get(columns.get(name, name))) for name in ("instruction", "input", "output")}
        for row in rows
    ]


def input_stays_none(rows, columns):
    return [
        {name: row.get(columns.get(name, name)) for name in ("instruction", "input", "output")}
        for row in rows
    ]


def mapping_turned_round(rows, columns):
    return to_columns(rows, {old: new for new, old in columns.items()})


def draw_columns(rng):
    def row(**extra):
        return {"question": rng.choice(WORDS), "answer": rng.choice(WORDS), **extra}

    names = {"instruction": "question", "output": "answer"}
    return [
        Case("names", ([row(input="x"), row(input="y")], names), "two columns of other names"),
        Case("names", ([row(input="z", source="web")], names), "a further column, to be left out"),
        Case(
            "names",
            ([{"instruction": "a", "input": "b", "output": rng.choice(WORDS)}], {}),
            "no mapping: the names are right",
        ),
        Case("empty input", ([row()], names), "no column for the input"),
        Case("empty input", ([row(input=None), row(input="")], names), "an input of None"),
        Case("empty input", ([], names), "no rows"),
    ]


# --- bad_rows (debug) ----------------------------------------------------------------------------


def _text(value):
    return isinstance(value, str) and bool(value.strip())


def bad_rows(rows):
    return [
        number
        for number, row in enumerate(rows)
        if not _text(row.get("instruction"))
        or not _text(row.get("output"))
        or not isinstance(row.get("input", ""), str)
    ]


def draw_bad(rng):
    good = {"instruction": rng.choice(WORDS), "input": "", "output": rng.choice(WORDS)}
    return [
        Case("good rows stay", ([good, {**good, "input": "x"}],), "rows with and without an input"),
        Case(
            "good rows stay",
            ([{"instruction": "a", "output": "b"}],),
            "a row without the column input",
        ),
        Case(
            "bad rows are found",
            ([good, {**good, "output": ""}, {**good, "output": "  \n"}],),
            "outputs of nothing but white space",
        ),
        Case(
            "bad rows are found",
            ([{**good, "output": None}, good, {**good, "input": 5}],),
            "a None and a number",
        ),
        Case(
            "bad rows are found",
            ([{**good, "instruction": " "}, good],),
            "an instruction of white space, in the first row",
        ),
    ]


# --- leaking_share (measure) ---------------------------------------------------------------------


def leaking_share(train, held_out):
    known = {name for row in train for name in row["entity"].split()}
    return (
        sum(bool(known & set(row["entity"].split())) for row in held_out) / len(held_out)
        if held_out
        else 0.0
    )


def compares_questions(train, held_out):
    questions = {row["instruction"] for row in train}
    return (
        sum(row["instruction"] in questions for row in held_out) / len(held_out)
        if held_out
        else 0.0
    )


def compares_whole_entries(train, held_out):
    known = {row["entity"] for row in train}
    return sum(row["entity"] in known for row in held_out) / len(held_out) if held_out else 0.0


def share_of_the_training_rows(train, held_out):
    entities = {name for row in held_out for name in row["entity"].split()}
    return (
        sum(bool(entities & set(row["entity"].split())) for row in train) / len(train)
        if train
        else 0.0
    )


def all_must_leak(train, held_out):
    known = {name for row in train for name in row["entity"].split()}
    return (
        sum(set(row["entity"].split()) <= known for row in held_out) / len(held_out)
        if held_out
        else 0.0
    )


def draw_leaks(rng):
    names = [f"e{number}" for number in range(12)]
    rng.shuffle(names)

    def row(*entities):
        return {"instruction": "asked of all", "entity": " ".join(entities)}

    train = [row(names[0]), row(names[1], names[2]), row(names[3])]
    return [
        Case(
            "single entities",
            (train, [row(names[0]), row(names[5]), row(names[6]), row(names[7]), row(names[3])]),
            "some entities in both",
        ),
        Case("single entities", (train, [row(names[8]), row(names[9])]), "nothing in both"),
        Case(
            "several in a row",
            (train, [row(names[2], names[8]), row(names[9], names[10]), row(names[4])]),
            "a row of several entities, one of them known",
        ),
        Case(
            "several in a row",
            (train, [row(names[0], names[3]), row(names[9])]),
            "a row of two known entities",
        ),
        Case("several in a row", (train, []), "no held-out rows"),
    ]


TASKS = [
    Task(
        "to_columns",
        {"names": 2, "empty input": 2},
        to_columns,
        [
            Case(
                "names",
                (
                    [{"question": "1 + 1?", "input": "", "answer": "2"}],
                    {"instruction": "question", "output": "answer"},
                ),
                "a question and its answer",
            ),
            Case(
                "empty input",
                ([{"instruction": "Name a fish.", "output": "carp"}], {}),
                "a row without an input",
            ),
        ],
        draw_columns,
        {
            "further columns are kept: a batch can only hold what the model takes": keeps_the_rest,
            "a missing input became the text 'None'": none_as_text,
            "a missing input stays None; it must be an empty text": input_stays_none,
            (
                "the mapping is read the wrong way round: it goes from the new name to the old"
            ): mapping_turned_round,
        },
    ),
    Task(
        "bad_rows",
        {"good rows stay": 1, "bad rows are found": 3},
        bad_rows,
        [
            Case(
                "good rows stay",
                ([{"instruction": "a", "input": "", "output": "b"}],),
                "an empty input, which is fine",
            ),
            Case(
                "bad rows are found",
                ([{"instruction": "a", "input": "", "output": None}],),
                "an output of None",
            ),
        ],
        draw_bad,
        {
            "an empty input is taken for a fault": lambda rows: [
                n
                for n, row in enumerate(rows)
                if not all(_text(row.get(c)) for c in ("instruction", "input", "output"))
            ],
            "white space is taken for an answer": lambda rows: [
                n
                for n, row in enumerate(rows)
                if not row.get("instruction")
                or not row.get("output")
                or not isinstance(row.get("input", ""), str)
            ],
            "rows are counted from 1": lambda rows: [number + 1 for number in bad_rows(rows)],
            "only the output is looked at": lambda rows: [
                n for n, row in enumerate(rows) if not _text(row.get("output"))
            ],
        },
    ),
    Task(
        "leaking_share",
        {"single entities": 2, "several in a row": 1},
        leaking_share,
        [
            Case(
                "single entities",
                (
                    [{"instruction": "q1", "entity": "france"}],
                    [
                        {"instruction": "q2", "entity": "france"},
                        {"instruction": "q1", "entity": "peru"},
                    ],
                ),
                "one of two held-out rows is about a known thing",
            ),
            Case(
                "several in a row",
                (
                    [{"instruction": "q1", "entity": "france"}],
                    [{"instruction": "q2", "entity": "peru france"}],
                ),
                "a row about two things, one of them known",
            ),
        ],
        draw_leaks,
        {
            (
                "questions are compared; what leaks are the things that they are about"
            ): compares_questions,
            (
                "the whole entry is compared; a row may be about several things"
            ): compares_whole_entries,
            "the share is taken of the training rows": share_of_the_training_rows,
            "a row counts only if all its things are known; one is enough": all_must_leak,
        },
    ),
]
