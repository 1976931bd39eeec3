"""The script that a learner takes away does what the library does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, set_seed

from tutorial_lib.data import encode_dataset
from tutorial_lib.models import load_model
from tutorial_lib.profiles import get_profile
from tutorial_lib.recipe import build_trainer, training_arguments

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "examples" / "finetune.py"


def run_script(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_plain_script_trains_the_same_weights_as_the_library(
    tmp_path, tiny_model_folder, tokenizer, splits
):
    rows = splits["train"].select(range(72))
    for name, part in (("train", rows), ("held_out", splits["held_out"].select(range(3)))):
        lines = [json.dumps(row, ensure_ascii=False) for row in part.to_list()]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")

    done = run_script(
        *("--out", tmp_path / "plain"),
        *("--model", tiny_model_folder),
        *("--data", tmp_path / "train.jsonl"),
        *("--held-out", tmp_path / "held_out.jsonl"),
    )
    assert done.returncode == 0, done.stderr
    assert "of 3 held-out rows answered exactly" in done.stdout

    profile = get_profile("tiny")
    set_seed(profile.seed)
    model = load_model(tiny_model_folder)
    arguments = training_arguments(profile, tmp_path / "library", save_strategy="no")
    encoded = encode_dataset(rows, tokenizer, profile.max_length).dataset
    build_trainer(model, tokenizer, encoded, arguments).train()
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "plain").state_dict()
    untrained = load_model(tiny_model_folder).state_dict()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, plain[name]), name
    assert any(not torch.equal(plain[name], untrained[name]) for name in plain)


def test_the_plain_script_says_what_is_missing(tmp_path):
    done = run_script("--out", tmp_path, "--data", tmp_path / "absent.jsonl")
    assert done.returncode == 1
    assert "error: no file" in done.stderr
