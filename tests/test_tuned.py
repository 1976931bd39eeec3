from dataclasses import replace

import pytest
import torch
from datasets import Dataset

from tutorial_lib.models import load_model
from tutorial_lib.profiles import PROFILES, Profile
from tutorial_lib.run_folder import save_model
from tutorial_lib.tuned import COURSE_MODEL, tuned_model


def rows(count: int) -> list[dict]:
    """Rows whose prompts and answers all differ in length."""
    return [
        {
            "instruction": f"Repeat {number}." + " Please." * (number % 4),
            "input": "",
            "output": "一二三四五六七"[: 1 + 3 * number % 7] * (1 + number % 3),
        }
        for number in range(count)
    ]


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


@pytest.fixture(params=["tiny", "fast", "article"])
def small_profile(request, tiny_model_folder, tmp_path, monkeypatch) -> Profile:
    """A profile with the random model, 40 rows of data and a runs folder of its own."""
    monkeypatch.setenv("TUTORIAL_RUNS", str(tmp_path / "runs"))
    Dataset.from_list(rows(40)).save_to_disk(str(tmp_path / "data"))
    return replace(
        PROFILES[request.param],
        model=str(tiny_model_folder),
        dataset=str(tmp_path / "data"),
        quick_rows=32,
    )


def test_tuned_model_is_the_one_of_notebook_07(small_profile, tiny_model, tokenizer, capsys):
    folder = small_profile.folder / COURSE_MODEL
    save_model(tiny_model, tokenizer, folder)
    assert tuned_model(small_profile) == folder
    assert capsys.readouterr().out == ""  # nothing was trained


def test_tuned_model_is_made_once_where_notebook_07_has_not_been_run(
    small_profile, tiny_model, capsys
):
    folder = tuned_model(small_profile)
    assert "fine-tuning on 32 rows" in capsys.readouterr().out
    assert not same_weights(load_model(folder), tiny_model)
    weights = (folder / "model.safetensors").read_bytes()
    assert tuned_model(small_profile) == folder
    assert capsys.readouterr().out == ""
    assert (folder / "model.safetensors").read_bytes() == weights
