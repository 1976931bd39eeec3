"""A lesson misleads nobody: its quizzes are right, and each figure in its prose has a source.

The metadata of a Markdown cell name the source of each figure in it, in the entry "figures":
    "840": "06-03"                  the code cell whose output shows it
    "1,536": "code 05-03"           the code cell that contains it
    "15": "arXiv 1810.04805"        a paper; or "article", "documentation"
    "64": "example"                 nothing that anybody measured; or "wrong choice" of a quiz
A test that fails says what to mark; after `make run` it knows the cells whose output shows it.
`make test` runs the notebooks and then this file with EXECUTED_NOTEBOOKS, which reads the outputs.
"""

import os
import re
from functools import cache
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXECUTED = os.environ.get("EXECUTED_NOTEBOOKS")
needs_outputs = pytest.mark.skipif(
    EXECUTED is None, reason="`make test` sets EXECUTED_NOTEBOOKS once the notebooks have run"
)


@cache
def read(path: Path):
    return nbformat.read(path, as_version=4)


def executed() -> list[Path]:
    """The executed notebooks, or those of the last `make run`; without either, none."""
    return sorted(Path(EXECUTED or ROOT / "runs" / "course").glob("*.ipynb"))


def cells(kind: str, paths: list[Path] = NOTEBOOKS) -> list:
    return [cell for path in paths for cell in read(path).cells if cell.cell_type == kind]


EVERYTHING = {path.name for path in executed()} >= {path.name for path in NOTEBOOKS}


def id_of(cell) -> str:
    return cell.id


PROSE = cells("markdown")


def test_cell_ids_are_unique():
    ids = [cell.id for path in NOTEBOOKS for cell in read(path).cells]
    twice = sorted({id for id in ids if ids.count(id) > 1})
    assert not twice, f"give each cell of a new notebook an id of its own, such as 13-00: {twice}"


# --- quizzes -------------------------------------------------------------------------------------

CHOICE = re.compile(r"<details><summary>([A-Z])\. (.+?)</summary>(.+?)</details>", re.DOTALL)


@pytest.mark.parametrize("cell", [cell for cell in PROSE if "<details>" in cell.source], ids=id_of)
def test_one_choice_is_right_and_each_is_explained(cell):
    before, *questions = cell.source.split("**Predict first.**")
    assert "<details>" not in before, "choices without a question"
    for question in questions:
        choices = CHOICE.findall(question)
        assert len(choices) == question.count("<details>"), f"a choice is malformed: {question}"
        assert [letter for letter, *_ in choices] == list("ABCDE"[: len(choices)]), question
        explanations = [explanation for *_, explanation in choices]
        assert all(text.startswith(("Right", "Not quite:")) for text in explanations), question
        assert sum(text.startswith("Right") for text in explanations) == 1, question
        assert "`" not in str(choices), "a fold is HTML: <code>, not backticks"


# --- figures in prose ----------------------------------------------------------------------------

NUMBER = re.compile(r"(?<![\w.])\d(?:[\d,_.]*\d)?(?:e-?\d+)?", re.ASCII)
NO_FIGURE = re.compile(
    r"```.*?```|`[^`]*`|<code>.*?</code>|\]\([^)]*\)|<a [^>]*>"  # code, and addresses of links
    r"|^\*\*Time\.\*\*[^\n]*"  # an estimate
    r"|^# \d\d |\[\d\d (?=[^\]]*\]\()|\bnotebooks? \d\d(?: (?:to|and) \d\d)?|\b0\d\b"  # notebooks
    r"|\b(?:part|section|arXiv) \d[\d.]*",  # numbers of sections and papers
    re.DOTALL | re.IGNORECASE | re.MULTILINE,
)
OTHER_SOURCE = re.compile(r"article|documentation|arXiv \d{4}\.\d{4,5}|example|wrong choice")


def figures_in(source: str) -> list[re.Match]:
    """Find the numbers of two or more digits, and the percentages, outside of NO_FIGURE."""
    text = NO_FIGURE.sub(lambda skipped: " " * len(skipped[0]), source)
    return [
        number
        for number in NUMBER.finditer(text)
        if len(re.findall(r"\d", number[0])) > 1 or text[number.end() :].lstrip().startswith("%")
    ]


def output_of(cell) -> str:
    texts = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        html = re.sub(r"<style.*?</style>|<[^>]*>", " ", data.get("text/html", ""), flags=re.DOTALL)
        texts += [output.get("text", ""), html]
        texts += [data.get(kind, "") for kind in ("text/plain", "text/markdown")]
    return "\n".join(texts)


def shows(text: str, figure: str) -> bool:
    """Whether a text has this number: 750,841,344 is also 751 (million) and 0.75 (billion)."""
    decimals = len(figure.partition(".")[2])
    forms = set()
    for number in NUMBER.findall(text):
        plain = re.sub("[,_]", "", number)
        forms.add(plain)
        if plain.isdigit() and len(plain) > 6:
            forms |= {f"{int(plain) / unit:.{decimals}f}" for unit in (1e6, 1e9)}
    return figure.replace(",", "") in forms


def without_source(source: str, marks: dict[str, str]) -> set[str]:
    """The figures of a Markdown cell that have no mark, and the marks that have no figure."""
    return {figure[0] for figure in figures_in(source)} ^ set(marks)


def marks_of(cell) -> dict[str, str]:
    return cell.metadata.get("figures", {})


def advice(cell, figure: str) -> str:
    """Say what to change in a Markdown cell's metadata about a figure."""
    if figure not in {number[0] for number in figures_in(cell.source)}:
        return f'cell {cell.id}: remove "{figure}" from "figures", it is not in the prose'
    [name] = (path.name for path in NOTEBOOKS if cell in read(path).cells)
    same = [path for path in executed() if path.name == name]
    code = cells("code", same or [path for path in NOTEBOOKS if path.name == name])
    sources = [f'"{cell.id}"' for cell in code if shows(output_of(cell), figure)]
    sources += [f'"code {cell.id}"' for cell in code if shows(cell.source, figure)]
    choice = " or ".join([*sources, OTHER_SOURCE.pattern])
    mark = marks_of(cell).get(figure)
    problem = f"does not find it in {mark}" if mark else "has no source"
    return f'cell {cell.id}: "figures" {problem} for "{figure}"; its source can be {choice}'


MARKS = [(cell, figure, source) for cell in PROSE for figure, source in marks_of(cell).items()]


def test_each_figure_in_prose_is_marked_with_its_source():
    todo = [
        advice(cell, figure)
        for cell in PROSE
        for figure in without_source(cell.source, marks_of(cell))
    ]
    assert not todo, "\n" + "\n".join(todo)


def test_the_sources_of_figures_exist():
    code = {cell.id: cell.source for cell in cells("code")}
    wrong = [
        advice(cell, figure)
        for cell, figure, source in MARKS
        if not OTHER_SOURCE.fullmatch(source)
        and source not in code
        and not shows(code.get(source.removeprefix("code "), ""), figure)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@needs_outputs
def test_outputs_show_the_figures_that_are_marked_with_their_cells():
    outputs = {cell.id: output_of(cell) for cell in cells("code", executed())}
    stale = [
        advice(cell, figure)
        for cell, figure, source in MARKS
        if not OTHER_SOURCE.fullmatch(source)
        and not source.startswith("code ")
        and (EVERYTHING or source in outputs)
        and not shows(outputs.get(source, ""), figure)
    ]
    assert not stale, "\n" + "\n".join(stale)


def test_at_least_98_of_100_changed_figures_are_noticed():
    changes = [(cell, figure) for cell in PROSE for figure in figures_in(cell.source)]
    count = 0
    for cell, figure in changes:
        other = re.sub(r"\d", lambda digit: str((int(digit[0]) + 3) % 10), figure[0])
        source = cell.source[: figure.start()] + other + cell.source[figure.end() :]
        count += bool(without_source(source, marks_of(cell)))
    print(f"{count} of {len(changes)} changed figures are noticed")
    assert count >= 0.98 * len(changes)


def test_advice_names_the_cells_that_show_a_figure_or_asks_to_remove_it():
    [cell] = (cell for cell in PROSE if cell.id == "05-04")
    assert '"code 05-03"' in advice(cell, "1,536")
    assert 'remove "1,537"' in advice(cell, "1,537")


@pytest.mark.parametrize(
    ("prose", "figures"),
    [
        ("a loss of 1.25 on 4,096 tokens, 8 rows, 32个", ["1.25", "4,096", "32"]),
        ("87 % are right, 6 % are not; 16GB, 5e-5, -100", ["87", "6", "16", "5e-5", "100"]),
        ("> The article says 180 GB.", ["180"]),
        ("<summary>A. 77</summary>Not quite: 78.", ["77", "78"]),
        ("`max_length=999`, <code>98</code> and [97](96.ipynb), [08 what next](08.ipynb)", ["97"]),
        ("**Time.** About 15 minutes\n64 found by arXiv 2309.14316, section 3.2", ["64"]),
        ("# 10 · What breaks\nsee notebook 11 and part 3.2", []),
    ],
)
def test_what_counts_as_a_figure(prose, figures):
    assert [figure[0] for figure in figures_in(prose)] == figures


@pytest.mark.parametrize(
    ("text", "figure", "answer"),
    [
        ("loss 1.25", "1.25", True),
        ("loss 1.254", "1.25", False),
        ("26_858 rows", "26,858", True),
        ("126,858 rows", "26,858", False),
        ("750,841,344 parameters", "751", True),
        ("750,841,344 parameters", "0.75", True),
        ("750,841,344 parameters", "750", False),
        ("asking for 4096 tokens", "96", False),
    ],
)
def test_a_figure_is_shown_as_a_whole_number(text, figure, answer):
    assert shows(text, figure) == answer


# --- results of executed notebooks ----------------------------------------------------------------


def output_of_notebook(stem: str) -> str:
    return "\n".join(map(output_of, cells("code", [Path(EXECUTED) / f"{stem}.ipynb"])))


def shares_after(label: str, text: str) -> list[float]:
    """The percentages in the first line that begins with `label`."""
    line = next(line for line in text.splitlines() if line.startswith(label))
    return [float(share) / 100 for share in re.findall(r"([\d.]+)%", line)]


@needs_outputs
def test_the_articles_recipe_in_07_teaches_to_answer():
    text = output_of_notebook("07_trainer")
    for language in ("zh", "en"):
        [share] = shares_after(f"held-out questions answered exactly, {language}", text)
        assert share >= 0.9, language
    [stopped] = shares_after("stopped by itself", text)
    assert stopped >= 0.99


@needs_outputs
def test_most_changes_of_10_do_clear_harm():
    lines = re.findall(
        r"^(.{32}) *([\d.]+)% *([\d.]+)% +(\S+)   (clear|small|none measured)$",
        output_of_notebook("10_what_breaks"),
        re.MULTILINE,
    )
    assert len(lines) >= 13
    assert sum(harm == "clear" for *_, harm in lines) >= 8
    harmless = next(line for line in lines if line[0].strip() == "nothing changed")
    assert float(harmless[1]) > 75


@needs_outputs
def test_the_experiments_of_11_come_out_as_its_prose_says():
    text = output_of_notebook("11_form_or_knowledge")
    [known], [unknown] = (
        shares_after("the base knew the fact", text),
        shares_after("the base did not know it", text),
    )
    assert known > 0.85
    assert unknown < 0.25
    many, once = shares_after("said many ways ", text), shares_after("said once ", text)
    assert sum(once[:2]) < 0.6 * sum(many[:2]), "held-out questions, both languages"
    in_passage = shares_after("facts finished in the passage", text)
    assert min(in_passage) > 0.9, "both bases know the facts"
    both, chinese = (
        shares_after("fine-tuned in both languages", text),
        shares_after("fine-tuned in Chinese alone", text),
    )
    assert chinese[1] < both[1] - 0.1
    recited, made_up = (
        shares_after("new facts, as asked in training", text),
        shares_after("countries never mentioned", text),
    )
    assert recited[1] > recited[0] + 0.2
    assert made_up[1] < 0.25
