"""The commands as a learner meets them: what they write, and one line of advice when they fail."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, BertForMaskedLM, Trainer

from tutorial_lib import chat, train
from tutorial_lib.command import run_command
from tutorial_lib.tinyworld import __main__ as tinyworld

ROWS = [
    {"instruction": f"第{number}题", "input": "", "output": f"答{number}"} for number in range(40)
]
ROWS += [
    {"instruction": f"Question {number}", "input": "", "output": f"Answer {number}"}
    for number in range(40)
]


@pytest.fixture
def data_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS), encoding="utf-8"
    )
    return path


def tree(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def model_data_out(model, dataset, out) -> list:
    return ["--model", model, "--dataset", dataset, "--out", out]


def fails_in_one_line(capsys, main, *arguments):
    """Run a command that must fail and return its line."""
    with pytest.raises(SystemExit) as stopped:
        run_command(lambda: main([str(argument) for argument in arguments]))
    assert isinstance(stopped.value.code, str), (
        "sys.exit(text) prints the text and exits with status 1"
    )
    assert stopped.value.code.startswith("error: ")
    assert "\n" not in stopped.value.code
    assert "Traceback" not in capsys.readouterr().err
    return stopped.value.code


COMMANDS = (
    "train",
    "chat",
    "memory",
    "launch",
    "doctor",
    "exercises",
    "tinyworld",
    "course",
    "book",
)
HELP = """
import runpy, sys
name = sys.argv.pop(1)
sys.argv.append("--help")
try:
    runpy.run_module(f"tutorial_lib.{name}", run_name="__main__", alter_sys=True)
except SystemExit as stopped:
    assert not stopped.code
print("imported:", *sorted({"torch", "transformers", "datasets", "nbformat"} & set(sys.modules)))
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_comes_before_anything_heavy_is_imported(command):
    line = [sys.executable, "-c", HELP, command]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert "usage: python -m tutorial_lib" in done.stdout
    assert done.stdout.splitlines()[-1].split() == ["imported:"]


def test_a_command_of_another_package_keeps_its_garbage_collector(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "__init__.py").write_text("import tutorial_lib.command", encoding="utf-8")
    (tmp_path / "other" / "job.py").write_text("import gc; print(gc.isenabled())", encoding="utf-8")
    line = [sys.executable, "-m", "other.job"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"]


def test_train_writes_a_model_and_its_figures_and_repeats_exactly(
    tiny_model_folder, data_file, tmp_path
):
    metrics = []
    for name in ("one", "two"):
        out = tmp_path / name
        options = [
            "--model",
            tiny_model_folder,
            "--dataset",
            data_file,
            "--out",
            out,
            "--max-new-tokens",
            4,
            "--evaluation-rows",
            10,
        ]
        train.main(list(map(str, options)))
        AutoModelForCausalLM.from_pretrained(out)
        AutoTokenizer.from_pretrained(out)
        metrics.append(json.loads((out / "metrics.json").read_text(encoding="utf-8")))
        assert metrics[-1].pop("train_seconds") > 0
    assert metrics[0] == metrics[1]
    assert (tmp_path / "one" / "model.safetensors").read_bytes() == (
        tmp_path / "two" / "model.safetensors"
    ).read_bytes()
    assert set(metrics[0]) == {"before", "after", "processes", "losses"}
    assert metrics[0]["processes"] == 1
    for figures in (metrics[0]["before"], metrics[0]["after"]):
        assert set(figures) == {"exact_match", "stopping_rate"}
        assert 0 <= figures["stopping_rate"] <= 1
        assert set(figures["exact_match"]) == {"held_out", "train"}
        for shares in figures["exact_match"].values():
            assert set(shares) == {"zh", "en"}
            assert all(share is None or 0 <= share <= 1 for share in shares.values())


def damage(tiny_model_folder, tmp_path, change):
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_model_folder, folder)
    change(folder)
    return folder


def without_token(name):
    def change(folder):
        path = folder / "tokenizer_config.json"
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings.pop(name)
        path.write_text(json.dumps(settings), encoding="utf-8")

    return change


def truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1_000])


def without_a_tensor(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("transformer.ln_f.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def masked_language_model(folder):
    BertForMaskedLM(
        BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ).save_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (truncated, "damaged"),
        (without_token("pad_token"), "pad_token"),
        (without_token("eos_token"), "eos_token"),
        (without_a_tensor, "1 tensors are missing"),
        (masked_language_model, "not a causal language model"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
    ],
)
def test_model_that_can_not_be_used(capsys, tiny_model_folder, data_file, tmp_path, change, says):
    folder = damage(tiny_model_folder, tmp_path, change)
    line = fails_in_one_line(
        capsys, train.main, *model_data_out(folder, data_file, tmp_path / "out")
    )
    assert says in line
    assert str(folder) in line
    assert not (tmp_path / "out").exists()


def test_model_folder_that_is_missing(capsys, tmp_path):
    assert "no such file or folder" in fails_in_one_line(
        capsys, chat.main, "--model", tmp_path / "nowhere"
    )


def test_profile_that_does_not_exist(capsys, tmp_path, monkeypatch):
    assert "tiny, fast, article" in fails_in_one_line(
        capsys, train.main, "--profile", "huge", "--out", tmp_path / "out"
    )
    monkeypatch.setenv("TUTORIAL_PROFILE", "huge")
    assert "tiny, fast, article" in fails_in_one_line(capsys, train.main, "--out", tmp_path / "out")


def test_data_that_is_none(capsys, tiny_model_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for dataset, says in [
        (tmp_path / "nowhere", "no such file or folder"),
        (tmp_path / "empty", "is not a data set"),
    ]:
        line = fails_in_one_line(
            capsys, train.main, *model_data_out(tiny_model_folder, dataset, tmp_path / "out")
        )
        assert says in line
        assert not (tmp_path / "out").exists()


def test_folder_with_another_run_is_left_alone(capsys, tiny_model_folder, data_file, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "metrics.json").write_text("{}")
    before = tree(tmp_path)
    options = ["--model", tiny_model_folder, "--dataset", data_file, "--out", out]
    assert "not empty" in fails_in_one_line(capsys, train.main, *options)
    assert "finished run" in fails_in_one_line(capsys, train.main, *options, "--resume")
    assert "not empty" in fails_in_one_line(capsys, tinyworld.main, "build", "--out", out)
    assert tree(tmp_path) == before


def test_disk_that_is_full(capsys, tiny_model_folder, data_file, tmp_path, monkeypatch):
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1_000)
    )
    line = fails_in_one_line(
        capsys, train.main, *model_data_out(tiny_model_folder, data_file, tmp_path / "out")
    )
    assert "no space left" in line
    assert not (tmp_path / "out" / "settings.json").exists()


def test_chat_answers_lines_until_they_end(tiny_model_folder):
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "tutorial_lib.chat",
            "--model",
            str(tiny_model_folder),
            "--max-new-tokens",
            "3",
        ],
        input="一\ntwo\n",
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.splitlines()) >= 2


@pytest.mark.parametrize(
    "settings", [{"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}]
)
def test_article_profile_without_a_network_says_what_to_do(tmp_path, settings):
    start = time.perf_counter()
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "tutorial_lib.train",
            "--profile",
            "article",
            "--out",
            str(tmp_path / "out"),
        ],
        env={**os.environ, "HF_HOME": str(tmp_path / "cache"), **settings},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    # The bar is 15 seconds on an idle machine; a busy one gets more.
    assert time.perf_counter() - start < 60
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("error: model 'Langboat/bloom-800m-zh' can't be loaded")
    for way in ("HF_ENDPOINT", "local folder", "TUTORIAL_PROFILE=tiny"):
        assert way in last
    assert not (tmp_path / "out").exists()


# --- an interruption ------------------------------------------------------------------------------


def train_options(model_folder, data_file, out, *more):
    few = "--max-new-tokens 4 --evaluation-rows 10 --batch-size 2 --accumulation 1 --epochs 3"
    return [*map(str, model_data_out(model_folder, data_file, out)), *few.split(), *map(str, more)]


class InterruptingTrainer(Trainer):
    """Stopped as by Ctrl-C, or by the power, at its 105th step: five after a checkpoint."""

    def training_step(self, *args, **kwargs):
        if self.state.global_step == 105:
            raise KeyboardInterrupt
        return super().training_step(*args, **kwargs)


def test_train_that_was_interrupted_and_resumed_ends_like_one_in_one_go(
    capsys, tiny_model_folder, data_file, tmp_path, monkeypatch
):
    train.main(train_options(tiny_model_folder, data_file, tmp_path / "whole"))
    with monkeypatch.context() as patch:
        patch.setattr("tutorial_lib.recipe.Trainer", InterruptingTrainer)
        with pytest.raises(SystemExit, match="stopped"):
            run_command(
                lambda: train.main(train_options(tiny_model_folder, data_file, tmp_path / "cut"))
            )
    assert not (tmp_path / "cut" / "metrics.json").exists()
    # A checkpoint that the power cut off in the middle stands in the way of no one.
    (tmp_path / "cut" / "checkpoints" / "checkpoint-110").mkdir()
    assert "not empty" in fails_in_one_line(
        capsys, train.main, *train_options(tiny_model_folder, data_file, tmp_path / "cut")
    )
    train.main(train_options(tiny_model_folder, data_file, tmp_path / "cut", "--resume"))
    whole, resumed = (tmp_path / name for name in ("whole", "cut"))
    assert (whole / "model.safetensors").read_bytes() == (
        resumed / "model.safetensors"
    ).read_bytes()
    figures = [
        json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        for folder in (whole, resumed)
    ]
    assert figures[0]["after"] == figures[1]["after"]
    states = [
        json.loads(next(folder.rglob("trainer_state.json")).read_text(encoding="utf-8"))
        for folder in (whole, resumed)
    ]
    losses = [
        [entry["loss"] for entry in state["log_history"] if "loss" in entry] for state in states
    ]
    assert losses[0] == losses[1]


def test_resume_with_other_options_is_refused(
    capsys, tiny_model_folder, data_file, tmp_path, monkeypatch
):
    monkeypatch.setattr("tutorial_lib.recipe.Trainer", InterruptingTrainer)
    with pytest.raises(SystemExit, match="stopped"):
        run_command(
            lambda: train.main(train_options(tiny_model_folder, data_file, tmp_path / "cut"))
        )
    before = tree(tmp_path)
    options = train_options(
        tiny_model_folder, data_file, tmp_path / "cut", "--resume", "--learning-rate", "1"
    )
    assert "no run with these settings" in fails_in_one_line(capsys, train.main, *options)
    assert tree(tmp_path) == before


# A limit on the size of a file ends a write in the middle, as a disk does that fills up later.
WITH_A_LIMIT = """
import resource, runpy, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.argv[:2] = ["train"]
runpy.run_module("tutorial_lib.train", run_name="__main__", alter_sys=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are Unix's")
@pytest.mark.parametrize("what_fails", ["weights", "optimizer"])
def test_disk_that_fills_up_in_the_middle_leaves_no_model_and_can_be_resumed(
    tiny_model_folder, data_file, tmp_path, what_fails
):
    weights = (tiny_model_folder / "model.safetensors").stat().st_size
    limit = {"weights": weights // 2, "optimizer": weights + weights // 4}[
        what_fails
    ]  # Adam's two states take twice the weights
    out = tmp_path / "out"
    options = train_options(tiny_model_folder, data_file, out)
    ended = subprocess.run(
        [sys.executable, "-c", WITH_A_LIMIT, str(limit), *options],
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert ended.returncode == 1, ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "another disk" in last
    assert "Traceback" not in ended.stderr
    assert not (out / "config.json").exists()
    assert not (out / "metrics.json").exists()
    train.main([*options, "--resume"])
    AutoModelForCausalLM.from_pretrained(out)


# --- data sets at the edge ------------------------------------------------------------------------


def test_data_set_without_a_row_that_fits(capsys, tiny_model_folder, tmp_path):
    path = tmp_path / "long.jsonl"
    path.write_text(
        "\n".join(
            json.dumps({"instruction": "长" * (300 + n), "input": "", "output": "a"})
            for n in range(4)
        ),
        encoding="utf-8",
    )
    line = fails_in_one_line(
        capsys, train.main, *model_data_out(tiny_model_folder, path, tmp_path / "out")
    )
    assert "no row leaves a token to learn from" in line
    assert "--max-length" in line


def test_data_set_of_one_row(capsys, tiny_model_folder, tmp_path):
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(ROWS[0]), encoding="utf-8")
    line = fails_in_one_line(
        capsys, train.main, *model_data_out(tiny_model_folder, path, tmp_path / "out")
    )
    assert "give at least 2" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "main",
    [train.main, lambda arguments: tinyworld.main(["build", *arguments[-2:]])],
    ids=["train", "build"],
)
def test_out_that_is_a_file(capsys, tiny_model_folder, data_file, tmp_path, main):
    (tmp_path / "file").write_text("text")
    line = fails_in_one_line(
        capsys, main, *model_data_out(tiny_model_folder, data_file, tmp_path / "file")
    )
    assert "is a file: give --out a folder" in line
    assert (tmp_path / "file").read_text() == "text"


def test_out_below_a_file(capsys, tmp_path):
    (tmp_path / "file").write_text("text")
    line = fails_in_one_line(capsys, tinyworld.main, "build", "--out", tmp_path / "file" / "world")
    assert str(tmp_path / "file") in line


def test_pretrain_without_its_data(capsys, tmp_path):
    line = fails_in_one_line(
        capsys,
        tinyworld.main,
        "pretrain",
        "--data",
        tmp_path / "nowhere",
        "--out",
        tmp_path / "out",
    )
    assert "no corpus" in line
    assert "build --out" in line
    assert not (tmp_path / "out").exists()
