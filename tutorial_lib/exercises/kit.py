"""The student kit: the files that git tracks in some folders, without instructors' parts."""

import re
import subprocess
import zipfile
from pathlib import Path

from tutorial_lib.exercises.catalogue import ExerciseError
from tutorial_lib.run_folder import replacing

# A list of what goes in, so that a new hidden folder stays out by itself.
FOLDERS = ("configs/", "docs/", "examples/", "exercises/release/", "notebooks/", "tutorial_lib/")
FILES = (
    ".gitignore",
    "LICENSE",
    "Makefile",
    "README.md",
    "constraints.txt",
    "exercises/README.md",
    "pyproject.toml",
)
# What is cut out of a file, by the ending of its name.
CUTS = {
    ".md": r"\n<!-- not in the student kit -->\n.*?<!-- end: not in the student kit -->\n",
    "Makefile": r"^# ---- For maintainers.*",
}


def build_kit(root: Path, target: Path) -> list[str]:
    """Write the student kit as a zip file; return the names of the files in it.

    Raises:
        ExerciseError: `root` is not a git checkout.
    """
    git = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False
    )
    if git.returncode:
        raise ExerciseError(f"{root} is not a git checkout: the kit is made of what git tracks")
    tracked = git.stdout.split("\0")
    names = [name for name in tracked if name.startswith(FOLDERS) or name in FILES]
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as kit:
        for name in names:
            kit.writestr(f"student-kit/{name}", student_version(root / name))
    return names


def student_version(path: Path) -> bytes:
    """Return the content of a file as it is in the kit."""
    content = path.read_bytes()
    for ending, cut in CUTS.items():
        if path.name.endswith(ending):
            text = re.sub(cut, "", content.decode(), flags=re.DOTALL | re.MULTILINE)
            content = (text.rstrip() + "\n").encode()
    return content
