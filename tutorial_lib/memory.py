"""What a full fine-tuning takes in memory: a closed formula, an estimate of a whole step that allocates nothing, and a real step measured.

``python -m tutorial_lib.memory`` prints the estimate.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from tutorial_lib.console import run_command
from tutorial_lib.models import resolve_model
from tutorial_lib.profiles import get_profile

GIB = 2**30


@dataclass(frozen=True)
class Precision:
    """How many bytes a parameter's weight, its gradient and each optimizer state take."""

    weight: int
    gradient: int
    state: int


# Autocast computes in bfloat16 but keeps the weights, and with them gradients and states, in float32.
PRECISIONS: Mapping[str, Precision] = MappingProxyType(
    {"float32": Precision(4, 4, 4), "bfloat16 autocast": Precision(4, 4, 4), "bfloat16 weights": Precision(2, 2, 2)}
)
# States a parameter: Adam's two moments, momentum's one.
OPTIMIZER_STATES: Mapping[str, int] = MappingProxyType({"AdamW": 2, "SGD with momentum": 1, "SGD": 0})
CARDS = (8, 16, 24, 48, 80)  # memory of usual graphics cards (GiB)


def fixed_memory(parameters: int, precision: str = "float32", optimizer: str = "AdamW") -> dict[str, int]:
    """Return the bytes of ``weights``, ``gradients`` and ``optimizer states``; activations come on top.

    Args:
        parameters: of the model, all of them trained.
        precision: a key of PRECISIONS.
        optimizer: a key of OPTIMIZER_STATES.

    Raises:
        ValueError: a negative number of parameters, or a precision or optimizer that is not listed.
    """
    if parameters < 0:
        raise ValueError(f"parameters is {parameters}: give a number of at least 0")
    for name, chosen, known in (("precision", precision, PRECISIONS), ("optimizer", optimizer, OPTIMIZER_STATES)):
        if chosen not in known:
            raise ValueError(f"{name} {chosen!r} is not known: choose one of {', '.join(known)}")
    size = PRECISIONS[precision]
    return {
        "weights": size.weight * parameters,
        "gradients": size.gradient * parameters,
        "optimizer states": OPTIMIZER_STATES[optimizer] * size.state * parameters,
    }


@dataclass(frozen=True)
class Step:
    """A training step whose memory is asked for.

    Attributes:
        batch: rows a forward pass.
        length: tokens a row.
        precision: a key of PRECISIONS.
        optimizer: a key of OPTIMIZER_STATES.
        fused: one kernel for all of AdamW, which needs no temporary copies; Trainer's default. Else ``foreach``, PyTorch's.
        checkpointing: activations are computed again in the backward pass instead of kept.
    """

    batch: int = 4
    length: int = 256
    precision: str = "float32"
    optimizer: str = "AdamW"
    fused: bool = True
    checkpointing: bool = False

    def __post_init__(self) -> None:
        """Refuse what can't be."""
        fixed_memory(0, self.precision, self.optimizer)
        if min(self.batch, self.length) < 1:
            raise ValueError(f"batch {self.batch} × length {self.length}: both must be at least 1")


def estimate_training_memory(model: str | PreTrainedConfig, step: Step = Step()) -> dict[str, int]:
    """Return the peak bytes of a training step by part, without allocating them.

    A real model is built and trained for two steps (the second has the optimizer's states) on tensors that have a shape and no memory
    (``FakeTensorMode``), under PyTorch's own memory tracker.

    Args:
        model: a configuration, or what ``resolve_model`` takes; only its configuration is read.
        step: what is done with it.

    Returns:
        ``parameters``, ``gradients``, ``optimizer states``, ``activations``, ``temporary`` and ``peak``, their sum, at the moment of
        the peak. What the optimizer keeps while it works counts as its states.
    """
    configuration = model if isinstance(model, PreTrainedConfig) else AutoConfig.from_pretrained(resolve_model(model))
    with FakeTensorMode():
        trained, optimizer = _prepare(configuration, step)
        tracker = MemTracker()
        tracker.track_external(trained, optimizer)
        with tracker:
            _train_step(trained, optimizer, step)
            tracker.reset_mod_stats()
            _train_step(trained, optimizer, step)
        [snapshot] = tracker.get_tracker_snapshot("peak").values()
    found = {str(kind).split(".")[-1]: size for kind, size in snapshot.items()}
    parts = {
        "parameters": found["PARAM"] + found["BUFFER"],
        "gradients": found["GRAD"],
        "optimizer states": found["OPT"],
        "activations": found["ACT"],
        "temporary": found["TEMP"] + found["OTH"],
    }
    return {**parts, "peak": sum(parts.values())}


def sharded(parts: Mapping[str, int], devices: int, stage: int) -> dict[str, int]:
    """Return what each of `devices` holds with ZeRO of this stage (Rajbhandari et al., arXiv 1910.02054).

    Stage 1 shards the optimizer's states, 2 the gradients too, 3 the parameters too; activations belong to each device's own rows.

    Raises:
        ValueError: no such stage, or no device.
    """
    if stage not in (0, 1, 2, 3) or devices < 1:
        raise ValueError(f"ZeRO stage {stage} on {devices} devices: the stage is 0 to 3, and there is at least one device")
    shared = ("optimizer states", "gradients", "parameters")[:stage]
    each = {part: -(-size // devices) if part in shared else size for part, size in parts.items() if part != "peak"}
    return {**each, "peak": sum(each.values())}


def measure_training_memory(configuration: PreTrainedConfig, step: Step = Step()) -> int:
    """Return the peak resident memory (bytes) of two real steps on this machine's processor, above that of the process before them.

    In a process of its own, whose allocator is told to give memory back at once: else what is free still counts as resident. Intel's
    MKL is told to keep no buffers for its matrix products: 17 to 36 MB, by processor and threads, whatever the size of the model.
    """
    quiet = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1", "MKL_DISABLE_FAST_MM": "1"}
    job = json.dumps({"configuration": configuration.to_dict(), "step": asdict(step)})
    command = [sys.executable, "-m", "tutorial_lib.memory", "--measure"]
    done = subprocess.run(command, input=job, env={**os.environ, **quiet}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the measuring process failed: {done.stderr.strip().splitlines()[-1:]}")
    return int(done.stdout)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the estimate for a profile's model, or for another."""
    parser = argparse.ArgumentParser(
        prog="python -m tutorial_lib.memory", description="Memory of a full fine-tuning, without allocating it."
    )
    parser.add_argument("--profile", help="tiny or article (default: TUTORIAL_PROFILE, else tiny)")
    parser.add_argument("--model", help="a hub id or local folder; only its configuration is read")
    parser.add_argument("--batch", type=int, help="rows a forward pass (default: the profile's)")
    parser.add_argument("--length", type=int, help="tokens a row (default: the profile's)")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        job = json.load(sys.stdin)
        print(_measure(_configuration(job["configuration"]), Step(**job["step"])))
        return
    profile = get_profile(options.profile)
    base = Step(batch=options.batch or profile.per_device_train_batch_size, length=options.length or profile.max_length)
    _print_table(options.model or profile.model, base)


def _print_table(model: str, base: Step) -> None:
    variants = {
        "float32, AdamW (fused)": base,
        "float32, AdamW (foreach)": replace(base, fused=False),
        "… with checkpointing": replace(base, checkpointing=True),
        "bfloat16 autocast": replace(base, precision="bfloat16 autocast"),
        "bfloat16 weights": replace(base, precision="bfloat16 weights"),
        "SGD": replace(base, optimizer="SGD"),
    }
    print(f"{model}: batch {base.batch} × {base.length} tokens, GiB at the peak\n")
    names = ("parameters", "gradients", "optimizer states", "activations", "temporary", "peak")
    print(f"{'':<26}" + "".join(f"{name:>18}" for name in names))
    for label, step in variants.items():
        parts = estimate_training_memory(model, step)
        print(f"{label:<26}" + "".join(f"{parts[name] / GIB:>18.2f}" for name in names), flush=True)


def _prepare(configuration: PreTrainedConfig, step: Step) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    dtype = torch.bfloat16 if step.precision == "bfloat16 weights" else torch.float32
    model = AutoModelForCausalLM.from_config(configuration, dtype=dtype).train()
    model.config.use_cache = False
    if step.checkpointing:
        model.gradient_checkpointing_enable()
    if step.optimizer == "AdamW":
        how = {"fused": True} if step.fused else {"foreach": True}
        return model, torch.optim.AdamW(model.parameters(), lr=1e-5, **how)
    momentum = 0.9 if step.optimizer == "SGD with momentum" else 0.0
    return model, torch.optim.SGD(model.parameters(), lr=1e-5, momentum=momentum, fused=step.fused or None)


def _train_step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: Step) -> None:
    ids = torch.randint(0, model.config.vocab_size, (step.batch, step.length))
    autocast = torch.autocast("cpu", dtype=torch.bfloat16) if step.precision == "bfloat16 autocast" else nullcontext()
    with autocast:
        loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def _configuration(values: Mapping[str, object]) -> PreTrainedConfig:
    return AutoConfig.for_model(**values)


def _measure(configuration: PreTrainedConfig, step: Step) -> int:
    # A first, small step loads libraries and starts threads, which belong to the process and not to the training.
    small = {"n_layer": 1, "hidden_size": 32, "n_head": 2, "vocab_size": 64}
    warm_up = replace(step, batch=1, length=8)
    _train_step(*_prepare(_configuration({**configuration.to_dict(), **small}), warm_up), warm_up)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # Linux then counts the peak from here (man 5 proc)
    before = _peak()
    model, optimizer = _prepare(configuration, step)
    for _ in range(2):
        _train_step(model, optimizer, step)
    return _peak() - before


def _peak() -> int:
    """The highest resident memory (bytes) since it was reset."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    run_command(main)
