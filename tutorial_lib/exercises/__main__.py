"""``python -m tutorial_lib.exercises``: check one's own notebook, grade a class, make what students get."""

import argparse
import secrets
from collections.abc import Sequence
from pathlib import Path

from tutorial_lib.command import run_command
from tutorial_lib.exercises.catalogue import ExerciseError, find_course, secret_seed, topic_of
from tutorial_lib.exercises.grading import Grade, grade_all, grade_notebook
from tutorial_lib.exercises.release import build_kit, release_all
from tutorial_lib.exercises.runner import Runner
from tutorial_lib.profiles import runs_dir


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the first word says."""
    parser = argparse.ArgumentParser(
        prog="python -m tutorial_lib.exercises",
        description="Check, grade and hand out the exercises.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser(
        "check", help="grade your own copy with hidden inputs: points, and what to look at"
    )
    check.add_argument("notebooks", nargs="+", type=Path)
    grade = commands.add_parser("grade", help="grade a folder of students' folders")
    grade.add_argument("submissions", type=Path)
    grade.add_argument(
        "--out",
        type=Path,
        default=runs_dir() / "grades",
        help="where grades.csv and the feedback go (default: runs/grades)",
    )
    commands.add_parser(
        "release", help="make the students' notebooks from the sources (needs nbgrader)"
    )
    kit = commands.add_parser("kit", help="make the student kit")
    kit.add_argument("--out", type=Path, default=Path("dist/student-kit.zip"))
    options = parser.parse_args(arguments)
    course = find_course()
    if options.command == "check":
        _check(options.notebooks, course)
    elif options.command == "grade":
        print("grades:", grade_all(options.submissions, options.out, course, secret_seed(course)))
    elif options.command == "release":
        print("\n".join(map(str, release_all(course))))
    else:
        print(f"{len(build_kit(course.parent, options.out))} files in {options.out}")


def _check(notebooks: Sequence[Path], course: Path) -> None:
    with Runner() as runner:
        for path in notebooks:
            if not path.is_file():
                raise ExerciseError(f"no notebook {path}: check the path")
            topic = topic_of(path, course)
            grade = grade_notebook(
                path, topic, course, secrets.token_hex(8), runner
            )  # other inputs each time
            _show(topic, grade)


def _show(topic: str, grade: Grade) -> None:
    print(
        f"{topic}: {grade.points} of {grade.possible} points"
        + (f" ({grade.trouble})" if grade.trouble else "")
    )
    for result in grade.results:
        mark = "✓" if result.total == sum(result.possible.values()) else "·"
        print(
            f"  {mark} {result.function:<20}{result.total} of {sum(result.possible.values())}   {result.diagnosis}"
        )
    for remark in grade.remarks:
        print(f"  {remark}")


if __name__ == "__main__":
    run_command(main)
