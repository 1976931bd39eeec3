"""What nbgrader's test cells call. They run in the student's own kernel: for marks that count there is ``make grade``."""

from collections.abc import Callable
from copy import deepcopy

from tutorial_lib.exercises.catalogue import find_course, load_tasks, secret_seed
from tutorial_lib.exercises.plain import NotPlainError, to_plain
from tutorial_lib.exercises.task import NOT_PLAIN, Answer, Outcome, cases_of, judge


def require(topic: str, name: str, idea: str, function: Callable) -> None:
    """Try `function` on hidden inputs and raise AssertionError with the diagnosis if `idea` is not right."""
    course = find_course()
    task = load_tasks(course, topic)[name]
    cases = cases_of(task, secret_seed(course))
    result = judge(
        task, cases, Outcome([_answer(function, deepcopy(case.arguments)) for case in cases])
    )
    if result.points[idea] != task.points[idea]:
        raise AssertionError(result.diagnosis)


def _answer(function: Callable, arguments: tuple) -> Answer:
    try:
        return Answer(to_plain(function(*arguments)))
    except NotPlainError:
        return Answer(error=NOT_PLAIN)
    except Exception as error:
        return Answer(error=type(error).__name__)
