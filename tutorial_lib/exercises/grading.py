"""Grade submissions: one notebook, or a class; what was graded is kept, and graded again only if it changed."""

import csv
import hashlib
import html
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tutorial_lib.exercises.catalogue import ExerciseError, load_tasks, topic_of, topics
from tutorial_lib.exercises.runner import Runner
from tutorial_lib.exercises.submission import read_submission
from tutorial_lib.exercises.task import NOT_TRIED, Result, cases_of, judge
from tutorial_lib.run_folder import replacing

COLUMNS = ("student", "assignment", "task", "points", "possible", "diagnosis")


@dataclass(frozen=True)
class Grade:
    """What one submission got.

    Attributes:
        results: one a task.
        trouble: why nothing could be graded; empty if it could.
        remarks: what was odd about the notebook.
    """

    results: tuple[Result, ...]
    trouble: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def points(self) -> int:
        """All points won."""
        return sum(result.total for result in self.results)

    @property
    def possible(self) -> int:
        """All points that can be won."""
        return sum(sum(result.possible.values()) for result in self.results)


def grade_notebook(path: Path, topic: str, course: Path, seed: str, runner: Runner) -> Grade:
    """Run every task of one notebook on hidden inputs and judge the answers. Whatever the notebook does, a Grade comes back."""
    tasks = load_tasks(course, topic)
    nothing = tuple(
        Result(name, dict.fromkeys(task.points, 0), dict(task.points))
        for name, task in tasks.items()
    )
    try:
        submission = read_submission(path, tasks)
    except ExerciseError as error:
        return Grade(nothing, trouble=str(error))
    results = []
    for name, task in tasks.items():
        if name not in submission.answers:
            results.append(
                Result(name, dict.fromkeys(task.points, 0), dict(task.points), NOT_TRIED)
            )
            continue
        cases = cases_of(task, seed)
        outcome = runner.run(
            name, submission.answers[name], submission.helpers, [case.arguments for case in cases]
        )
        results.append(judge(task, cases, outcome))
    return Grade(tuple(results), remarks=submission.remarks)


def grade_all(
    submissions: Path, out: Path, course: Path, seed: str, say: Callable[[str], None] = print
) -> Path:
    """Grade ``submissions/STUDENT/ASSIGNMENT[/ASSIGNMENT].ipynb`` and write ``grades.csv`` and one feedback page a submission to `out`.

    A submission that has been graded and has not changed since is not graded again; an interrupted run so goes on where it stopped.

    Raises:
        ExerciseError: `submissions` is no folder with students' folders in it.
    """
    work = list(_find(submissions, course))
    if not work:
        raise ExerciseError(
            f"no submissions in {submissions}: it must hold a folder a student, with their notebooks in it"
        )
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    with Runner() as runner:
        for number, (student, topic, path) in enumerate(work, start=1):
            kept = out / student / f"{topic}.json"
            digest = _digest(path, course / "checks" / f"{topic}.py", seed)
            grade = _kept(kept, digest)
            again = grade is not None
            if grade is None:
                grade = grade_notebook(path, topic, course, seed, runner)
                kept.parent.mkdir(parents=True, exist_ok=True)
                _write(out / student / f"{topic}.html", feedback(student, topic, grade))
                _write(
                    kept,
                    json.dumps(
                        {"digest": digest, "grade": asdict(grade)}, ensure_ascii=False, indent=1
                    ),
                )
            say(
                f"[{number}/{len(work)}] {student} {topic}: {grade.points} of {grade.possible}"
                + (" (unchanged)" if again else "")
            )
            rows += [
                (
                    student,
                    topic,
                    result.function,
                    result.total,
                    sum(result.possible.values()),
                    grade.trouble or result.diagnosis,
                )
                for result in grade.results
            ]
    return _write_table(out / "grades.csv", rows)


def feedback(student: str, topic: str, grade: Grade) -> str:
    """Return the page that goes back to the student: points and diagnoses, and nothing that was run."""
    lines = []
    for result in grade.results:
        parts = "; ".join(
            f"{idea}: {won} of {result.possible[idea]}" for idea, won in result.points.items()
        )
        cells = [
            result.function,
            f"{result.total} of {sum(result.possible.values())}",
            parts,
            result.diagnosis or ("" if grade.trouble else "all right"),
        ]
        lines.append(
            "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>"
        )
    remarks = "".join(
        f"<p>{html.escape(remark)}</p>" for remark in [grade.trouble, *grade.remarks] if remark
    )
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(topic)}</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
td, th {{ text-align: left; vertical-align: top; padding: 0.3rem 1rem 0.3rem 0; border-bottom: 1px solid #ccc; }}</style></head>
<body><h1>{html.escape(topic)}: {grade.points} of {grade.possible} points</h1><p>{html.escape(student)}</p>{remarks}
<table><tr><th>task</th><th>points</th><th>ideas</th><th>what to look at</th></tr>{"".join(lines)}</table></body></html>
"""


def _find(submissions: Path, course: Path) -> Iterator[tuple[str, str, Path]]:
    known = topics(course)
    for student in sorted(
        path for path in submissions.glob("*") if path.is_dir() and not path.name.startswith(".")
    ):
        for topic in known:
            places = [
                student / topic / f"{topic}.ipynb",
                student / f"{topic}.ipynb",
                *sorted((student / topic).glob("*.ipynb")),
            ]
            found = next(
                (path for path in places if path.is_file() and not path.is_symlink()), None
            )
            if found is not None:
                yield (
                    student.name,
                    topic_of(found, course) if found.stem[:2] == topic[:2] else topic,
                    found,
                )


def _digest(path: Path, checks: Path, seed: str) -> str:
    digest = hashlib.sha256(seed.encode())
    for file in (path, checks):
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _kept(path: Path, digest: str) -> Grade | None:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["digest"] != digest:
            return None
        grade = kept["grade"]
        return Grade(
            tuple(Result(**result) for result in grade["results"]),
            grade["trouble"],
            tuple(grade["remarks"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_table(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return path


def _write(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
