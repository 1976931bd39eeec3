"""Each notebook in the real JupyterLab: no error, all widgets, every control changes its picture.

The short form (``-k short``, part of `make test`) takes one notebook with a view, the full one all.
"""

import re
import time
from pathlib import Path

import nbformat
import pytest
from lab_page import VIEW, errors, open_notebook, run_all, wait_until_run

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parent.parent.parent
SCREENSHOTS = ROOT / "runs" / "browser"
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
SHORT = "06_training_arguments.ipynb"
A_PICTURE = 60  # seconds
FAILED_WIDGET = re.compile(
    r"Loading widget|Error displaying widget|Error creating widget|model not found", re.IGNORECASE
)


def keep_screenshots(page, name: str) -> None:
    """One picture a view, and one of the whole notebook."""
    folder = SCREENSHOTS / Path(name).stem
    folder.mkdir(parents=True, exist_ok=True)
    for number, view in enumerate(page.query_selector_all(VIEW), start=1):
        view.screenshot(path=folder / f"view_{number}.png")
    cells = page.query_selector(".jp-Notebook .jp-WindowedPanel-outer")
    page.set_viewport_size(
        {
            "width": 1150,
            "height": min(int(cells.evaluate("cells => cells.scrollHeight")) + 200, 16_000),
        }
    )
    cells.evaluate("cells => cells.scrollTo(0, 0)")
    page.wait_for_timeout(1_000)  # cells out of view are drawn only now
    page.screenshot(path=folder / "notebook.png")


def shown_by(view) -> str:
    """What a view shows below its controls."""
    return "".join(part.inner_html() for part in view.query_selector_all(".widget-html-content"))


def turn(control, back: bool = False) -> None:
    """Set a control to another value, as a hand or a keyboard would."""
    if handle := control.query_selector(".noUi-handle"):
        at_its_end = float(handle.get_attribute("aria-valuenow")) >= float(
            handle.get_attribute("aria-valuemax")
        )
        handle.focus()
        for _ in range(3):
            handle.press("ArrowLeft" if at_its_end or back else "ArrowRight")
    elif choice := control.query_selector("select"):
        chosen, options = choice.evaluate("choice => [choice.selectedIndex, choice.options.length]")
        choice.select_option(index=(chosen + 1) % options)
    elif switch := control.query_selector("input[type=checkbox]"):
        switch.click()
    else:
        text = control.query_selector("input[type=text]")
        text.fill(text.input_value() + "。")
        text.press("Enter")


def turn_every_control(page) -> int:
    """Turn each control of each view, wait for the picture to change; return their number."""
    turned = 0
    for view in page.query_selector_all(VIEW):
        for control in view.query_selector_all(
            ".widget-slider, .widget-dropdown, .widget-text, .widget-checkbox"
        ):
            name = control.query_selector(".widget-label, .widget-label-basic").text_content()
            before = shown_by(view)
            turn(control)
            end = time.monotonic() + A_PICTURE
            while shown_by(view) == before:
                assert time.monotonic() < end, f"{name!r} did not change what is shown"
                if (
                    control.query_selector(".noUi-handle")
                    and time.monotonic() > end - A_PICTURE + 5
                ):
                    turn(
                        control, back=True
                    )  # some do nothing in one direction: a longer limit for a row that fits
                time.sleep(0.1)
            assert len(shown_by(view)) > 50, name
            turned += 1
    return turned


def controls_in(name: str) -> bool:
    notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    return any("view" in cell.metadata.get("tags", []) for cell in notebook.cells)


def work_through(page, lab, name: str) -> None:
    open_notebook(page, lab, name)
    run_all(page)
    wait_until_run(page)
    assert errors(page) == []
    outputs = page.eval_on_selector_all(
        ".jp-OutputArea-output", "outputs => outputs.map(output => output.textContent)"
    )
    assert [text for text in outputs if FAILED_WIDGET.search(text)] == []
    missing = page.eval_on_selector_all(
        ".jp-Notebook img",
        "images => images.filter(i => !i.naturalWidth).map(i => i.src.slice(0, 80))",
    )
    assert missing == []
    keep_screenshots(page, name)
    turned = turn_every_control(page)
    assert (turned > 0) == controls_in(name)


def test_short_one_notebook_with_a_view(page, lab):
    work_through(page, lab, SHORT)


@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if name != SHORT])
def test_every_notebook(page, lab, name):
    work_through(page, lab, name)
