"""Build the site: one page per executed notebook, and per Markdown file that a page links to.

nbconvert turns cells into HTML. ``page.html.j2``, ``style.css`` and ``search.js`` add navigation,
search and the font. A page loads nothing from outside the book.
"""

import base64
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
from bs4 import BeautifulSoup, Tag
from jinja2 import Environment
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from pygments.formatters import HtmlFormatter

from tutorial_lib.book.fonts import subset_font
from tutorial_lib.errors import LabError, OutputError
from tutorial_lib.publish.without_kernel import static_copy, widgets_without_twin
from tutorial_lib.run_folder import replacing_folder

HERE = Path(__file__).parent
TITLE = "Full Fine-Tuning Lab"
MARKER = "search-index.js"  # a folder with this file is a book: a newer one may replace it
HEADINGS = ("h1", "h2", "h3")


@dataclass
class Page:
    """A page of the book.

    Attributes:
        file: its name in the book.
        title: its first heading.
        source: the notebook or Markdown file that it shows; None for the index.
        body: the page without navigation.
    """

    file: str
    title: str
    source: Path | None
    body: BeautifulSoup


class Book:
    """The pages of a book and their pictures and files, written into an empty folder.

    Args:
        root: the checkout; links may lead to its files.
        notebooks: notebook in the checkout -> its executed copy.
        out: an empty folder.
    """

    def __init__(self, root: Path, notebooks: Mapping[Path, Path], out: Path) -> None:
        self.root, self.out = root.resolve(), out
        self._files = {source.resolve(): f"{source.stem}.html" for source in notebooks}
        self._linked: list[Path] = []  # Markdown files that still need a page
        self._pages = [
            self._page(source.resolve(), notebook_html(executed))
            for source, executed in notebooks.items()
        ]
        while self._linked:
            source = self._linked.pop()
            self._pages.append(self._page(source, markdown2html(source.read_text("utf-8"))))

    def write(self) -> list[Page]:
        """Write pages, index, search and font; return the pages, the index first."""
        course = [page for page in self._pages if page.source.suffix == ".ipynb"]
        pages = [Page("index.html", TITLE, None, _index(course)), *self._pages]
        neighbours = zip([None, *course[:-1]], [*course[1:], None], strict=True)
        turns = dict(zip((page.file for page in course), neighbours, strict=True))
        template = Environment(autoescape=True).from_string(
            (HERE / "page.html.j2").read_text("utf-8")
        )
        text = ""
        for page in pages:
            before, after = turns.get(page.file, (None, None))
            body = str(page.body)
            html = template.render(page=page, course=course, body=body, previous=before, next=after)
            (self.out / page.file).write_text(html, encoding="utf-8")
            text += html
        sections = [section for page in self._pages for section in _search_sections(page)]
        script = f"const SECTIONS = {json.dumps(sections, ensure_ascii=False)};\n"
        (self.out / MARKER).write_text(script, encoding="utf-8")
        shutil.copy(HERE / "search.js", self.out)
        style = (HERE / "style.css").read_text("utf-8") + _highlighting()
        (self.out / "style.css").write_text(style, encoding="utf-8")
        subset_font(text, self.out / "chinese.woff")
        return pages

    def _page(self, source: Path, html: str) -> Page:
        body = BeautifulSoup(html, "html.parser")
        for pilcrow in body.select("a.anchor-link"):
            pilcrow.decompose()
        for heading in body.find_all(HEADINGS):
            heading["id"] = _anchor(heading.get_text().strip(), source)
        title = body.h1.get_text().strip() if body.h1 else source.stem
        page = Page(self._file(source), title, source, body)
        for link in body.find_all("a", href=True):
            link["href"] = self._target(link["href"], source)
        for image in body.find_all("img"):
            self._keep_image(image, page)
        return page

    def _file(self, source: Path) -> str:
        return self._files.setdefault(source, f"{self._flat_name(source).removesuffix('.md')}.html")

    def _flat_name(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix().replace("/", "_")

    def _target(self, href: str, source: Path) -> str:
        """Return where a link leads in the book; copy the file there if it gets no page."""
        parts = urlsplit(href)
        if parts.scheme:
            return href
        if not parts.path:
            return _anchor(href, source)
        target = (source.parent / unquote(parts.path)).resolve()
        if target.is_dir() and (target / "README.md").is_file():
            target /= "README.md"
        if not target.is_file() or not target.is_relative_to(self.root):
            where = source.relative_to(self.root)
            raise LabError(f"{where} links to {href!r}, and there is no such file: fix the link")
        if target.suffix == ".md" and target not in self._files:
            self._file(target)
            self._linked.append(target)
        if target not in self._files:
            return self._copy("files", self._flat_name(target), target.read_bytes())
        anchor = f"#{_anchor(parts.fragment, target)}" if parts.fragment else ""
        return self._files[target] + anchor

    def _keep_image(self, image: Tag, page: Page) -> None:
        """Put a picture into a file of its own, and give it a description if it has none."""
        kind, _, content = image["src"].partition(",")
        if kind.startswith("data:"):
            data = base64.b64decode(content)
            ending = kind.split("/")[1].split(";")[0].split("+")[0]  # of data:image/svg+xml;base64
            name = f"{Path(page.file).stem}_{hashlib.sha256(data).hexdigest()[:10]}.{ending}"
            image["src"] = self._copy("images", name, data)
        else:
            image["src"] = self._target(image["src"], page.source)
        if not image.get("alt") or image["alt"].startswith("No description"):
            before = image.find_previous(HEADINGS)
            image["alt"] = f"Picture: {before.get_text().strip()}" if before else "Picture"

    def _copy(self, folder: str, name: str, data: bytes) -> str:
        (self.out / folder).mkdir(exist_ok=True)
        (self.out / folder / name).write_bytes(data)
        return f"{folder}/{name}"


def build_book(root: Path, executed: Path, out: Path) -> list[Page]:
    """Build the book of the checkout's notebooks from their executed copies; whole, or not at all.

    Args:
        root: the checkout.
        executed: folder of executed notebooks, as ``python -m tutorial_lib.course`` writes it.
        out: a new folder, or one with an older book, which is replaced.

    Returns:
        The pages, the index first.

    Raises:
        LabError: an executed notebook is missing, a view in it has no static twin, or a link is
            broken.
        OutputError: `out` holds something that is not a book.
    """
    if out.exists() and not (out / MARKER).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} holds something that is not a book: give --out a new folder")
    sources = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    notebooks = {source: executed / source.name for source in sources}
    if missing := [source.name for source, copy in notebooks.items() if not copy.is_file()]:
        where = f"(looked in {executed})"
        raise LabError(f"not executed yet: {', '.join(missing)} {where}; run `make run` first")
    with replacing_folder(out) as partial:
        return Book(root, notebooks, partial).write()


def notebook_html(path: Path) -> str:
    """Return the cells of an executed notebook as HTML, widgets replaced by their static twins.

    Raises:
        LabError: a view has no twin.
    """
    notebook = nbformat.read(path, as_version=4)
    if cells := widgets_without_twin(notebook):
        problem = "a view without a static twin; run the notebook again"
        raise LabError(f"{path.name}, cell {cells[0]}: {problem}")
    exporter = HTMLExporter(
        template_name="basic",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    return exporter.from_notebook_node(static_copy(notebook))[0]


def _index(course: list[Page]) -> BeautifulSoup:
    lines = []
    for page in course:
        texts = [paragraph.get_text() for paragraph in page.body.find_all("p")]
        able = next((text for text in texts if text.startswith("You will be able to")), "")
        lines.append(f'<li><a href="{page.file}">{page.title}</a><br>{able}</li>')
    what = "The notebooks of the course with their outputs, to read and to search."
    html = f"<h1>{TITLE}</h1><p>{what}</p><ul>{''.join(lines)}</ul>"
    return BeautifulSoup(html, "html.parser")


def _search_sections(page: Page) -> list[dict[str, str]]:
    """Return one entry per section: the text from a heading to the next."""
    sections = [{"page": page.title, "title": page.title, "url": page.file, "text": ""}]
    for node in page.body.descendants:
        if not isinstance(node, Tag):
            sections[-1]["text"] += f" {node}"
        elif node.name in HEADINGS:
            url, title = f"{page.file}#{node['id']}", node.get_text().strip()
            sections.append({"page": page.title, "title": title, "url": url, "text": ""})
    return [section | {"text": " ".join(section["text"].split())} for section in sections]


def _highlighting() -> str:
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return f"\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


def _anchor(text: str, page: Path) -> str:
    """Return a heading's anchor, by Jupyter's rule or, for Markdown, by that of code hosts."""
    anchor = text.replace(" ", "-")
    return anchor if page.suffix == ".ipynb" else anchor.lower()
