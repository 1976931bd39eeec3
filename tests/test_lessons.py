"""Every notebook is a lesson: questions before answers, pitfalls that fail, a way on. And no figure in prose that no cell shows.

Prose is compared with what the notebook prints when it has run: `make test` runs them all and then calls this with EXECUTED_NOTEBOOKS.
"""

import os
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXECUTED = os.environ.get("EXECUTED_NOTEBOOKS")
CHOICE = re.compile(r"<details><summary>([A-Z])\. (.+?)</summary>(.+?)</details>", re.DOTALL)


def name_of(path: Path) -> str:
    return path.stem


def markdown(notebook) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


@pytest.fixture(params=NOTEBOOKS, ids=name_of)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


# --- the form of a lesson --------------------------------------------------------------------------------------------------------------


def test_questions_come_before_answers_and_every_wrong_choice_is_explained(notebook):
    asked = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and "**Predict first.**" in cell.source:
            for question in cell.source.split("**Predict first.**")[1:]:
                choices = CHOICE.findall(question)
                asked += 1
                assert [letter for letter, _, _ in choices] == list("ABCDE"[: len(choices)]), (
                    question
                )
                assert len(choices) >= 3, question
                assert sum(said.startswith("Right") for _, _, said in choices) == 1, question
                for _, _, said in choices:
                    assert said.startswith(("Right", "Not quite:")), question
                    assert len(said) > 40, "an explanation, not a verdict"
                assert not any("`" in part for choice in choices for part in choice), (
                    "a fold is HTML: <code>, not backticks"
                )
    assert asked >= 3


def test_the_right_choice_is_not_always_at_the_same_place(notebook):
    places = {
        letter for letter, _, said in CHOICE.findall(markdown(notebook)) if said.startswith("Right")
    }
    assert len(places) >= 2


def test_pitfalls_are_shown(notebook):
    assert markdown(notebook).count("**Pitfall.**") >= 2


def test_a_notebook_says_what_for_how_long_what_to_keep_and_where_to_go(notebook):
    text = markdown(notebook)
    for part in (
        "**You will be able to**",
        "**Mirrors**",
        "**Time.**",
        "Three things to remember",
        "../exercises/README.md",
    ):
        assert part in text, part
    remembered = text.split("Three things to remember")[1]
    assert re.findall(r"^(\d)\. ", remembered, re.MULTILINE)[:3] == ["1", "2", "3"]


def test_a_notebook_shows_something_to_look_at(notebook):
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert re.search(r"\b(plots?[._]|HTML\()", code)


# --- figures in prose ------------------------------------------------------------------------------------------------------------------

FIGURE = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w])")


def figures_in(text: str) -> list[str]:
    """The figures of a text: every number of two or more digits, and every decimal."""
    return [
        figure.rstrip(",") for figure in FIGURE.findall(text) if len(re.sub(r"\D", "", figure)) >= 2
    ]


def claims(source: str) -> str:
    """A markdown cell without what need not be printed by a cell: links, code, what the article or a paper says, wrong choices, times."""
    source = re.sub(
        r"<details><summary>.*?</summary>\s*Not quite:.*?</details>", "", source, flags=re.DOTALL
    )
    source = re.sub(r"<summary>.*?</summary>", "", source, flags=re.DOTALL)
    lines = [
        line
        for line in source.splitlines()
        if not line.startswith((">", "**Time.**", "#", "|"))
        and not any(other in line for other in ("arXiv", "http", "article"))
    ]
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)|`[^`]*`", "", "\n".join(lines))
    return re.sub(r"\b([Nn]otebooks?|[Ss]teps?|[Pp]arts?) \d[\d.]*(?: to \d+)?", "", text)


def shown(notebook) -> str:
    """All that the notebook's cells say: their code and what they print."""
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            parts.append(cell.source)
            for output in cell.outputs:
                parts.append(output.get("text", ""))
                data = output.get("data", {})
                parts += [
                    str(data.get(kind, "")) for kind in ("text/plain", "text/html", "text/markdown")
                ]
    return "\n".join(parts)


def unbacked(notebook) -> list[str]:
    known = {
        re.sub(r"[,_]", "", figure)
        for figure in re.findall(r"\d[\d,_]*(?:\.\d+)?", shown(notebook))
    }
    missing = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            missing += [
                figure
                for figure in figures_in(claims(cell.source))
                if figure.replace(",", "") not in known
            ]
    return missing


def small_notebook(prose: str, printed: str = "loss 1.25, 4,096 tokens"):
    code = nbformat.v4.new_code_cell(
        "batch_size = 32", outputs=[nbformat.v4.new_output("stream", text=printed)]
    )
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(prose), code])


@pytest.mark.parametrize(
    ("prose", "missing"),
    [
        ("a loss of 1.25 on 4096 tokens, 32 rows", []),
        ("a loss of 1.26", ["1.26"]),
        ("87 % are right", ["87"]),
        ("step 3 of 8", []),
        ("`max_length=999` and [99](x.ipynb)", []),
        ("> **Where the article is loose.** It says 180 GB.", []),
        ("<details><summary>A. 77</summary>Not quite: 78 is wrong.</details>", []),
        ("<details><summary>B. 77</summary>Right: it is 79.</details>", ["79"]),
        ("found 64 by arXiv 2309.14316", []),
        ("**Time.** About 15 minutes", []),
        ("see notebook 07 and part 3.2", []),
        ("The article says 180 GB.\nOurs takes 181 GB.", ["181"]),
    ],
)
def test_the_comparison_itself(prose, missing):
    assert unbacked(small_notebook(prose)) == missing


@pytest.mark.skipif(
    EXECUTED is None, reason="`make test` sets EXECUTED_NOTEBOOKS once the notebooks have run"
)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_every_figure_in_prose_is_shown_by_a_cell(path):
    executed = nbformat.read(Path(EXECUTED) / path.name, as_version=4)
    assert any(cell.get("outputs") for cell in executed.cells), "not an executed notebook"
    assert unbacked(executed) == []


def printed(stem: str) -> str:
    notebook = nbformat.read(Path(EXECUTED) / f"{stem}.ipynb", as_version=4)
    return "\n".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )


def shares_after(label: str, text: str) -> list[float]:
    """The percentages in the first line that begins with `label`."""
    line = next(line for line in text.splitlines() if line.startswith(label))
    return [float(share) / 100 for share in re.findall(r"([\d.]+)%", line)]


@pytest.mark.skipif(
    EXECUTED is None, reason="`make test` sets EXECUTED_NOTEBOOKS once the notebooks have run"
)
def test_the_articles_recipe_in_07_teaches_to_answer():
    text = printed("07_trainer")
    for language in ("zh", "en"):
        [share] = shares_after(f"held-out questions answered exactly, {language}", text)
        assert share >= 0.9, language
    [stopped] = shares_after("stopped by itself", text)
    assert stopped >= 0.99


@pytest.mark.skipif(
    EXECUTED is None, reason="`make test` sets EXECUTED_NOTEBOOKS once the notebooks have run"
)
def test_most_changes_of_10_do_clear_harm():
    lines = re.findall(
        r"^(.{32}) *([\d.]+)% *([\d.]+)% +(\S+)   (clear|small|none measured)$",
        printed("10_what_breaks"),
        re.MULTILINE,
    )
    assert len(lines) >= 13
    assert sum(harm == "clear" for *_, harm in lines) >= 8
    harmless = next(line for line in lines if line[0].strip() == "nothing changed")
    assert float(harmless[1]) > 75


@pytest.mark.skipif(
    EXECUTED is None, reason="`make test` sets EXECUTED_NOTEBOOKS once the notebooks have run"
)
def test_the_experiments_of_11_come_out_as_its_prose_says():
    text = printed("11_form_or_knowledge")
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
