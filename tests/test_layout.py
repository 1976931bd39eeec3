"""What holds of the project as a whole: clean notebooks, the file tree, imports, versions."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MODULES = sorted((ROOT / "tutorial_lib").rglob("*.py"))
PACKAGE = "tutorial_lib"
MODES_THAT_HIDE_FAILURES = ("allow_errors",)
TAGS_THAT_HIDE_FAILURES = ("raises-exception", "skip-execution")


@cache
def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


# --- notebooks -----------------------------------------------------------------------------------


def name_of(path: Path) -> str:
    return path.stem


@pytest.fixture(params=NOTEBOOKS, ids=name_of)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_notebook_is_valid_and_has_no_outputs(notebook):
    nbformat.validate(notebook)
    for cell in code_cells(notebook):
        assert not cell.outputs, cell.source
        assert cell.execution_count is None, cell.source


def test_notebook_can_not_pass_with_a_failing_cell(notebook):
    assert not any(
        mode in notebook.metadata or mode in notebook.metadata.get("execution", {})
        for mode in MODES_THAT_HIDE_FAILURES
    )
    for cell in notebook.cells:
        assert not set(TAGS_THAT_HIDE_FAILURES) & set(cell.metadata.get("tags", [])), cell.source
        assert "nbmake" not in cell.metadata


def test_notebook_asks_for_the_kernel_that_the_setup_registers(notebook):
    assert notebook.metadata.kernelspec.name == "python3"


def test_links_to_files_lead_somewhere(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#\s]+)", cell.source):
                assert "://" in target or (ROOT / "notebooks" / target).exists(), target


# --- the library ---------------------------------------------------------------------------------


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, *, lazy: bool) -> set[str]:
    """The project's modules that a module imports at its top, or (lazy) anywhere."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if lazy else tree.body
    names = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(PACKAGE):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.startswith(PACKAGE)}
    return names & {module_name(module) for module in MODULES} - {PACKAGE}


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen, front = set(), {start}
    while front:
        front = set().union(*(graph[name] for name in front)) - seen
        seen |= front
    return seen


@pytest.mark.parametrize("lazy", [False, True], ids=["at the top", "anywhere"])
def test_imports_make_no_circle(lazy):
    graph = {
        module_name(path): imports_of(path, lazy=lazy) - {module_name(path)} for path in MODULES
    }
    assert [name for name in graph if name in reachable(graph, name)] == []


def tree() -> dict[str, str]:
    """The annotated file tree of CONTRIBUTING: path -> what it says, in its order."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = re.search(r"```text\n(.*?)```", text, re.DOTALL)[1]
    entries, folders = {}, []
    for line in block.splitlines():
        indent, name, words = re.match(r"( *)(\S+) *(.*)", line).groups()
        folders = folders[: len(indent) // 2]
        entries["".join([*folders, name])] = words
        folders.append(name)
    return entries


def test_the_tree_in_contributing_names_every_file_and_says_what_it_is():
    entries = tree()
    assert [path for path in entries if not (ROOT / path).exists()] == []
    assert [path for path, words in entries.items() if not words] == []
    described = [f"{PACKAGE}/", *(path for path in entries if path.startswith(f"{PACKAGE}/"))]
    files = {path.relative_to(ROOT).as_posix() for path in MODULES}
    not_named = {name for name in files if not name.endswith("__init__.py")} - set(described)
    assert not_named == set()
    top = {path.relative_to(ROOT).parts[0] for path in tracked_files()}
    assert {name for name in top if (ROOT / name).is_dir() and name[0] != "."} == {
        path.rstrip("/") for path in entries if path.count("/") == 1 and path.endswith("/")
    }


def test_modules_import_only_what_stands_above_them_in_the_tree():
    order = [path.removesuffix(".py") for path in tree() if path.startswith(f"{PACKAGE}/")]

    def position(module: str) -> int:
        path = module.replace(".", "/")
        return order.index(path if path in order else f"{path}/")

    upward = [
        f"{module_name(path)} imports {imported}"
        for path in MODULES
        if path.stem != "__init__" and path.parent.name not in ("exercises", "tinyworld", "book")
        for imported in imports_of(path, lazy=True)
        if position(imported) > position(module_name(path))
    ]
    assert upward == []


# --- set-up --------------------------------------------------------------------------------------


@cache
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements() -> list[Requirement]:
    texts = [
        *project()["dependencies"],
        *(text for extra in project()["optional-dependencies"].values() for text in extra),
    ]
    return [Requirement(text) for text in texts]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {
        canonicalize_name(name): version
        for name, version in (line.split("==") for line in lines if line and line[0] != "#")
    }


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_the_tested_version_of_each_dependency_is_pinned_and_within_its_range(requirement):
    version = pins().get(canonicalize_name(requirement.name))
    assert version is not None, f"constraints.txt does not pin {requirement.name}"
    assert requirement.specifier.contains(version), (
        f"{requirement} does not admit the tested {version}"
    )


def test_what_the_library_imports_is_declared():
    declared = {canonicalize_name(requirement.name) for requirement in requirements()} | {
        "ipython",
        canonicalize_name(project()["name"]),
    }
    distributions = packages_distributions()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            roots = []
            if isinstance(node, ast.Import):
                roots = [alias.name.split(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                roots = [node.module.split(".")[0]]
            for root in roots:
                offered = {canonicalize_name(name) for name in distributions.get(root, [])}
                assert root in {*sys.stdlib_module_names, PACKAGE} or offered & declared, (
                    f"{path.name} imports {root}"
                )


# --- every file ----------------------------------------------------------------------------------


def test_nothing_that_a_run_makes_is_tracked():
    for path in tracked_files():
        assert path.relative_to(ROOT).parts[0] not in {"runs", ".venv", ".venv-latest", "site"}, (
            path
        )


def test_large_files_are_the_shipped_models_alone():
    for path in tracked_files():
        limit = 16_000_000 if path.suffix == ".safetensors" else 1_000_000
        assert path.stat().st_size <= limit, path
