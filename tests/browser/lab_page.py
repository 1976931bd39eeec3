"""A notebook in JupyterLab, as a hand would drive it: opened, run, read."""

import json
import re
import time
import urllib.request

A_NOTEBOOK = 600  # seconds; none takes half of it
TRACEBACK = re.compile(
    r"Traceback \(most recent call last\)|^\w*(Error|Exception|Interrupt)\b", re.MULTILINE
)
VIEW = ".jp-OutputArea-output .jupyter-widgets.widget-vbox"


def open_notebook(page, lab, name: str) -> None:
    page.goto(f"{lab.url}/doc/tree/{name}?reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    # The page shows an idle kernel before it has one, and cells run then would start a second
    # kernel. So ask the server.
    end = time.monotonic() + 60
    while name not in ready_in(lab):
        assert time.monotonic() < end, f"no kernel for {name} after a minute"
        time.sleep(0.1)
    page.wait_for_selector('.jp-NotebookPanel-toolbar [data-status="idle"]')


def ready_in(lab) -> set[str]:
    """The notebooks whose kernel is idle and connected to a page, as the server knows it."""
    with urllib.request.urlopen(f"{lab.url}/api/sessions", timeout=10) as reply:
        sessions = json.load(reply)
    idle = [
        session
        for session in sessions
        if session["kernel"] and session["kernel"]["execution_state"] == "idle"
    ]
    return {session["path"] for session in idle if session["kernel"]["connections"] > 0}


def run_all(page) -> None:
    # While JupyterLab is still loading, a click on the menu can be lost: repeat it until it works.
    for _ in range(5):
        page.click('.lm-MenuBar-item:has-text("Run")')
        page.click('.lm-Menu-item:has-text("Run All Cells")')
        end = time.monotonic() + 5
        while time.monotonic() < end:
            if prompts(page)[0] != "[ ]:":
                return
            time.sleep(0.1)
    raise AssertionError("JupyterLab did not begin after five clicks on Run All Cells")


def prompts(page) -> list[str]:
    """The prompt of each code cell: ``[ ]:``, ``[*]:`` or a number."""
    return page.eval_on_selector_all(
        ".jp-Notebook .jp-CodeCell .jp-InputArea-prompt",
        "cells => cells.map(cell => cell.textContent)",
    )


def wait_until_run(page, seconds: float = A_NOTEBOOK) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        shown = prompts(page)
        if errors(page) or all(re.search(r"\d", prompt) for prompt in shown):
            return
        time.sleep(0.5)
    raise AssertionError(f"not done after {seconds} s: {prompts(page)}")


def errors(page) -> list[str]:
    """Tracebacks. JupyterLab shows them like standard error, which alone is not a failure."""
    outputs = '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]'
    texts = page.eval_on_selector_all(
        outputs, "outputs => outputs.map(output => output.textContent)"
    )
    return [text for text in texts if TRACEBACK.search(text)]
