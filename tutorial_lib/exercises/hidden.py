"""What nbgrader's test cells call, in the student's own kernel; ``make grade`` is safer."""

from collections.abc import Callable

from tutorial_lib.exercises.catalogue import find_assignments, load_tasks, secret_seed
from tutorial_lib.exercises.task import Outcome, call, cases_of, judge


def require(topic: str, name: str, idea: str, function: Callable) -> None:
    """Try `function` on hidden inputs.

    Raises:
        AssertionError: `idea` is not right; the message is the diagnosis.
    """
    assignments = find_assignments()
    task = load_tasks(assignments, topic)[name]
    cases = cases_of(task, secret_seed(assignments))
    result = judge(task, cases, Outcome([call(function, case) for case in cases]))
    if result.points[idea] != task.points[idea]:
        raise AssertionError(result.diagnosis)
