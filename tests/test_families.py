"""Notebooks 00 to 08 with other profiles, models of other families, and three-column data."""

import json
from pathlib import Path

import nbformat
import pytest
import torch
from datasets import DatasetDict
from nbclient import NotebookClient
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    Qwen2Config,
    TrainingArguments,
)

from tutorial_lib.data import COLUMNS
from tutorial_lib.profiles import PROFILES, get_profile
from tutorial_lib.recipe import training_arguments

FORGET = "%reset -f"  # every name of the notebook before
ROWS = 120  # 6 of them are held out
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
}
CONFIGURATIONS = {
    "llama": lambda tokens: LlamaConfig(**tokens, **LLAMA),
    "qwen2": lambda tokens: Qwen2Config(**tokens, **LLAMA),
    "gpt2": lambda tokens: GPT2Config(**tokens, n_embd=32, n_layer=2, n_head=4, n_positions=512),
}

FROM_THE_PROFILE = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "num_train_epochs",
    "learning_rate",
    "warmup_steps",
    "lr_scheduler_type",
    "lr_scheduler_kwargs",
    "logging_steps",
)


@pytest.mark.parametrize("number", ["06", "07"])
@pytest.mark.parametrize("name", PROFILES)
def test_the_arguments_in_a_notebook_are_the_librarys_of_that_profile(number, name, monkeypatch):
    monkeypatch.setenv("TUTORIAL_PROFILE", name)
    [path] = [path for path in NOTEBOOKS if path.name.startswith(number)]
    cells = nbformat.read(path, as_version=4).cells
    first = next(cell for cell in cells if "arguments = TrainingArguments(" in cell.source)
    names = {"torch": torch, "TrainingArguments": TrainingArguments, "profile": get_profile()}
    exec(first.source, names)
    arguments = names["arguments"]
    expected = training_arguments(get_profile(), arguments.output_dir)
    for field in FROM_THE_PROFILE + (("bf16", "seed") if number == "07" else ()):
        assert getattr(arguments, field) == getattr(expected, field), field


@pytest.fixture(scope="module")
def plain_file(splits: DatasetDict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JSON file with the columns instruction, input and output: no task, no language."""
    rows = splits["train"].select(range(ROWS)).select_columns(COLUMNS).to_list()
    file = tmp_path_factory.mktemp("data") / "rows.json"
    file.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return file


def save_random_model(family: str, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save a model fresh from its configuration: no token is likely, no answer ends by itself."""
    ids = ("bos_token_id", "eos_token_id", "pad_token_id")
    tokens = {name: getattr(tokenizer, name) for name in ids}
    config: PreTrainedConfig = CONFIGURATIONS[family]({"vocab_size": len(tokenizer), **tokens})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def notebooks_of_a_profile() -> nbformat.NotebookNode:
    """All notebooks that ask for a profile, one after the other in one kernel: imports are slow."""
    together = nbformat.v4.new_notebook()
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        if any("get_profile(" in cell.source for cell in cells):
            together.cells += [nbformat.v4.new_code_cell(FORGET), *cells]
    return together


@pytest.mark.slow
@pytest.mark.parametrize("family", CONFIGURATIONS)
def test_the_notebooks_run_with_any_causal_model(
    family, plain_file, tokenizer, tmp_path, monkeypatch
):
    save_random_model(family, tokenizer, tmp_path / "model")
    monkeypatch.setenv("TUTORIAL_MODEL", str(tmp_path / "model"))
    monkeypatch.setenv("TUTORIAL_DATASET", str(plain_file))
    monkeypatch.setenv("TUTORIAL_RUNS", str(tmp_path / "runs"))
    together = notebooks_of_a_profile()
    assert sum(cell.source == FORGET for cell in together.cells) >= 8
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(together, timeout=300, kernel_name="python3", resources=resources).execute()
