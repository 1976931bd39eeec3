"""Each notebook in the real JupyterLab: no error, every widget there, every control moves its picture, the stop button stops.

The short form (``-k short``, part of `make test`) takes one notebook with a view, and the stop button; the full one takes all.
"""

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parent.parent.parent
SCREENSHOTS = ROOT / "runs" / "browser"
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
SHORT = "06_training_arguments.ipynb"
A_NOTEBOOK = 600  # seconds; none takes half of it
A_PICTURE = 60  # seconds
VIEW = ".jp-OutputArea-output .jupyter-widgets.widget-vbox"
TRACEBACK = re.compile(r"Traceback \(most recent call last\)|^\w*(Error|Exception|Interrupt)\b", re.MULTILINE)
FAILED_WIDGET = re.compile(r"Loading widget|Error displaying widget|Error creating widget|model not found", re.IGNORECASE)


@pytest.fixture
def page(browser) -> Iterator:
    page = browser.new_page(viewport={"width": 1150, "height": 1400})
    page.set_default_timeout(60_000)
    yield page
    page.close()


def open_notebook(page, lab, name: str) -> None:
    page.goto(f"{lab.url}/doc/tree/{name}?reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    # The page shows an idle kernel before it has one, and cells that are run then make it start a second one: so the server is asked.
    end = time.monotonic() + 60
    while name not in ready_in(lab):
        assert time.monotonic() < end, f"no kernel for {name} after a minute"
        time.sleep(0.1)
    page.wait_for_selector('.jp-NotebookPanel-toolbar [data-status="idle"]')


def ready_in(lab) -> set[str]:
    """The notebooks whose kernel is up and heard by a page, as the server has it."""
    with urllib.request.urlopen(f"{lab.url}/api/sessions", timeout=10) as answered:
        sessions = json.load(answered)
    up = [session for session in sessions if session["kernel"] and session["kernel"]["execution_state"] == "idle"]
    return {session["path"] for session in up if session["kernel"]["connections"] > 0}


def run_all(page) -> None:
    # While JupyterLab still settles, a click on the menu can be lost: it is repeated until the first cell has begun.
    for _ in range(5):
        page.click('.lm-MenuBar-item:has-text("Run")')
        page.click('.lm-Menu-item:has-text("Run All Cells")')
        end = time.monotonic() + 5
        while time.monotonic() < end:
            if prompts(page)[0] != "[ ]:":
                return
            time.sleep(0.1)
    raise AssertionError("JupyterLab was told five times to run all cells, and did not begin")


def prompts(page) -> list[str]:
    """What stands before each code cell: ``[ ]:``, ``[*]:`` or a number."""
    return page.eval_on_selector_all(".jp-Notebook .jp-CodeCell .jp-InputArea-prompt", "cells => cells.map(cell => cell.textContent)")


def wait_until_run(page, seconds: float = A_NOTEBOOK) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        shown = prompts(page)
        if errors(page) or all(re.search(r"\d", prompt) for prompt in shown):
            return
        time.sleep(0.5)
    raise AssertionError(f"not done after {seconds} s: {prompts(page)}")


def errors(page) -> list[str]:
    """Tracebacks. JupyterLab renders them as it does standard error, which is no fault by itself."""
    outputs = '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]'
    texts = page.eval_on_selector_all(outputs, "outputs => outputs.map(output => output.textContent)")
    return [
        text for text in texts if re.search(r"Traceback \(most recent call last\)|^\w*(Error|Exception|Interrupt)\b", text, re.MULTILINE)
    ]


def keep_screenshots(page, name: str) -> None:
    """One picture a view, and one of the whole notebook."""
    folder = SCREENSHOTS / Path(name).stem
    folder.mkdir(parents=True, exist_ok=True)
    for number, view in enumerate(page.query_selector_all(VIEW), start=1):
        view.screenshot(path=folder / f"view_{number}.png")
    cells = page.query_selector(".jp-Notebook .jp-WindowedPanel-outer")
    page.set_viewport_size({"width": 1150, "height": min(int(cells.evaluate("cells => cells.scrollHeight")) + 200, 16_000)})
    cells.evaluate("cells => cells.scrollTo(0, 0)")
    page.wait_for_timeout(1_000)  # cells out of view are drawn only now
    page.screenshot(path=folder / "notebook.png")


def shown_by(view) -> str:
    """What a view shows below its controls."""
    return "".join(part.inner_html() for part in view.query_selector_all(".widget-html-content"))


def turn(control, back: bool = False) -> None:
    """Set a control to another value, as a hand or a keyboard would."""
    if handle := control.query_selector(".noUi-handle"):
        at_its_end = float(handle.get_attribute("aria-valuenow")) >= float(handle.get_attribute("aria-valuemax"))
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
    """Turn each control of each view and wait for the picture to change; return how many there were."""
    turned = 0
    for view in page.query_selector_all(VIEW):
        for control in view.query_selector_all(".widget-slider, .widget-dropdown, .widget-text, .widget-checkbox"):
            name = control.query_selector(".widget-label, .widget-label-basic").text_content()
            before = shown_by(view)
            turn(control)
            end = time.monotonic() + A_PICTURE
            while shown_by(view) == before:
                assert time.monotonic() < end, f"{name!r} did not change what is shown"
                if control.query_selector(".noUi-handle") and time.monotonic() > end - A_PICTURE + 5:
                    turn(control, back=True)  # some do nothing in one direction: a longer limit for a row that fits
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
    outputs = page.eval_on_selector_all(".jp-OutputArea-output", "outputs => outputs.map(output => output.textContent)")
    assert [text for text in outputs if FAILED_WIDGET.search(text)] == []
    missing = page.eval_on_selector_all(".jp-Notebook img", "images => images.filter(i => !i.naturalWidth).map(i => i.src.slice(0, 80))")
    assert missing == []
    keep_screenshots(page, name)
    turned = turn_every_control(page)
    assert (turned > 0) == controls_in(name)


def test_short_one_notebook_with_a_view(page, lab):
    work_through(page, lab, SHORT)


@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if name != SHORT])
def test_every_notebook(page, lab, name):
    work_through(page, lab, name)


def write_notebook(path: Path, *cells: str) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)


TRAIN = """
import torch
from pathlib import Path
from transformers import BloomConfig, BloomForCausalLM, TrainingArguments
from tutorial_lib.dashboard import TrainingDashboard
from tutorial_lib.models import load_tokenizer
from tutorial_lib.training import build_trainer

tokenizer = load_tokenizer("tinyworld")
model = BloomForCausalLM(BloomConfig(vocab_size=len(tokenizer), hidden_size=64, n_layer=2, n_head=2))
row = {"input_ids": [5, 6, 7, 2], "attention_mask": [1, 1, 1, 1], "labels": [-100, 6, 7, 2]}
arguments = TrainingArguments("stopped", max_steps=100_000, logging_steps=20, save_strategy="no", disable_tqdm=True)
trainer = build_trainer(model, tokenizer, [row] * 64, arguments, [TrainingDashboard()])
trainer.train()
print("ended at step", trainer.state.global_step, [path.name for path in Path("stopped").iterdir()])
"""


def test_short_the_stop_button_stops_a_running_training_and_saves(page, lab):
    write_notebook(lab.folder / "stop.ipynb", TRAIN)
    open_notebook(page, lab, "stop.ipynb")
    run_all(page)
    page.wait_for_selector(f"{VIEW} img")  # the first log is drawn: the cell runs
    page.click("button.jupyter-button:has-text('Stop and save')")
    wait_until_run(page, seconds=60)
    text = page.text_content(".jp-Notebook")
    step = int(re.search(r"ended at step (\d+)", text)[1])
    assert 0 < step < 100_000
    assert f"checkpoint-{step}" in text
    assert "stopped and saved" in text


@pytest.mark.parametrize(("cell", "error"), [("1 / 0", "ZeroDivisionError"), ("1 +", "SyntaxError")])
def test_short_a_failing_cell_is_seen(page, lab, cell, error):
    """The check itself."""
    write_notebook(lab.folder / f"{error}.ipynb", cell)
    open_notebook(page, lab, f"{error}.ipynb")
    run_all(page)
    wait_until_run(page, seconds=60)
    assert any(error in text for text in errors(page))
