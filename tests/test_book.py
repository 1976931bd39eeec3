"""The static site: links, pictures, no network, widgets as pictures; and the README's pictures."""

import base64
import io
import json
import re
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from fontTools.ttLib import TTFont
from PIL import Image

from tutorial_lib.book.site import MARKER, build_book
from tutorial_lib.errors import LabError, OutputError
from tutorial_lib.publish.readme_pictures import write_pictures
from tutorial_lib.publish.without_kernel import WIDGET, static_copy

V4 = nbformat.v4


def png(colour: str = "red", size: tuple[int, int] = (40, 30)) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def shown(**data) -> nbformat.NotebookNode:
    return V4.new_output(
        "display_data", data={kind.replace("_", "/", 1): value for kind, value in data.items()}
    )


def cell(source: str, outputs=(), tags=()) -> nbformat.NotebookNode:
    return V4.new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)})


def widget(**twins) -> nbformat.NotebookNode:
    output = shown(**twins, text_plain="HBox(…)")
    output["data"][WIDGET] = {"model_id": "1"}
    return output


@pytest.fixture
def checkout(tmp_path) -> Path:
    """Two notebooks and their executed copies, and a Markdown file that one links to."""
    root = tmp_path / "checkout"
    for folder in ("notebooks", "executed", "exercises"):
        (root / folder).mkdir(parents=True)
    exercises = (
        "# Exercises\n\nBack to [the second](../notebooks/02_second.ipynb#A-part).\n\n## For All\n"
    )
    (root / "exercises" / "README.md").write_text(exercises)
    (root / "exercises" / "data.csv").write_text("a,b\n1,2\n")
    curve = f'<img alt="a curve" src="data:image/png;base64,{png("green")}">'
    first = [
        V4.new_markdown_cell(
            "# 01 · First (第一)\n\n**You will be able to** read. "
            "Go to [a part](02_second.ipynb#A-part)."
        ),
        V4.new_markdown_cell(
            "## Loss (损失)\n\n<details><summary>A. fold</summary>inside the fold</details>\n\n"
            "[data](../exercises/data.csv)"
        ),
        cell("print('hi')", [V4.new_output("stream", name="stdout", text="hi <b>there</b>\n")]),
        cell(
            "noise",
            [V4.new_output("stream", name="stderr", text="Loading weights 100%\n"), widget()],
        ),
        cell("view()", [widget(image_png=png("blue"))], tags=["view", "picture-blue"]),
        cell("dash()", [widget(text_html=f"<p>twin</p>{curve}")], tags=["dashboard"]),
    ]
    second = [
        V4.new_markdown_cell(
            "# 02 · Second\n\n[first](01_first.ipynb), [exercises](../exercises/README.md#for-all), [paper](https://arxiv.org/abs/1)"
        ),
        V4.new_markdown_cell("## A part\n\ntext with 𬭛 and 掩码"),
        cell("plot()", [shown(image_png=png("red"))], tags=["picture-red"]),
    ]
    for name, cells in (("01_first", first), ("02_second", second)):
        notebook = V4.new_notebook(
            cells=cells, metadata={"widgets": {"application/vnd.jupyter.widget-state+json": {}}}
        )
        nbformat.write(notebook, root / "executed" / f"{name}.ipynb")
        nbformat.write(
            V4.new_notebook(cells=[V4.new_markdown_cell(f"# {name}")]),
            root / "notebooks" / f"{name}.ipynb",
        )
    return root


@pytest.fixture
def book(checkout, tmp_path) -> Path:
    build_book(checkout, checkout / "executed", tmp_path / "book")
    return tmp_path / "book"


def soups(book: Path) -> dict[str, BeautifulSoup]:
    return {
        path.name: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in book.glob("*.html")
    }


def test_every_link_and_picture_leads_somewhere_in_the_book(book):
    pages = soups(book)
    assert set(pages) == {"index.html", "01_first.html", "02_second.html", "exercises_README.html"}
    for name, page in pages.items():
        for link in page.find_all("a", href=True):
            file, _, anchor = link["href"].partition("#")
            if file.startswith("https:"):
                continue
            assert (book / (file or name)).is_file(), (name, link["href"])
            if anchor:
                assert pages[file or name].find(id=anchor) is not None, (name, link["href"])
        for image in page.find_all("img"):
            assert Image.open(book / image["src"]).size == (40, 30)
            assert len(image["alt"]) > 3


def test_nothing_is_loaded_from_elsewhere(book):
    for page in soups(book).values():
        loaded = [
            tag.get("src") or tag.get("href")
            for tag in page.find_all(["script", "link", "img", "iframe"])
        ]
        assert [address for address in loaded if address and "//" in address] == []
    assert "//" not in re.sub(r"/\*.*?\*/", "", (book / "style.css").read_text())


def test_the_course_can_be_walked_through(book):
    pages = soups(book)
    assert pages["01_first.html"].find("a", rel="next")["href"] == "02_second.html"
    assert pages["02_second.html"].find("a", rel="prev")["href"] == "01_first.html"
    assert pages["02_second.html"].find("a", rel="next") is None
    for name in ("01_first.html", "02_second.html"):
        sidebar = pages[name].find("nav")
        assert sidebar.find("a", attrs={"aria-current": "page"})["href"] == name
        headings = {f"#{tag['id']}" for tag in pages[name].find("main").find_all("h2")}
        assert (
            headings == {a["href"] for a in sidebar.find_all("a") if a["href"][0] == "#"} != set()
        )
        assert {"01_first.html", "02_second.html"} <= {
            link["href"] for link in sidebar.find_all("a")
        }
    assert "You will be able to read." in pages["index.html"].get_text()


def test_a_widget_is_shown_by_its_twin_and_noise_is_left_out(book):
    page = soups(book)["01_first.html"]
    text = page.find("main").get_text()
    assert "twin" in text
    assert "hi <b>there</b>" in text, "what was printed is text, not HTML"
    for noise in ("Loading weights", "HBox", "model_id"):
        assert noise not in str(page)
    images = page.find("main").find_all("img")
    assert [
        Image.open(book / image["src"]).convert("RGB").getpixel((0, 0)) for image in images
    ] == [(0, 0, 255), (0, 128, 0)]
    assert images[1]["alt"] == "a curve"


def test_the_search_index_has_each_section_with_its_place(book):
    script = (book / MARKER).read_text(encoding="utf-8")
    sections = json.loads(script.removeprefix("const SECTIONS = ").rstrip().removesuffix(";"))
    [section] = [section for section in sections if "掩码" in section["text"]]
    assert section["url"] == "02_second.html#A-part"
    assert [section["url"] for section in sections if "inside the fold" in section["text"]] == [
        "01_first.html#Loss-(损失)"
    ]


def test_the_font_holds_every_chinese_character_of_the_book(book):
    glyphs = TTFont(book / "chinese.woff").getBestCmap()
    text = "".join(page.get_text() for page in soups(book).values())
    needed = {char for char in text if char >= "\u2e80"}
    assert "掩" in needed
    assert {char for char in needed if ord(char) not in glyphs} == set()
    assert (book / "chinese.woff").stat().st_size < 50_000


def test_an_older_book_is_replaced_and_anything_else_is_not(checkout, book, tmp_path):
    (book / "old.html").write_text("old")
    build_book(checkout, checkout / "executed", book)
    assert not (book / "old.html").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all my work")
    with pytest.raises(OutputError, match="not a book"):
        build_book(checkout, checkout / "executed", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all my work"


def edit(path: Path, change) -> None:
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda root: (root / "executed" / "02_second.ipynb").unlink(),
            r"02_second\.ipynb .*make run",
        ),
        (
            lambda root: (root / "exercises" / "data.csv").unlink(),
            r"01_first\.ipynb links to '\.\./exercises/data\.csv'",
        ),
        (
            lambda root: edit(
                root / "executed" / "01_first.ipynb", lambda n: n.cells[4].update(outputs=[])
            ),
            "cell 4: a view without",
        ),
    ],
)
def test_what_is_missing_is_named_and_the_book_that_was_there_stays(
    checkout, book, change, message
):
    change(checkout)
    before = (book / "index.html").read_bytes()
    with pytest.raises(LabError, match=message):
        build_book(checkout, checkout / "executed", book)
    assert (book / "index.html").read_bytes() == before
    assert [path.name for path in book.parent.iterdir() if path.name.startswith(".")] == [], (
        "nothing half-written is left"
    )


def test_a_static_copy_leaves_the_notebook_as_it_was(checkout):
    notebook = nbformat.read(checkout / "executed" / "01_first.ipynb", as_version=4)
    before = nbformat.writes(notebook)
    copied = static_copy(notebook)
    assert nbformat.writes(notebook) == before
    assert WIDGET not in nbformat.writes(copied)
    assert "widgets" not in copied.metadata


# --- the README's pictures ----------------------------------------------------------------------


def test_pictures_are_taken_from_tagged_cells(checkout, tmp_path):
    written = write_pictures(checkout / "executed", tmp_path / "pictures")
    assert [path.name for path in written] == ["blue.png", "red.png"]
    assert Image.open(written[0]).convert("RGB").getpixel((5, 5)) == (0, 0, 255)
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "blue.png",
        "red.png",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n: n.cells[2].update(outputs=[]), "02_second.ipynb, cell 2 has a picture tag"),
        (lambda n: n.cells[2].metadata.update(tags=["picture-blue"]), "another cell"),
    ],
)
def test_a_picture_that_is_missing_or_there_twice_is_named(checkout, tmp_path, change, message):
    edit(checkout / "executed" / "02_second.ipynb", change)
    with pytest.raises(LabError, match=message):
        write_pictures(checkout / "executed", tmp_path / "pictures")


def test_without_any_executed_notebook_it_says_what_to_run(tmp_path):
    with pytest.raises(LabError, match="make run"):
        write_pictures(tmp_path, tmp_path / "pictures")


def test_the_readme_shows_the_pictures_that_the_notebooks_make():
    root = Path(__file__).parent.parent
    tags = [
        tag.removeprefix("picture-")
        for path in (root / "notebooks").glob("*.ipynb")
        for notebook_cell in nbformat.read(path, as_version=4).cells
        for tag in notebook_cell.metadata.get("tags", [])
        if tag.startswith("picture-")
    ]
    in_readme = re.findall(
        r"\(docs/pictures/([\w-]+)\.png\)", (root / "README.md").read_text(encoding="utf-8")
    )
    assert len(in_readme) >= 4
    assert sorted(tags) == sorted(in_readme)
    for name in in_readme:
        assert min(Image.open(root / "docs" / "pictures" / f"{name}.png").size) > 200
