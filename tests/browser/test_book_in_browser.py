"""The static site in a real Chromium, from disk: pictures load, links and search work, no network.

It is the book of EXECUTED_NOTEBOOKS, which `make test` sets once the notebooks have run.
"""

import os
from pathlib import Path
from urllib.parse import unquote

import pytest

from tutorial_lib.book.site import build_book

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parent.parent.parent
SCREENSHOTS = ROOT / "runs" / "browser" / "book"


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("site") / "book"
    executed = os.environ.get("EXECUTED_NOTEBOOKS")
    if executed is None:
        pytest.skip(
            "no executed notebooks: `make test` sets EXECUTED_NOTEBOOKS once the notebooks have run"
        )
    build_book(ROOT, Path(executed), out)
    return out


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    yield page
    page.close()


def test_short_book_has_no_missing_picture_and_no_dead_link(book, page):
    troubles, requested, anchors, linked = [], [], {}, []
    page.on(
        "console",
        lambda message: troubles.append(message.text) if message.type == "error" else None,
    )
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: requested.append(request.url))
    files = sorted(book.glob("*.html"))
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    pictures = 0
    for file in files:
        page.goto(file.as_uri())
        page.wait_for_load_state("load")
        widths = page.eval_on_selector_all(
            "img", "images => images.map(image => image.naturalWidth)"
        )
        assert all(width > 0 for width in widths), file.name
        pictures += len(widths)
        anchors[file.name] = set(
            page.eval_on_selector_all("[id]", "tags => tags.map(tag => tag.id)")
        )
        linked += [
            (file.name, href)
            for href in page.eval_on_selector_all(
                "a[href]", "links => links.map(link => link.href)"
            )
        ]
        page.screenshot(path=SCREENSHOTS / f"{file.stem}.png")
    assert pictures >= 20
    assert troubles == []
    assert {address.split(":")[0] for address in requested} <= {"file", "data"}, (
        "offline, all of it"
    )
    for source, address in linked:
        if address.startswith("file:"):
            target, _, anchor = address.removeprefix("file://").partition("#")
            assert Path(unquote(target)).is_file(), (source, address)
            if anchor and target.endswith(".html"):
                assert unquote(anchor) in anchors[Path(target).name], (source, address)


@pytest.mark.parametrize("words", ["ignore_index", "梯度", "padding side"])
def test_short_book_search_finds_and_leads_there(book, page, words):
    page.goto((book / "index.html").as_uri())
    page.fill("#search", words)
    hit = page.wait_for_selector("#found a")
    target = hit.get_attribute("href")
    hit.click()
    page.wait_for_url(f"**/{target.split('#')[0]}*")
    assert words.split()[0] in page.text_content("main")


def test_short_book_folds_open_and_a_phone_can_read_it(book, page):
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto((book / "04_label_masking.html").as_uri())
    fold = page.query_selector("details")
    fold.query_selector("summary").click()
    assert fold.get_attribute("open") is not None
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390, (
        "nothing sticks out sideways"
    )
    page.screenshot(path=SCREENSHOTS / "phone.png")


def test_short_book_shows_chinese_in_the_books_own_font(book, page):
    page.goto((book / "04_label_masking.html").as_uri())
    page.evaluate("() => document.fonts.ready")
    faces = page.evaluate("() => [...document.fonts].map(face => [face.family, face.status])")
    assert [(family.strip('"'), status) for family, status in faces] == [("Lab Chinese", "loaded")]
