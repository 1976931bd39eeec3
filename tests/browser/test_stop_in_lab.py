"""In the real JupyterLab: the stop button stops a training, and a failing cell is noticed."""

import re
from pathlib import Path

import nbformat
import pytest
from lab_page import VIEW, errors, open_notebook, run_all, wait_until_run

pytestmark = pytest.mark.browser


def write_notebook(path: Path, *cells: str) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(notebook, path)


TRAIN = """
import torch
from pathlib import Path
from transformers import BloomConfig, BloomForCausalLM, TrainingArguments
from tutorial_lib.show.dashboard import TrainingDashboard
from tutorial_lib.models import load_tokenizer
from tutorial_lib.recipe import build_trainer

tokenizer = load_tokenizer("tinyworld")
shape = BloomConfig(vocab_size=len(tokenizer), hidden_size=64, n_layer=2, n_head=2)
model = BloomForCausalLM(shape)
row = {"input_ids": [5, 6, 7, 2], "attention_mask": [1, 1, 1, 1], "labels": [-100, 6, 7, 2]}
arguments = TrainingArguments(
    "stopped", max_steps=100_000, logging_steps=20, save_strategy="no", disable_tqdm=True
)
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


@pytest.mark.parametrize(
    ("cell", "error"), [("1 / 0", "ZeroDivisionError"), ("1 +", "SyntaxError")]
)
def test_short_a_failing_cell_is_seen(page, lab, cell, error):
    """The check itself."""
    write_notebook(lab.folder / f"{error}.ipynb", cell)
    open_notebook(page, lab, f"{error}.ipynb")
    run_all(page)
    wait_until_run(page, seconds=60)
    assert any(error in text for text in errors(page))
