"""``python -m tutorial_lib.launch --processes 2 --out runs/two``: the same ``tutorial_lib.train``, several processes together.

Without a configuration the processes are started by ``torchrun`` on this machine; with ``--config`` by ``accelerate launch`` as the file
says (``configs/`` has some). Everything else on the command line goes to ``tutorial_lib.train``, which refuses to go on where fewer or
more processes really run than were asked for.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from tutorial_lib.command import run_command
from tutorial_lib.errors import ProcessesError

TRAIN = "tutorial_lib.train"


def command(arguments: Sequence[str]) -> list[str]:
    """Return the command line that starts the processes.

    Raises:
        ProcessesError: neither ``--processes`` nor ``--config``, both in conflict, or a configuration that can't be used here.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tutorial_lib.launch",
        description=__doc__.split("\n\n")[1],
        allow_abbrev=False,
    )
    parser.add_argument("--processes", type=int, help="how many processes train together")
    parser.add_argument(
        "--config", type=Path, help="an accelerate configuration, e.g. configs/ddp_8.yaml"
    )
    parser.add_argument(
        "--machine-rank", type=int, default=0, help="which of several machines this is, from 0"
    )
    parser.add_argument("--main-address", default="127.0.0.1", help="address of machine 0")
    parser.add_argument("--module", default=TRAIN, help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args(arguments)
    if options.config is None:
        if options.processes is None or options.processes < 1:
            raise ProcessesError(
                f"--processes is {options.processes}: say how many processes are to train, at least 1, or give --config"
            )
        start = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={options.processes}",
        ]
        return [
            sys.executable,
            *start,
            "--module",
            options.module,
            "--processes",
            str(options.processes),
            *rest,
        ]
    settings = _read(options.config)
    processes = int(settings.get("num_processes", 1))
    if options.processes not in (None, processes):
        raise ProcessesError(
            f"--processes {options.processes}, but {options.config} says num_processes: {processes}; leave one out"
        )
    machines = int(settings.get("num_machines", 1))
    where = (
        ["--machine_rank", str(options.machine_rank), "--main_process_ip", options.main_address]
        if machines > 1
        else []
    )
    start = ["-m", "accelerate.commands.launch", "--config_file", str(options.config), *where]
    return [
        sys.executable,
        *start,
        "--module",
        options.module,
        "--processes",
        str(processes),
        *rest,
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Start the processes, wait, and tell in one line where they failed."""
    line = command(sys.argv[1:] if arguments is None else arguments)
    processes = int(line[line.index("--processes") + 1])
    threads = str(
        max(1, (os.cpu_count() or 1) // processes)
    )  # together they get the machine's cores, no more
    status = subprocess.run(
        line, env={"OMP_NUM_THREADS": threads, **os.environ}, check=False
    ).returncode
    if status:
        raise ProcessesError(
            f"the processes ended with status {status}; what the first of them said stands above"
        )


def _read(path: Path) -> dict:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ProcessesError(
            f"{path} can't be read as an accelerate configuration ({type(error).__name__}); see configs/"
        ) from None
    if not isinstance(settings, dict):
        raise ProcessesError(f"{path} holds no settings; see configs/")
    if (
        settings.get("distributed_type") == "DEEPSPEED"
        and importlib.util.find_spec("deepspeed") is None
    ):
        raise ProcessesError(
            f"{path} wants DeepSpeed, which is not installed: pip install deepspeed, or take configs/fsdp2_8.yaml"
        )
    return settings


if __name__ == "__main__":
    run_command(main)
