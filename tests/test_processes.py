"""One recipe, several processes: one curve, sharded parameters, checkpoints that load anywhere."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tutorial_lib.errors import ProcessesError
from tutorial_lib.launch import command_line
from tutorial_lib.launch import main as launch
from tutorial_lib.models import load_model
from tutorial_lib.processes import batches_per_step, join_processes
from tutorial_lib.scaling.fsdp import digest, load_whole

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
ROWS = 256  # 8 steps of 32; every row leaves something to learn from
PATIENCE = 60  # seconds until the peers of a process that died must have ended


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Prompts and answers of several lengths, so that padding and token counts differ per batch."""
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    rows = [
        {
            "instruction": "数到" * (1 + n % 7) + str(n),
            "input": "",
            "output": " ".join(map(str, range(n % 11 + 1))),
        }
        for n in range(ROWS + 14)
    ]
    path.write_text(
        "\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8"
    )
    return path


def run(
    module: str, *arguments: object, processes: int | None = None, **options
) -> subprocess.CompletedProcess:
    start = (
        [
            sys.executable,
            "-m",
            "tutorial_lib.launch",
            "--module",
            module,
            "--processes",
            str(processes),
        ]
        if processes
        else None
    )
    line = [*(start or [sys.executable, "-m", module]), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, encoding="utf-8", timeout=300, **options)


@pytest.fixture(scope="module")
def figures(tiny_model_folder, data, tmp_path_factory):
    """The metrics of the same training by 1, 2 and 4 processes."""
    out = tmp_path_factory.mktemp("runs")
    few = [
        "--evaluation-rows",
        3,  # fewer than processes
        "--max-new-tokens",
        3,
        "--logging-steps",
        1,
        "--learning-rate",
        1e-3,
        "--limit-rows",
        ROWS,
    ]
    for processes in (1, 2, 4):
        paths = ["--model", tiny_model_folder, "--dataset", data, "--out", out / str(processes)]
        several = processes if processes > 1 else None
        done = run("tutorial_lib.train", *paths, *few, processes=several)
        assert done.returncode == 0, done.stderr
        assert f"{processes} process{'es' * (processes > 1)} on cpu" in done.stdout
        assert done.stdout.count("answered exactly") == 1, "one process speaks"
    return {
        processes: json.loads((out / str(processes) / "metrics.json").read_text())
        for processes in (1, 2, 4)
    }


@pytest.mark.parametrize("processes", [2, 4])
def test_the_curve_is_that_of_one_process(figures, processes):
    alone, together = figures[1]["losses"], figures[processes]["losses"]
    assert len(alone) == len(together) == ROWS // 32
    assert [loss for _, loss in together] == pytest.approx([loss for _, loss in alone], abs=1e-5)
    assert figures[processes]["processes"] == processes
    assert alone[0][1] > alone[-1][1]


@pytest.mark.parametrize("processes", [2, 4])
def test_shared_questions_give_the_figures_of_one_process(figures, processes):
    for when in ("before", "after"):
        assert figures[processes][when] == figures[1][when]
    assert figures[1]["after"]["exact_match"]["train"]["zh"] is not None


@pytest.fixture(scope="module")
def sharded(tiny_model_folder, tmp_path_factory):
    """Folders of the same sharded training by 1, 2 and 4 processes."""
    out = tmp_path_factory.mktemp("sharded")
    for processes in (1, 2, 4):
        options = ["--model", tiny_model_folder, "--steps", 6, "--out", out / str(processes)]
        several = processes if processes > 1 else None
        done = run("tutorial_lib.scaling.sharding", *options, processes=several)
        assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("processes", [2, 4])
def test_sharded_training_holds_its_share_and_follows_the_same_curve(sharded, processes):
    alone, together = (
        json.loads((sharded / str(n) / "metrics.json").read_text()) for n in (1, processes)
    )
    assert together["local"] * processes == together["total"] == alone["local"]
    assert together["losses"] == pytest.approx(alone["losses"], abs=1e-5)


@pytest.mark.parametrize("processes", [2, 4])
def test_a_sharded_checkpoint_loads_into_one_process_bit_for_bit(
    sharded, tiny_model_folder, processes
):
    folder = sharded / str(processes)
    untrained = load_model(tiny_model_folder)
    before = digest(untrained.state_dict())
    trained = load_whole(untrained, folder / "sharded")
    assert (
        digest(trained.state_dict())
        == json.loads((folder / "metrics.json").read_text())["digest"]
        != before
    )


@pytest.mark.parametrize(("asked", "running"), [(2, 1), (1, 2), (4, 2)])
def test_fewer_or_more_processes_than_asked_for_are_refused(monkeypatch, asked, running):
    monkeypatch.setenv("WORLD_SIZE", str(running))
    with pytest.raises(ProcessesError, match=f"{asked} processes were asked for and {running} run"):
        join_processes(asked)


def test_accelerates_silent_single_process_is_noticed(tiny_model_folder, data, tmp_path):
    """`accelerate launch --cpu --num_processes 2` starts one process."""
    line = [
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "-m",
        "tutorial_lib.train",
        "--processes",
        "2",
    ]
    arguments = [
        "--model",
        str(tiny_model_folder),
        "--dataset",
        str(data),
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(
        [sys.executable, *line, *arguments], capture_output=True, encoding="utf-8", timeout=120
    )
    assert done.returncode != 0
    assert "2 processes were asked for and 1 runs" in done.stderr
    assert not (tmp_path / "out").exists()


def test_sharding_that_would_silently_not_happen_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ProcessesError, match="unsharded copies"):
        join_processes()


@pytest.mark.parametrize(
    ("rows", "batch", "processes", "expected"),
    [(32, 4, 1, 8), (32, 4, 2, 4), (32, 4, 8, 1), (32, 2, 16, 1)],
)
def test_a_step_has_the_same_rows_however_many_share_it(rows, batch, processes, expected):
    assert batches_per_step(rows, batch, processes) == expected
    assert expected * batch * processes == rows


@pytest.mark.parametrize(("batch", "processes"), [(4, 3), (4, 16), (5, 1)])
def test_what_does_not_come_out_even_is_refused(batch, processes):
    with pytest.raises(ProcessesError, match=r"can't be divided.*--batch-size"):
        batches_per_step(32, batch, processes)


def test_a_process_that_dies_takes_the_others_along_and_leaves_none_behind(
    tiny_model_folder, data, tmp_path
):
    arguments = [
        "--model",
        str(tiny_model_folder),
        "--dataset",
        str(data),
        "--out",
        str(tmp_path / "out"),
        "--epochs",
        "500",
    ]
    line = [
        sys.executable,
        "-m",
        "tutorial_lib.launch",
        "--processes",
        "2",
        *arguments,
        "--evaluation-rows",
        "2",
        "--max-new-tokens",
        "2",
    ]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as running:
        ranks: list[psutil.Process] = []
        end = time.monotonic() + 120
        while not (tmp_path / "out" / "checkpoints").is_dir():  # in the middle of training
            assert time.monotonic() < end
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.2)
        ranks = [
            p for p in psutil.Process(running.pid).children(recursive=True) if "RANK" in p.environ()
        ]
        assert len(ranks) == 2
        os.kill(ranks[1].pid, signal.SIGKILL)
        _, log = running.communicate(timeout=PATIENCE)
    assert running.returncode != 0
    assert log.strip().splitlines()[-1].startswith("error: the processes ended with status")
    assert not any(rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE for rank in ranks)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_ready_configuration_starts_what_it_says(path, monkeypatch):
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: object()
    )  # as if DeepSpeed were there
    line = command_line(["--config", str(path), "--machine-rank", "1", "--out", "x"])
    assert line[line.index("--processes") + 1] == str(settings["num_processes"])
    assert ("--machine_rank" in line) == (settings["num_machines"] > 1)
    assert line[-2:] == ["--out", "x"]


def test_accelerate_understands_the_configurations():
    from accelerate.commands.config.config_args import load_config_from_file

    read = {path.stem: load_config_from_file(str(path)) for path in CONFIGS}
    assert {"gpu_1", "ddp_8", "fsdp2_8", "fsdp2_2x8", "deepspeed_zero3_8"} == set(read)
    assert read["fsdp2_8"].fsdp_config["fsdp_version"] == 2
    assert read["fsdp2_8"].fsdp_config["fsdp_activation_checkpointing"] is True
    assert read["fsdp2_2x8"].num_machines == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--processes is None"),
        (["--processes", "0"], "--processes is 0"),
        (["--config", "missing.yaml"], "missing.yaml can't be read"),
        (["--config", str(CONFIGS[0]), "--processes", "3"], "says num_processes: "),
    ],
)
def test_a_launch_that_can_not_be_says_why(arguments, message):
    with pytest.raises(ProcessesError, match=message):
        launch(arguments)


def test_deepspeed_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ProcessesError, match="pip install deepspeed"):
        command_line(["--config", str(CONFIGS[0].with_name("deepspeed_zero3_8.yaml"))])
