"""Grade one notebook or a class; a second run grades only what has changed."""

import csv
import hashlib
import html
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tutorial_lib.exercises.catalogue import ExerciseError, load_tasks, topics
from tutorial_lib.exercises.runner import run_task
from tutorial_lib.exercises.submission import read_submission
from tutorial_lib.exercises.task import NOT_TRIED, Result, cases_of, judge, no_points
from tutorial_lib.run_folder import replacing, write_json
from tutorial_lib.show.tables import html_table

COLUMNS = ("student", "assignment", "task", "points", "possible", "diagnosis")
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{topic}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto }}
td, th {{ border-bottom: 1px solid #ccc }}
</style></head>
<body><h1>{topic}: {points} of {possible} points</h1><p>{student}</p>{remarks}
{table}</body></html>
"""


@dataclass(frozen=True)
class Grade:
    """The grade of one submission."""

    results: tuple[Result, ...]  # one per task
    trouble: str = ""  # why nothing could be graded
    remarks: tuple[str, ...] = ()  # what was odd about the notebook

    @property
    def points(self) -> int:
        """All points won."""
        return sum(result.total for result in self.results)

    @property
    def possible(self) -> int:
        """All points that can be won."""
        return sum(result.maximum for result in self.results)


def grade_notebook(path: Path, topic: str, assignments: Path, seed: str) -> Grade:
    """Run every task of one notebook on hidden inputs and judge the answers.

    Whatever the notebook does, a Grade comes back.
    """
    tasks = load_tasks(assignments, topic)
    try:
        submission = read_submission(path, tasks)
    except ExerciseError as error:
        return Grade(tuple(map(no_points, tasks.values())), trouble=str(error))
    results = []
    for name, task in tasks.items():
        if name not in submission.answers:
            results.append(no_points(task, NOT_TRIED))
            continue
        cases = cases_of(task, seed)
        arguments = [case.arguments for case in cases]
        outcome = run_task(name, submission.answers[name], submission.helpers, arguments)
        results.append(judge(task, cases, outcome))
    return Grade(tuple(results), remarks=submission.remarks)


def grade_all(
    submissions: Path, out: Path, assignments: Path, seed: str, log: Callable[[str], None] = print
) -> Path:
    """Grade ``submissions/STUDENT/ASSIGNMENT[/ASSIGNMENT].ipynb``; return the path of grades.csv.

    `out` gets the table and one feedback page per submission. A submission that has not changed
    since it was graded is not graded again, so an interrupted run continues where it stopped.

    Raises:
        ExerciseError: `submissions` holds no students' folders with notebooks.
    """
    work = list(_find_notebooks(submissions, assignments))
    if not work:
        remedy = "it must hold one folder per student, with their notebooks in it"
        raise ExerciseError(f"no submissions in {submissions}: {remedy}")
    out.mkdir(parents=True, exist_ok=True)
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(COLUMNS)
    for number, (student, topic, path) in enumerate(work, start=1):
        record = out / student / f"{topic}.json"
        digest = _digest(path, assignments / "checks" / f"{topic}.py", seed)
        grade, note = _recorded_grade(record, digest), " (unchanged)"
        if grade is None:
            grade, note = grade_notebook(path, topic, assignments, seed), ""
            record.parent.mkdir(parents=True, exist_ok=True)
            _write(out / student / f"{topic}.html", feedback(student, topic, grade))
            write_json(record, {"digest": digest, "grade": asdict(grade)})
        log(f"[{number}/{len(work)}] {student} {topic}: {grade.points} of {grade.possible}{note}")
        for result in grade.results:
            scores = (result.total, result.maximum)
            diagnosis = grade.trouble or result.diagnosis
            writer.writerow((student, topic, result.function, *scores, diagnosis))
    _write(out / "grades.csv", table.getvalue())
    return out / "grades.csv"


def feedback(student: str, topic: str, grade: Grade) -> str:
    """Return the page for the student: points and diagnoses, nothing that was run."""
    rows = []
    for result in grade.results:
        points = f"{result.total} of {result.maximum}"
        ideas = [f"{idea}: {n} of {result.possible[idea]}" for idea, n in result.points.items()]
        diagnosis = result.diagnosis or ("" if grade.trouble else "all right")
        rows.append((result.function, points, "; ".join(ideas), diagnosis))
    remarks = [remark for remark in [grade.trouble, *grade.remarks] if remark]
    return PAGE.format(
        topic=html.escape(topic),
        student=html.escape(student),
        points=grade.points,
        possible=grade.possible,
        remarks="".join(f"<p>{html.escape(remark)}</p>" for remark in remarks),
        table=html_table(["task", "points", "ideas", "what to look at"], rows),
    )


def _find_notebooks(submissions: Path, assignments: Path) -> Iterator[tuple[str, str, Path]]:
    for student in sorted(path for path in submissions.glob("[!.]*") if path.is_dir()):
        for topic in topics(assignments):
            candidates = [
                student / topic / f"{topic}.ipynb",
                student / f"{topic}.ipynb",
                *sorted((student / topic).glob("*.ipynb")),
            ]
            # A link could lead to another student's notebook.
            files = [path for path in candidates if path.is_file() and not path.is_symlink()]
            if files:
                yield student.name, topic, files[0]


def _digest(path: Path, checks: Path, seed: str) -> str:
    digest = hashlib.sha256(seed.encode())
    for name in (path, checks):
        with name.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _recorded_grade(record: Path, digest: str) -> Grade | None:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        if content["digest"] != digest:
            return None
        grade = content["grade"]
        results = tuple(Result(**result) for result in grade["results"])
        return Grade(results, grade["trouble"], tuple(grade["remarks"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")
