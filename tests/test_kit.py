"""The student kit: nothing hidden is in it, and everything that it offers runs there."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
import torch

from tutorial_lib.exercises.catalogue import topics
from tutorial_lib.exercises.kit import build_kit, student_version
from tutorial_lib.exercises.visible import CASES

ROOT = Path(__file__).parent.parent
ASSIGNMENTS = ROOT / "exercises"
TOPICS = topics(ASSIGNMENTS)
README = student_version(ROOT / "README.md").decode()
MAKEFILE = student_version(ROOT / "Makefile").decode()
TARGETS = re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE)
# What the commands get in addition, so that they take seconds.
SMALL = "--max-steps 1 --limit-rows 64 --evaluation-rows 4"
REDUCED = {
    "-m tutorial_lib.train*": SMALL,
    "-m tutorial_lib.launch*": SMALL,
    "-m tutorial_lib.course*": "00",
    "-m tutorial_lib.tinyworld pretrain*": "--steps 1",
    "-m pip*": "--dry-run --no-deps --no-build-isolation",
}
REPLACED = {
    "DIR_OR_FILE_OR_HUB_ID": "tinyworld",
    "DIR_OR_HUB_ID": "tinyworld",
    "venv .venv": "venv --without-pip .venv-by-hand",
}
REFUSED = {"configs/fsdp2_8.yaml": "no accelerator"}  # what a command says on a small machine


def readme_commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and line[0] != "#"]


@pytest.fixture(scope="module")
def kit(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kit")
    build_kit(ROOT, folder / "kit.zip")
    with zipfile.ZipFile(folder / "kit.zip") as file:
        file.extractall(folder)
    return folder / "student-kit"


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture(scope="module")
def shell(kit):
    """Run a command line in the kit, whose set-up is this Python with reduced options."""
    programs = kit / ".venv" / "bin"
    programs.mkdir(parents=True)
    cases = "\n".join(
        f'"{start.rstrip("*")}"*) set -- "$@" {more};;' for start, more in REDUCED.items()
    )
    script(programs / "python", f'case "$*" in\n{cases}\nesac\nexec "{sys.executable}" "$@"\n')
    script(programs / "jupyter", 'test "$1" = lab && test -f "$2" && echo "JupyterLab: $2"\n')
    (kit / ".venv" / ".ready").touch()
    # For the Makefile, these have been run; for the book, they have their prose with its links.
    executed = kit / "runs" / "course"
    executed.mkdir(parents=True)
    for path in (kit / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
        nbformat.write(notebook, executed / path.name)
    environment = {name: value for name, value in os.environ.items() if "TUTORIAL" not in name}
    environment |= {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(kit),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }

    def run(line: str) -> subprocess.CompletedProcess:
        for old, new in REPLACED.items():
            line = line.replace(old, new)
        return subprocess.run(
            line,
            shell=True,
            cwd=kit,
            env=environment,
            input="法国的首都是哪里？\n",
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


def test_the_kit_offers_the_students_targets_and_no_others(shell):
    assert TARGETS == ["help", "lab", "run", "book", "clean"]
    printed = shell("make help").stdout
    assert re.findall(r"^  make ([a-z-]+)", printed, re.MULTILINE) == TARGETS
    mentioned = re.findall(r"`(?:\w+=\S+ )?make ([a-z-]+)", README)
    assert set(mentioned) <= set(TARGETS)


@pytest.mark.slow
@pytest.mark.parametrize("line", [*readme_commands(), *(f"make {t}" for t in TARGETS)])
def test_every_command_of_the_readme_and_the_makefile_runs(line, kit, shell):
    done = shell(line)
    refusal = next((message for word, message in REFUSED.items() if word in line), None)
    if refusal and not torch.accelerator.is_available():
        assert done.returncode == 1
        assert refusal in done.stderr
        return
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (kit / "runs").exists() == (line != "make clean")


@pytest.mark.parametrize("name", ["README.md", "exercises/README.md"])
def test_every_link_leads_somewhere(name, kit):
    text = (kit / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (kit / name).parent.joinpath(link).exists()] == []
    assert "not in the student kit" not in text


# --- nothing hidden ------------------------------------------------------------------------------


def hidden_lines() -> set[str]:
    """Every line of solutions, references and mistakes that says something of its own."""
    texts = [
        path.read_text(encoding="utf-8")
        for folder in ("checks", "mistakes", "attacks")
        for path in (ASSIGNMENTS / folder).rglob("*.py")
    ]
    public: set[str] = set()  # e.g. names, arguments, the faulty code of a debugging task
    for topic in TOPICS:
        for cell in nbformat.read(ASSIGNMENTS / f"source/{topic}/{topic}.ipynb", 4).cells:
            pattern = r"### BEGIN SOLUTION\n(.*?)### END"
            texts += re.findall(pattern, cell.source, re.DOTALL)
        for cell in nbformat.read(ASSIGNMENTS / f"release/{topic}/{topic}.ipynb", 4).cells:
            public |= {line.strip() for line in cell.source.splitlines()}
    visible_cases = CASES.read_text(encoding="utf-8")
    lines = {line.strip() for text in texts for line in text.splitlines()} - public
    quoted = {
        line
        for line in lines
        if line.startswith("Case(") and line.rstrip(",)").rsplit('"', 2)[-2:][0] in visible_cases
    }
    return {
        line
        for line in lines - quoted
        if len(line) >= 30 and not line.startswith(("import ", "from ", "def "))
    }


def text_of(path: Path) -> str:
    text = path.read_bytes().decode("utf-8", errors="replace")
    if path.suffix == ".ipynb":
        text += "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return text


def test_the_kit_holds_nothing_hidden(kit):
    names = {path.relative_to(kit).as_posix() for path in kit.rglob("*")}
    assert {"README.md", "configs/fsdp2_8.yaml", "examples/finetune.py"} <= names
    assert "exercises/release/04_label_masking/04_label_masking.ipynb" in names
    hidden = ("checks", "source", "mistakes", "attacks", ".git", "nbgrader_config.py", "tests")
    assert [name for name in names if set(name.split("/")) & set(hidden)] == []
    lines = hidden_lines()
    assert len(lines) > 500
    leaks = []
    for name in names:
        if (kit / name).is_file() and not name.startswith((".venv", "runs")):
            text = text_of(kit / name)
            leaked = lines & {line.strip() for line in text.splitlines()}
            leaked |= {line for line in lines if len(line) >= 60 and line in text}
            leaks += [(name, line) for line in sorted(leaked)]
    assert leaks == []


def test_an_exercise_is_solved_in_the_kit_and_its_hidden_check_is_not_there(kit):
    solve = (
        "from tutorial_lib.exercises import check\n"
        "def mask_prompt(input_ids, prompt_length):\n"
        "    return [-100 if i < prompt_length else t for i, t in enumerate(input_ids)]\n"
        "check(mask_prompt)"
    )

    def python(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, *arguments]
        options = {"cwd": kit, "env": {"PYTHONPATH": str(kit)}, "capture_output": True}
        return subprocess.run(command, text=True, check=False, **options)

    done = python("-c", solve)
    assert "mask_prompt: 2 cases are right" in done.stdout, done.stderr
    notebook = "exercises/release/04_label_masking/04_label_masking.ipynb"
    done = python("-m", "tutorial_lib.exercises", "check", notebook)
    assert done.returncode == 1
    assert "not in this kit" in done.stderr
