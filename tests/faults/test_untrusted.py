"""Input is data: no code of a model runs, no typed token steers, no text becomes HTML."""

import json
import os
import pickle
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tutorial_lib.book import __main__ as book
from tutorial_lib.errors import ModelError
from tutorial_lib.inference import answer, build_pipeline
from tutorial_lib.models import load_model, load_tokenizer
from tutorial_lib.profiles import get_profile
from tutorial_lib.recipe import build_trainer, training_arguments
from tutorial_lib.show import widgets
from tutorial_lib.show.tables import html_table

HTML = [
    '<script>alert("x")</script>',
    "<img src=x onerror=alert(1)>",
    "</table><b>",
    "&lt;",
    "a\x00b<i>",
]


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mknod, (str(self.marker),)


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "code-ran"


@pytest.fixture
def folder(tiny_model_folder, tmp_path):
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


def test_the_bomb_works(marker):
    pickle.loads(pickle.dumps(Bomb(marker)))
    assert marker.exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickled_weights_are_refused_and_never_unpickled(folder, marker, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(ModelError, match=r"weights of .* can't be loaded.*safetensors"):
        load_model(folder)
    assert not marker.exists()


def test_pickled_weights_beside_the_safe_ones_are_not_looked_at(folder, marker):
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(marker)))
    load_model(folder)
    assert not marker.exists()


CODE = """
import os
os.mknod({marker!r})
from transformers import BloomConfig as Config, BloomForCausalLM as Model
from transformers import PreTrainedTokenizerFast as Tokenizer
"""


@pytest.mark.parametrize("model_type", ["bloom", "a_type_of_its_own"])
def test_code_that_comes_with_a_model_does_not_run(folder, marker, model_type):
    (folder / "own.py").write_text(CODE.format(marker=str(marker)), encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {
        "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"},
        "model_type": model_type,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if model_type == "bloom":  # transformers has a class of its own for it
        load_model(folder)
    else:
        with pytest.raises(ModelError):
            load_model(folder)
    assert not marker.exists()


def test_code_that_comes_with_a_tokenizer_does_not_run(folder, marker):
    (folder / "own.py").write_text(CODE.format(marker=str(marker)), encoding="utf-8")
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {
        "auto_map": {"AutoTokenizer": [None, "own.Tokenizer"]}
    }
    path.write_text(json.dumps(config | {"tokenizer_class": "Tokenizer"}), encoding="utf-8")
    with suppress(ModelError):  # refused, or made by the library's own class
        load_tokenizer(folder)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_checkpoint_with_a_bomb_in_it_does_not_go_off(folder, tokenizer, marker, tmp_path, name):
    rows = [{"input_ids": [5, 6, 2], "attention_mask": [1, 1, 1], "labels": [-100, 6, 2]}] * 16

    def make(steps: int):
        settings = {
            "max_steps": steps,
            "save_steps": 2,
            "gradient_accumulation_steps": 1,
            "disable_tqdm": True,
            "report_to": "none",
        }
        return build_trainer(
            load_model(folder),
            tokenizer,
            rows,
            training_arguments(get_profile("tiny"), tmp_path / "out", **settings),
        )

    make(2).train()
    torch.save(Bomb(marker), tmp_path / "out" / "checkpoint-2" / name)
    with pytest.raises(Exception, match=r"[Ww]eights.only|Unpickl"):
        make(4).train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    assert not marker.exists()


# --- tokens that somebody typed ------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["</s>", "<pad>", "<s>"])
def test_a_question_with_a_special_token_reaches_the_model_as_text(model, tokenizer, typed):
    pipe = build_pipeline(model, tokenizer)
    ids = pipe.tokenizer(f"Human: a{typed}b")["input_ids"]
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(ids) == f"Human: a{typed}b"


def test_an_answer_that_spells_the_end_token_goes_on_to_its_real_end(tokenizer, tiny_model):
    script_ids = tokenizer("x</s>y", split_special_tokens=True)["input_ids"] + [
        tokenizer.eos_token_id
    ]
    script = iter(script_ids)

    def dictate(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        forced = torch.full_like(scores, -torch.inf)
        forced[:, next(script)] = 0
        return forced

    [generated] = answer(
        ["?"], tiny_model, tokenizer, max_new_tokens=20, progress=False, logits_processor=[dictate]
    )
    assert generated.text == "x</s>y"
    assert generated.stopped


# --- text in pictures and tables -----------------------------------------------------------------


@pytest.mark.parametrize("text", HTML)
def test_text_in_a_table_is_text(text):
    table = html_table([text], [[text]])
    assert text not in table
    assert table.count("<td ") == table.count("<th ") == 1
    assert "<script" not in table
    assert "<img" not in table


@pytest.mark.parametrize("text", HTML[:3])
def test_text_in_a_view_is_text(model, tokenizer, text):
    row = {"instruction": text, "input": text, "output": text}
    shown = [
        widgets.mask_microscope(tokenizer, {"before": model}, row, max_length=128).html,
        widgets.chat({text: model}, tokenizer, text).html,
        widgets.sampling_playground(model, tokenizer, text, text).html,
    ]
    for html in shown:
        assert "<script" not in html
        assert "onerror" not in html.replace("&lt;img src=x onerror", "")
        assert "<b>" not in html.replace('role="alert"><b>', "")


def test_the_message_about_a_wrong_value_is_text(tokenizer, model):
    view = widgets.mask_microscope(
        tokenizer, {"m": model}, {"instruction": "<script>", "output": "x"}
    )
    view.controls["output"].value = ""
    assert 'role="alert"' in view.html
    assert "<script" not in view.html


def test_the_book_is_made_by_a_library_that_escapes():
    assert book.__name__.startswith("tutorial_lib.book")
