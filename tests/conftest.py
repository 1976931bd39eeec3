"""What many test modules use: the shipped tokenizer, model and data, and a random tiny model."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from datasets import DatasetDict, disable_progress_bars
from transformers import BloomConfig, BloomForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from tutorial_lib.data import load_splits
from tutorial_lib.models import load_model, load_tokenizer

disable_progress_bars()  # of `Dataset.map`: hundreds of them would hide a failing test's output


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with a slow test first: two processes share the files."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Exclude imported modules from garbage collection: they live until the process ends."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep tests out of the checkout's ``runs``, and the learner's settings out of tests."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUTORIAL_RUNS", str(folder))
        for variable in ("TUTORIAL_PROFILE", "TUTORIAL_MODEL", "TUTORIAL_DATASET"):
            patch.delenv(variable, raising=False)
        yield folder


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    """The tokenizer that ships with the kit; shared, so a test that changes one works on a copy."""
    return load_tokenizer("tinyworld")


@pytest.fixture(scope="session")
def model() -> PreTrainedModel:
    """The base model that ships with the kit; shared, so no test trains it."""
    return load_model("tinyworld").eval()


@pytest.fixture(scope="session")
def splits(own_runs_folder: Path) -> DatasetDict:
    """TinyWorld's instruction data, ``train`` and ``held_out``."""
    return load_splits("tinyworld")


@pytest.fixture(scope="session")
def tiny_model_folder(
    tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A random Bloom of 2 layers with the shipped tokenizer; read-only: copy it to damage it."""
    config = BloomConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        n_layer=2,
        n_head=4,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        random_model = BloomForCausalLM(config)
    folder = tmp_path_factory.mktemp("tiny_model")
    random_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_model(tiny_model_folder: Path) -> PreTrainedModel:
    """The random tiny model, loaded afresh for each test: free to be trained or changed."""
    return load_model(tiny_model_folder)
