"""What a task is: a function to write, the ideas that it is checked for, a reference, and the ways in which it goes wrong."""

import random
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

from tutorial_lib.exercises.plain import same, to_plain

NOT_TRIED = "not written yet: the function is missing or raises NotImplementedError"
NOT_THERE = "the function is not there: keep its name, and see that its cell runs by itself"
NOT_PLAIN = "no plain data"  # in the place of an error's name
TAKEN_APART = (
    "no answer came back: the code ended the process, ran too long, or took too much memory"
)


@dataclass(frozen=True)
class Case:
    """One call of the student's function.

    Attributes:
        idea: which idea of the task it is about.
        arguments: plain data.
        words: what is special about it; may be told to the student, so it holds nothing of a drawn input.
    """

    idea: str
    arguments: tuple
    words: str


@dataclass(frozen=True)
class Task:
    """A function to write or to mend.

    Attributes:
        function: its name.
        points: idea -> points; an idea's points are won if all its cases are right.
        reference: the right function.
        visible: cases that the student's own check tries.
        draw: fresh cases of every idea, from a seeded generator.
        mistakes: diagnosis -> the function that somebody with this misconception writes.
        tolerance: of numbers.
    """

    function: str
    points: Mapping[str, int]
    reference: Callable
    visible: Sequence[Case]
    draw: Callable[[random.Random], list[Case]]
    mistakes: Mapping[str, Callable]
    tolerance: float = 1e-6


@dataclass(frozen=True)
class Answer:
    """What came of one call: plain data, or the name of the error that it raised."""

    value: object = None
    error: str | None = None


@dataclass(frozen=True)
class Result:
    """How a task was solved.

    Attributes:
        function: the task.
        points: idea -> points won.
        possible: idea -> points that can be won.
        diagnosis: what went wrong, in words; empty if nothing did.
    """

    function: str
    points: Mapping[str, int]
    possible: Mapping[str, int]
    diagnosis: str = ""

    @property
    def total(self) -> int:
        """All points won."""
        return sum(self.points.values())


@dataclass(frozen=True)
class Outcome:
    """All answers of one submission to the cases of one task, or why there are none."""

    answers: list[Answer] = field(default_factory=list)
    trouble: str = ""


def cases_of(task: Task, seed: str) -> list[Case]:
    """Draw the hidden cases of a task; the same seed draws the same."""
    return task.draw(random.Random(f"{seed}/{task.function}"))


def judge(task: Task, cases: Sequence[Case], outcome: Outcome) -> Result:
    """Compare answers with the reference and name the misconception behind wrong ones."""
    possible = dict(task.points)
    if outcome.trouble or len(outcome.answers) != len(cases):
        return Result(
            task.function, dict.fromkeys(possible, 0), possible, outcome.trouble or TAKEN_APART
        )
    expected = [call(task.reference, case) for case in cases]
    right = [
        agree(task, wanted, answer)
        for wanted, answer in zip(expected, outcome.answers, strict=True)
    ]
    wrong_ideas = {case.idea for case, ok in zip(cases, right, strict=True) if not ok}
    points = {idea: 0 if idea in wrong_ideas else worth for idea, worth in possible.items()}
    return Result(
        task.function,
        points,
        possible,
        "" if all(right) else _diagnose(task, cases, outcome.answers, right),
    )


def call(function: Callable, case: Case) -> Answer:
    """Call a trusted function on a case of its own copy of the arguments."""
    try:
        return Answer(to_plain(function(*deepcopy(case.arguments))))
    except Exception as error:
        return Answer(error=type(error).__name__)


def agree(task: Task, wanted: Answer, answer: Answer) -> bool:
    """Tell whether two answers say the same; two errors do if they are of the same kind."""
    return wanted.error == answer.error and (
        wanted.error is not None or same(wanted.value, answer.value, task.tolerance)
    )


def _diagnose(
    task: Task, cases: Sequence[Case], answers: Sequence[Answer], right: Sequence[bool]
) -> str:
    if all(answer.error == "NotImplementedError" for answer in answers):
        return NOT_TRIED
    for diagnosis, mistaken in task.mistakes.items():
        if all(
            agree(task, call(mistaken, case), answer)
            for case, answer in zip(cases, answers, strict=True)
        ):
            return diagnosis
    case, answer = next(
        (case, answer) for case, answer, ok in zip(cases, answers, right, strict=True) if not ok
    )
    found = f"raises {answer.error}" if answer.error else "another answer was expected"
    if answer.error == NOT_PLAIN:
        found = "returns something else than numbers, texts, lists and dictionaries"
    return f"{case.idea}: {found} ({case.words})"
