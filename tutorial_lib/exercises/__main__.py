"""``python -m tutorial_lib.exercises``: check a notebook, grade a class, make what students get."""

import argparse
import secrets
from collections.abc import Sequence
from pathlib import Path

from tutorial_lib.command import run_command
from tutorial_lib.exercises.catalogue import ExerciseError, find_assignments, secret_seed, topic_of
from tutorial_lib.profiles import runs_dir


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the commands: check, grade, release or kit."""
    parser = argparse.ArgumentParser(
        prog="python -m tutorial_lib.exercises",
        description="Check, grade and hand out the exercises.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="grade your own notebook on hidden inputs")
    check.add_argument("notebooks", nargs="+", type=Path)
    grade = commands.add_parser("grade", help="grade a class: one folder per student")
    grade.add_argument("submissions", type=Path)
    out = "where grades.csv and the feedback go (default: runs/grades)"
    grade.add_argument("--out", type=Path, default=runs_dir() / "grades", help=out)
    release = commands.add_parser("release", help="make the students' notebooks from the sources")
    course = "write nbgrader's course, with hidden tests, into this folder instead"
    release.add_argument("--nbgrader", type=Path, metavar="FOLDER", help=course)
    kit = commands.add_parser("kit", help="make the student kit")
    kit.add_argument("--out", type=Path, default=Path("dist/student-kit.zip"))
    options = parser.parse_args(arguments)

    assignments = find_assignments()
    if options.command in ("check", "grade"):
        _grade(options, assignments)
    elif options.command == "release":
        from tutorial_lib.exercises.release import release_all, write_nbgrader_course

        folder = options.nbgrader
        files = write_nbgrader_course(assignments, folder) if folder else release_all(assignments)
        print("\n".join(map(str, files)))
    else:
        from tutorial_lib.exercises.kit import build_kit

        print(f"{len(build_kit(assignments.parent, options.out))} files in {options.out}")


def _grade(options: argparse.Namespace, assignments: Path) -> None:
    try:
        from tutorial_lib.exercises.grading import grade_all, grade_notebook
    except ModuleNotFoundError as error:
        if error.name != "resource":
            raise
        message = "grading needs Linux or macOS: Windows can't limit a process's time and memory"
        raise ExerciseError(message) from None
    if options.command == "grade":
        seed = secret_seed(assignments)
        print("grades:", grade_all(options.submissions, options.out, assignments, seed))
        return
    for path in options.notebooks:
        if not path.is_file():
            raise ExerciseError(f"{path} does not exist: check the path")
        topic = topic_of(path, assignments)
        grade = grade_notebook(path, topic, assignments, secrets.token_hex(8))
        trouble = f" ({grade.trouble})" if grade.trouble else ""
        print(f"{topic}: {grade.points} of {grade.possible} points{trouble}")
        for result in grade.results:
            mark = "✓" if result.total == result.maximum else "·"
            score = f"{result.total} of {result.maximum}"
            print(f"  {mark} {result.function:<20}{score}   {result.diagnosis}")
        for remark in grade.remarks:
            print(f"  {remark}")


if __name__ == "__main__":
    run_command(main)
