"""The stand-in of the article's size, in small: it loads, and has the lengths that it promises."""

import importlib.util
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tutorial_lib.data import encode_dataset, load_instructions
from tutorial_lib.errors import OutputError
from tutorial_lib.models import load_tokenizer
from tutorial_lib.scaling.shapes import ModelShape

SHAPE = ModelShape(vocabulary=600, hidden=32, layers=2, heads=4)


@pytest.fixture(scope="module")
def stand_in():
    path = Path(__file__).parents[1] / "bench" / "stand_in.py"
    spec = importlib.util.spec_from_file_location("stand_in", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(stand_in, tmp_path_factory):
    out = tmp_path_factory.mktemp("stand_in")
    stand_in.write_stand_in(out, SHAPE, rows=30)
    return out


def test_model_and_rows_have_the_size_and_can_be_trained_on(folder):
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype="auto")
    tokenizer = load_tokenizer(folder / "model")
    assert model.num_parameters() == SHAPE.parameters
    assert model.dtype == torch.float16
    assert len(tokenizer) == model.config.vocab_size == SHAPE.vocabulary
    assert model.config.eos_token_id == tokenizer.eos_token_id
    rows = load_instructions(folder / "rows.jsonl")
    assert len(rows) == 30
    assert len(encode_dataset(rows, tokenizer, max_length=4_000).dataset) == 30


def test_a_folder_with_something_in_it_is_refused(stand_in, folder):
    with pytest.raises(OutputError, match="give --out a new folder"):
        stand_in.write_stand_in(folder, SHAPE)


def test_the_same_seed_writes_the_same_text_of_the_length_asked_for(stand_in):
    first, second = (stand_in.Babble(words=50, seed=3) for _ in range(2))
    assert first.row() == second.row()
    assert [len(first.text(characters)) for characters in (1, 2, 77)] == [1, 2, 77]


def test_lengths_follow_the_measured_quantiles(stand_in):
    output_characters = stand_in.output_characters
    assert [output_characters(share) for share in (0, 0.5, 0.95, 1)] == [1, 161, 431, 1_200]
    assert output_characters(0.625) == (161 + 315) / 2
    with pytest.raises(ValueError, match="is not a share"):
        output_characters(1.1)
