"""The course as a static site: every executed notebook a page, readable and searchable without a network, a kernel or a server.

nbconvert turns cells into HTML; what stands around them (navigation, search, a font with the Chinese characters) is in ``page.html.j2``,
``style.css`` and ``search.js``. Nothing is loaded from elsewhere.
"""

import base64
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
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

HERE = Path(__file__).parent
MARKER = "search-index.js"  # a folder that has it is a book, and may be replaced by a newer one
HEADINGS = ("h1", "h2", "h3")


@dataclass
class Page:
    """A page of the book.

    Attributes:
        file: its name in the book.
        title: its first heading.
        source: the notebook or Markdown file that it shows; None for the index.
        body: the HTML between navigation and end.
        sections: (title, anchor, depth) of each heading.
    """

    file: str
    title: str
    source: Path | None
    body: BeautifulSoup
    sections: list[tuple[str, str, int]] = field(default_factory=list)


class Book:
    """Builds the site in an empty folder.

    Args:
        root: the checkout; links may lead to its files.
        notebooks: source of a notebook in the checkout -> its executed copy.
        out: an empty folder.
    """

    def __init__(self, root: Path, notebooks: Mapping[Path, Path], out: Path) -> None:
        self.root, self.out = root.resolve(), out
        self._pages: dict[Path, Page] = {}
        self._files = {source.resolve(): f"{source.stem}.html" for source in notebooks}
        self._waiting: list[Path] = []  # Markdown files that something links to
        for source, executed in notebooks.items():
            self._add(source.resolve(), notebook_html(executed))
        while self._waiting:
            source = self._waiting.pop()
            self._add(source, markdown2html(source.read_text(encoding="utf-8")))

    def write(self) -> list[Page]:
        """Write all pages, the index, the search and the font; return the pages in their order."""
        pages = list(self._pages.values())
        course = [page for page in pages if page.source.suffix == ".ipynb"]
        index = Page("index.html", "Full Fine-Tuning Lab", None, _index(course))
        template = Environment(autoescape=True).from_string(
            (HERE / "page.html.j2").read_text(encoding="utf-8")
        )
        text = []
        for page in [index, *pages]:
            place = course.index(page) if page in course else None
            neighbours = {
                "previous": course[place - 1] if place else None,
                "next": course[place + 1]
                if place is not None and place + 1 < len(course)
                else None,
            }
            html = template.render(page=page, course=course, body=str(page.body), **neighbours)
            (self.out / page.file).write_text(html, encoding="utf-8")
            text.append(html)
        entries = [entry for page in pages for entry in _search_entries(page)]
        (self.out / MARKER).write_text(
            f"const SECTIONS = {json.dumps(entries, ensure_ascii=False)};\n", encoding="utf-8"
        )
        shutil.copy(HERE / "search.js", self.out)
        (self.out / "style.css").write_text(
            (HERE / "style.css").read_text(encoding="utf-8") + _highlighting(), encoding="utf-8"
        )
        subset_font("".join(text), self.out / "chinese.woff")
        return [index, *pages]

    def _add(self, source: Path, html: str) -> None:
        body = BeautifulSoup(html, "html.parser")
        heading = body.find("h1")
        page = Page(
            self._file(source), heading_text(heading) if heading else source.stem, source, body
        )
        self._pages[source] = page
        for tag in body.find_all(HEADINGS):
            tag["id"] = _anchor(heading_text(tag), source)
            page.sections.append((heading_text(tag), tag["id"], int(tag.name[1])))
        for link in body.find_all("a", href=True):
            link["href"] = self._target(link["href"], source)
        for image in body.find_all("img"):
            self._keep_image(image, source, page)

    def _file(self, source: Path) -> str:
        return self._files.setdefault(
            source,
            source.relative_to(self.root).as_posix().replace("/", "_").removesuffix(".md")
            + ".html",
        )

    def _target(self, href: str, source: Path) -> str:
        """Return where a link leads in the book."""
        parts = urlsplit(href)
        if parts.scheme:
            return href
        if not parts.path:
            return _anchor(href, source)
        target = (source.parent / unquote(parts.path)).resolve()
        if target.is_dir() and (target / "README.md").is_file():
            target /= "README.md"
        anchor = f"#{_anchor(parts.fragment, target)}" if parts.fragment else ""
        if not target.is_file() or not target.is_relative_to(self.root):
            raise LabError(
                f"{source.relative_to(self.root)} links to {href!r}, and there is no such file: mend the link"
            )
        if target.suffix == ".md" and target not in self._files:
            self._file(target)
            self._waiting.append(target)
        if target in self._files:
            return self._files[target] + anchor
        return self._copy(
            "files", target.relative_to(self.root).as_posix().replace("/", "_"), target.read_bytes()
        )

    def _keep_image(self, image: Tag, source: Path, page: Page) -> None:
        """Put a picture into a file of its own, and see to it that it says what it shows."""
        address = image["src"]
        if address.startswith("data:"):
            kind, _, content = address.partition(",")
            ending = kind.split("/")[1].split(";")[0].split("+")[0]
            data = base64.b64decode(content)
            name = f"{Path(page.file).stem}_{hashlib.sha256(data).hexdigest()[:10]}.{ending}"
            image["src"] = self._copy("images", name, data)
        else:
            image["src"] = self._target(address, source)
        if not image.get("alt") or image["alt"].startswith("No description"):
            before = image.find_previous(HEADINGS)
            image["alt"] = f"Picture: {heading_text(before)}" if before else "Picture"

    def _copy(self, folder: str, name: str, data: bytes) -> str:
        (self.out / folder).mkdir(exist_ok=True)
        (self.out / folder / name).write_bytes(data)
        return f"{folder}/{name}"


def build_book(root: Path, executed: Path, out: Path) -> list[Page]:
    """Build the book of the checkout's notebooks from their executed copies; whole, or not at all.

    Args:
        root: the checkout.
        executed: folder with the executed notebooks, as ``python -m tutorial_lib.course`` leaves them.
        out: a new folder, or one with an older book, which is replaced.

    Returns:
        The pages, the index first.

    Raises:
        LabError: an executed notebook is missing, a view in it has no static twin, or a link is dead.
        OutputError: `out` holds something that is no book.
    """
    if out.exists() and not (out / MARKER).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} holds something that is no book: give --out a new folder")
    notebooks = {
        source: executed / source.name
        for source in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    }
    missing = [source.name for source, copy in notebooks.items() if not copy.is_file()]
    if missing:
        raise LabError(
            f"not executed yet: {', '.join(missing)} (looked in {executed}); run `make run` first"
        )
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        pages = Book(root, notebooks, partial).write()
    except BaseException:
        shutil.rmtree(partial)
        raise
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    return pages


def notebook_html(path: Path) -> str:
    """Return the cells of an executed notebook as HTML, widgets replaced by their static twins.

    Raises:
        LabError: a view has no twin.
    """
    notebook = nbformat.read(path, as_version=4)
    if without := widgets_without_twin(notebook):
        raise LabError(
            f"{path.name}, cell {without[0]}: a view without a static twin; run the notebook again"
        )
    exporter = HTMLExporter(
        template_name="basic",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    return exporter.from_notebook_node(static_copy(notebook))[0]


def heading_text(tag: Tag) -> str:
    """Return a heading's text without the pilcrow that links to it."""
    return tag.get_text().strip().removesuffix("¶")


def _index(course: list[Page]) -> BeautifulSoup:
    lines = []
    for page in course:
        able = next(
            (
                p.get_text()
                for p in page.body.find_all("p")
                if p.get_text().startswith("You will be able to")
            ),
            "",
        )
        lines.append(f'<li><a href="{page.file}">{page.title}</a><br>{able}</li>')
    html = f"<h1>Full Fine-Tuning Lab</h1><p>The notebooks of the course as they ran, to read and to search.</p><ul>{''.join(lines)}</ul>"
    return BeautifulSoup(html, "html.parser")


def _search_entries(page: Page) -> Iterator[dict[str, str]]:
    """One entry a section: what stands between a heading and the next."""
    anchor, title, text = "", page.title, []
    for node in page.body.descendants:
        if isinstance(node, Tag):
            if node.name in HEADINGS:
                yield {
                    "page": page.title,
                    "title": title,
                    "url": page.file + anchor,
                    "text": " ".join(" ".join(text).split()),
                }
                anchor, title, text = f"#{node['id']}", heading_text(node), []
        else:
            text.append(str(node))
    yield {
        "page": page.title,
        "title": title,
        "url": page.file + anchor,
        "text": " ".join(" ".join(text).split()),
    }


@cache
def _highlighting() -> str:
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return f"\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


def _anchor(text: str, page: Path) -> str:
    """Return a heading's anchor: Jupyter's rule in a notebook; in a Markdown file that of code hosts, which is in lower case."""
    anchor = text.replace(" ", "-")
    return anchor if page.suffix == ".ipynb" else anchor.lower()
