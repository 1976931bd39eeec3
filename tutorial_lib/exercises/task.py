"""What a task is, and how an answer is judged."""

import random
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

from tutorial_lib.exercises.plain import NotPlainError, same, to_plain

NOT_TRIED = "not written yet: the function is missing or raises NotImplementedError"
NOT_THERE = "the function is not there: keep its name, and see that its cell runs by itself"
NO_REPLY = "no answer came back: the code ended the process, ran too long, or took too much memory"
UNSUPPORTED_TYPE = "unsupported type"  # used in Answer.error


@dataclass(frozen=True)
class Case:
    """One call of the student's function."""

    idea: str  # the idea of the task that it tries
    arguments: tuple  # plain data
    words: str  # what is special about it; students may read it, so it shows no drawn input


@dataclass(frozen=True)
class Task:
    """A function to write or to fix."""

    function: str
    points: Mapping[str, int]  # of each idea, won if all its cases are right
    reference: Callable
    visible: Sequence[Case]  # the student's own check tries them
    draw: Callable[[random.Random], list[Case]]  # new cases of every idea
    mistakes: Mapping[str, Callable]  # diagnosis -> what a student with it writes
    tolerance: float = 1e-6  # of numbers, relative or absolute

    @property
    def total(self) -> int:
        """Points of all ideas."""
        return sum(self.points.values())


@dataclass(frozen=True)
class Answer:
    """The result of one call: plain data, or the name of the error that it raised."""

    value: object = None
    error: str | None = None


@dataclass(frozen=True)
class Outcome:
    """All answers of one submission to the cases of one task, or why there are none."""

    answers: list[Answer] = field(default_factory=list)
    trouble: str = ""


@dataclass(frozen=True)
class Result:
    """How a task was solved."""

    function: str
    points: Mapping[str, int]  # won, of each idea
    possible: Mapping[str, int]
    diagnosis: str = ""  # what went wrong, in words

    @property
    def total(self) -> int:
        """All points won."""
        return sum(self.points.values())

    @property
    def maximum(self) -> int:
        """All points that can be won."""
        return sum(self.possible.values())


def cases_of(task: Task, seed: str) -> list[Case]:
    """Draw the hidden cases of a task; the same seed draws the same."""
    return task.draw(random.Random(f"{seed}/{task.function}"))


def no_points(task: Task, diagnosis: str = "") -> Result:
    """Return the result of a task for which nothing was won."""
    return Result(task.function, dict.fromkeys(task.points, 0), dict(task.points), diagnosis)


def judge(task: Task, cases: Sequence[Case], outcome: Outcome) -> Result:
    """Compare answers with the reference and name the misconception behind wrong ones."""
    if outcome.trouble or len(outcome.answers) != len(cases):
        return no_points(task, outcome.trouble or NO_REPLY)
    right = [
        agree(task, call(task.reference, case), answer)
        for case, answer in zip(cases, outcome.answers, strict=True)
    ]
    wrong_ideas = {case.idea for case, ok in zip(cases, right, strict=True) if not ok}
    points = {idea: 0 if idea in wrong_ideas else n for idea, n in task.points.items()}
    diagnosis = "" if all(right) else _diagnose(task, cases, outcome.answers, right.index(False))
    return Result(task.function, points, dict(task.points), diagnosis)


def call(function: Callable, case: Case) -> Answer:
    """Call a function, in this process, with a copy of a case's arguments."""
    try:
        return Answer(to_plain(function(*deepcopy(case.arguments))))
    except NotPlainError:
        return Answer(error=UNSUPPORTED_TYPE)
    except Exception as error:
        return Answer(error=type(error).__name__)


def agree(task: Task, expected: Answer, answer: Answer) -> bool:
    """Tell whether two answers are the same; two errors are if their types are."""
    if expected.error is not None or answer.error is not None:
        return expected.error == answer.error
    return same(expected.value, answer.value, task.tolerance)


def _diagnose(
    task: Task, cases: Sequence[Case], answers: Sequence[Answer], first_wrong: int
) -> str:
    if all(answer.error == "NotImplementedError" for answer in answers):
        return NOT_TRIED
    for diagnosis, mistake in task.mistakes.items():
        pairs = zip(cases, answers, strict=True)
        if all(agree(task, call(mistake, case), answer) for case, answer in pairs):
            return diagnosis
    case, error = cases[first_wrong], answers[first_wrong].error
    symptom = f"raises {error}" if error else "another answer was expected"
    if error == UNSUPPORTED_TYPE:
        symptom = "returns something other than numbers, texts, lists and dictionaries"
    return f"{case.idea}: {symptom} ({case.words})"
