import random

import pytest

from tutorial_lib.evaluation import (
    Score,
    before_after_table,
    exact_match,
    is_exact,
    measure,
    stopping_rate,
)
from tutorial_lib.inference import Answer


def said(text: str, stopped: bool = True) -> Answer:
    return Answer(text, stopped)


ROWS = [
    {"instruction": "法国的首都是哪里？", "output": "巴黎", "task": "relation", "language": "zh"},
    {
        "instruction": "西班牙的首都是哪里？",
        "output": "马德里",
        "task": "relation",
        "language": "zh",
    },
    {
        "instruction": "What is the capital of France?",
        "output": "Paris",
        "task": "relation",
        "language": "en",
    },
    {"instruction": "Reduce this fraction.", "output": "3/4", "task": "fraction", "language": "en"},
    {"instruction": "Reduce this fraction.", "output": "1/2", "task": "fraction", "language": "en"},
    {"instruction": "Reduce this fraction.", "output": "2/3", "task": "fraction", "language": "en"},
]
ANSWERS = [
    said("巴黎"),
    said("巴塞罗那"),
    said(" Paris\n"),
    said("3/4"),
    said("1/3"),
    said("2/3 ", stopped=False),
]


@pytest.mark.parametrize(
    ("expected", "text", "right"),
    [
        ("Paris", "Paris", True),
        ("Paris", " Paris\n", True),
        ("Paris\n", "Paris", True),
        ("巴黎", "\u3000巴黎", True),
        ("Paris", "paris", False),
        ("Paris", "Paris.", False),
        ("Paris", "Paris, France", False),
        ("Paris", "", False),
        ("New York", "New  York", False),
        ("３", "3", False),  # full-width: another character
    ],
)
def test_only_white_space_at_the_ends_is_forgiven(expected, text, right):
    assert is_exact(expected, said(text)) is right


def test_scores_by_task_and_language_are_those_counted_by_hand():
    assert exact_match(ROWS, ANSWERS) == {
        ("fraction", "en"): Score(right=2, total=3),
        ("relation", "en"): Score(right=1, total=1),
        ("relation", "zh"): Score(right=1, total=2),
    }


def test_scores_by_other_columns_are_those_counted_by_hand():
    assert exact_match(ROWS, ANSWERS, by=("language",)) == {
        ("en",): Score(3, 4),
        ("zh",): Score(1, 2),
    }
    assert exact_match(ROWS, ANSWERS, by=("language", "task"))["zh", "relation"] == Score(1, 2)
    assert exact_match(ROWS, ANSWERS, by=()) == {(): Score(4, 6)}


def test_groups_are_sorted():
    rows = [{"instruction": "?", "output": "x", "task": task} for task in "dbeac"]
    assert list(exact_match(rows, [said("x")] * 5, by=("task",))) == [
        ("a",),
        ("b",),
        ("c",),
        ("d",),
        ("e",),
    ]


@pytest.mark.parametrize(
    ("instruction", "language"),
    [
        ("法国的首都是哪里？", "zh"),
        ("What is the capital of France?", "en"),
        ("Translate 河 into English.", "zh"),  # one Chinese character is enough
        ("Name the rare character 㐀.", "zh"),  # extension A
        ("Name the rare character 𠀀.", "zh"),  # beyond 16 bits
        (
            "¿Cuál es la capital de Francia？",
            "en",
        ),  # a Chinese question mark is no Chinese character
        ("フランス", "en"),
        ("", "en"),
    ],
)
@pytest.mark.parametrize("column", [{}, {"language": None}, {"language": ""}])
def test_language_is_guessed_where_the_row_does_not_tell(instruction, language, column):
    rows = [{"instruction": instruction, "output": "x", **column}]
    assert exact_match(rows, [said("x")]) == {("all", language): Score(1, 1)}


def test_language_of_the_row_goes_before_the_guess():
    rows = [{"instruction": "法国的首都是哪里？", "output": "x", "language": "en"}]
    assert list(exact_match(rows, [said("x")], by=("language",))) == [("en",)]


def test_only_the_instruction_is_guessed_from():
    rows = [{"instruction": "Translate into English.", "input": "河", "output": "河"}]
    assert list(exact_match(rows, [said("x")], by=("language",))) == [("en",)]


def test_column_that_no_row_has_counts_as_all():
    rows = [{"instruction": "?", "output": "x"}] * 3
    assert exact_match(rows, [said("x"), said("y"), said("x")], by=("task", "level")) == {
        ("all", "all"): Score(2, 3)
    }


@pytest.mark.parametrize(("rows", "answers"), [(2, 1), (1, 2), (0, 1), (1, 0)])
def test_answers_that_do_not_match_the_rows_in_number_are_refused(rows, answers):
    with pytest.raises(ValueError, match=f"{rows} rows but {answers} answers"):
        exact_match([ROWS[0]] * rows, [said("x")] * answers)


def test_no_rows_no_groups():
    assert exact_match([], []) == {}


def test_groups_add_up_whatever_the_columns():
    source = random.Random(0)
    rows = [
        {
            "instruction": source.choice("河a"),
            "output": source.choice("ab"),
            "task": source.choice("xyz"),
        }
        for _ in range(500)
    ]
    answers = [said(source.choice("ab")) for _ in rows]
    right = sum(row["output"] == given.text for row, given in zip(rows, answers, strict=True))
    for by in [(), ("task",), ("language",), ("task", "language"), ("missing",)]:
        scores = exact_match(rows, answers, by=by).values()
        assert (sum(score.right for score in scores), sum(score.total for score in scores)) == (
            right,
            500,
        )


def test_tinyworlds_own_outputs_are_all_right(splits):
    rows = splits["held_out"].to_list()
    scores = exact_match(rows, [said(row["output"]) for row in rows])
    assert {language for _, language in scores} == {"zh", "en"}
    assert all(score.right == score.total > 0 for score in scores.values())
    assert sum(score.total for score in scores.values()) == len(rows)


def test_score_shows_counts_and_share():
    assert str(Score(3, 4)) == "3/4 = 75.0%"
    assert Score(3, 4).share == 0.75
    assert Score(0, 0).share == 0


def test_stopping_rate_is_the_share_of_answers_that_stopped():
    assert (
        stopping_rate([said("a"), said("b", stopped=False), said("", stopped=True), said("c")])
        == 0.75
    )
    assert stopping_rate(said(text, stopped=False) for text in "ab") == 0  # any iterable
    assert stopping_rate([said("a")]) == 1
    assert stopping_rate([]) == 0


def test_measure_answers_every_split_and_a_language_without_questions_has_no_share(
    tiny_model, tokenizer
):
    chinese = [row for row in ROWS if row["language"] == "zh"]
    figures = measure(tiny_model, tokenizer, {"held_out": ROWS, "train": chinese}, 2)
    assert set(figures["exact_match"]) == {"held_out", "train"}
    assert figures["exact_match"]["held_out"] == {"zh": 0, "en": 0}
    assert figures["exact_match"]["train"] == {"zh": 0, "en": None}
    assert 0 <= figures["stopping_rate"] <= 1


def test_measure_of_no_questions_is_not_zero(tiny_model, tokenizer):
    figures = measure(tiny_model, tokenizer, {"held_out": [], "train": []}, 2)
    assert figures["exact_match"]["train"] == {"zh": None, "en": None}
    assert figures["stopping_rate"] is None


def test_the_table_shows_each_figure_before_and_after():
    def figures(share: float) -> dict:
        shares = {"zh": share, "en": None}
        return {"exact_match": {"held_out": shares, "train": shares}, "stopping_rate": 1.0}

    lines = before_after_table(figures(0.25), figures(0.5)).splitlines()
    assert [line.split()[-2:] for line in lines[:2]] == [["before", "after"], ["25.0%", "50.0%"]]
    assert lines[2].endswith("none asked  none asked")
    assert lines[-1].split() == ["answers", "that", "stop", "100.0%", "100.0%"]
