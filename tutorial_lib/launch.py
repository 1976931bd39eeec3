"""``python -m tutorial_lib.launch --processes 2 --out runs/two``: train in several processes.

``torchrun`` starts them on this machine, or, with ``--config``, ``accelerate launch`` as the file
says (``configs/`` has some). All other options go to ``tutorial_lib.train``, which refuses to
go on if more or fewer processes run than were asked for.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tutorial_lib.command import run_command
from tutorial_lib.errors import ProcessesError

TRAIN = "tutorial_lib.train"


def command_line(arguments: Sequence[str]) -> list[str]:
    """Return the command line that starts the processes.

    Raises:
        ProcessesError: neither ``--processes`` nor ``--config``, both in conflict, or a
            configuration that can't be used here.
    """
    description = __doc__.split("\n\n")[1]
    parser = argparse.ArgumentParser(
        "python -m tutorial_lib.launch", description=description, allow_abbrev=False
    )
    add = parser.add_argument
    add("--processes", type=int, help="how many processes train together")
    add("--config", type=Path, help="an accelerate configuration, e.g. configs/ddp_8.yaml")
    add("--machine-rank", type=int, default=0, help="which of several machines this is, from 0")
    add("--main-address", default="127.0.0.1", help="address of machine 0")
    add("--module", default=TRAIN, help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args(arguments)
    processes, config = options.processes, options.config
    if config is None:
        if processes is None or processes < 1:
            remedy = "say how many processes must train, at least 1, or give --config"
            raise ProcessesError(f"--processes is {processes}: {remedy}")
        start = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    else:
        settings = _read(config)
        configured = int(settings.get("num_processes", 1))
        if processes not in (None, configured):
            conflict = f"--processes {processes}, but {config} says num_processes: {configured}"
            raise ProcessesError(f"{conflict}; leave one out")
        processes = configured
        start = ["accelerate.commands.launch", "--config_file", str(config)]
        if int(settings.get("num_machines", 1)) > 1:
            start += ["--machine_rank", str(options.machine_rank)]
            start += ["--main_process_ip", options.main_address]
    train = ["--module", options.module, "--processes", str(processes), *rest]
    return [sys.executable, "-m", *start, *train]


def main(arguments: Sequence[str] | None = None) -> None:
    """Start the processes, wait, and say in one line if they failed."""
    line = command_line(sys.argv[1:] if arguments is None else arguments)
    processes = int(line[line.index("--processes") + 1])
    threads = str(max(1, (os.cpu_count() or 1) // processes))  # together: the machine's cores
    environment = {"OMP_NUM_THREADS": threads, **os.environ}
    status = subprocess.run(line, env=environment, check=False).returncode
    if status:
        raise ProcessesError(f"the processes ended with status {status}; the first error is above")


def _read(path: Path) -> dict:
    import yaml

    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        kind = type(error).__name__
        problem = f"{path} can't be read as an accelerate configuration ({kind})"
        raise ProcessesError(f"{problem}; see configs/") from None
    if not isinstance(settings, dict):
        raise ProcessesError(f"{path} holds no settings; see configs/")
    needs_deepspeed = settings.get("distributed_type") == "DEEPSPEED"
    if needs_deepspeed and importlib.util.find_spec("deepspeed") is None:
        remedy = "pip install deepspeed, or take configs/fsdp2_8.yaml"
        raise ProcessesError(f"{path} wants DeepSpeed, which is not installed: {remedy}")
    return settings


if __name__ == "__main__":
    run_command(main)
