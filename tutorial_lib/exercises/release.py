"""The instructor's workshop: students' notebooks and their visible checks out of the sources, and the kit that is handed out."""

import json
import subprocess
import zipfile
from pathlib import Path

import nbformat

from tutorial_lib.exercises.catalogue import ExerciseError, load_tasks, topics
from tutorial_lib.exercises.task import call
from tutorial_lib.exercises.visible import CASES
from tutorial_lib.run_folder import replacing

STUB = "# your code here"
# Of what git tracks, what a student gets. Nothing else goes along, so that a new hidden folder stays out by itself.
KIT = ("notebooks/", "tutorial_lib/", "exercises/release/", "docs/")
KIT_FILES = (
    "exercises/README.md",
    "pyproject.toml",
    "constraints.txt",
    "Makefile",
    "README.md",
    "LICENSE",
    ".gitignore",
)


def released(source: Path) -> str:
    """Return a source notebook as students get it: without solutions, hidden tests and outputs.

    Raises:
        ExerciseError: nbgrader is not installed.
    """
    try:
        from nbgrader.preprocessors import ClearHiddenTests, ClearOutput, ClearSolutions
    except ImportError:
        raise ExerciseError("nbgrader is not installed: pip install -e '.[instructor]'") from None
    notebook, resources = nbformat.read(source, as_version=4), {}
    for preprocessor in (
        ClearSolutions(code_stub={"python": STUB}),
        ClearHiddenTests(),
        ClearOutput(),
    ):
        notebook, resources = preprocessor.preprocess(notebook, resources)
    return nbformat.writes(notebook) + "\n"


def visible_cases(course: Path) -> str:
    """Return the visible cases of all tasks with what they expect, as JSON."""
    cases = {}
    for topic in topics(course):
        for name, task in load_tasks(course, topic).items():
            cases[name] = [
                {
                    "idea": case.idea,
                    "words": case.words,
                    "arguments": list(case.arguments),
                    "expected": call(task.reference, case).value,
                    "tolerance": task.tolerance,
                }
                for case in task.visible
            ]
    return json.dumps(cases, ensure_ascii=False, indent=1) + "\n"


def release_all(course: Path) -> list[Path]:
    """Write the students' notebooks and the visible cases; return what was written."""
    written = []
    for topic in topics(course):
        target = course / "release" / topic / f"{topic}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(released(course / "source" / topic / f"{topic}.ipynb"), encoding="utf-8")
        written.append(target)
    CASES.write_text(visible_cases(course), encoding="utf-8")
    return [*written, CASES]


def build_kit(root: Path, target: Path) -> list[str]:
    """Write the student kit as a zip file; return the names of the files in it: what git tracks, of a list of folders.

    Raises:
        ExerciseError: `root` is no checkout.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        raise ExerciseError(f"{root} is no git checkout: the kit is made of what git tracks")
    names = [
        name for name in listed.stdout.split("\0") if name.startswith(KIT) or name in KIT_FILES
    ]
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as kit:
        for name in names:
            kit.write(root / name, f"student-kit/{name}")
    return names
