"""What a full fine-tuning takes in memory: a closed formula, an estimate of a whole step that allocates nothing, and a real step measured.

``python -m tutorial_lib.memory`` prints the estimate.
"""

import argparse
import gc
import json
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from transformers import AutoConfig, AutoModelForCausalLM, BloomConfig, PreTrainedConfig
from transformers.optimization import Adafactor

from tutorial_lib.command import run_command
from tutorial_lib.models import resolve_model
from tutorial_lib.profiles import PROFILES, get_profile

GIB = 2**30


@dataclass(frozen=True)
class Precision:
    """How many bytes a parameter's weight, its gradient and each optimizer state take."""

    weight: int
    gradient: int
    state: int


# Autocast computes in bfloat16 but keeps the weights, and with them gradients and states, in float32.
PRECISIONS: Mapping[str, Precision] = MappingProxyType(
    {
        "float32": Precision(4, 4, 4),
        "bfloat16 autocast": Precision(4, 4, 4),
        "bfloat16 weights": Precision(2, 2, 2),
    }
)
BLOCK = 256  # numbers that share a scale in 8-bit states (Dettmers et al., arXiv 2110.02861; bitsandbytes)
SMALL_TENSOR = 4_096  # elements; bitsandbytes keeps the states of smaller tensors in float32


@dataclass(frozen=True)
class States:
    """What an optimizer keeps for each parameter: so many numbers of the precision's size, and so many bytes whatever the precision."""

    numbers: int = 0
    bytes: float = 0.0


OPTIMIZERS: Mapping[str, States] = MappingProxyType(
    {
        "AdamW": States(numbers=2),  # the two moments
        "8-bit AdamW": States(bytes=2 * (1 + 4 / BLOCK)),
        "Adafactor": States(),  # a sum for each row and each column of a matrix: next to nothing (Shazeer and Stern, arXiv 1804.04235)
        "SGD with momentum": States(numbers=1),
        "SGD": States(),
    }
)
PARTS = ("parameters", "gradients", "optimizer states", "activations", "temporary")
CARDS = (8, 16, 24, 48, 80)  # memory of usual graphics cards (GiB)


def fixed_memory(
    parameters: int, precision: str = "float32", optimizer: str = "AdamW"
) -> dict[str, int]:
    """Return the bytes of ``weights``, ``gradients`` and ``optimizer states``; activations come on top.

    Args:
        parameters: of the model, all of them trained.
        precision: a key of PRECISIONS.
        optimizer: a key of OPTIMIZERS.

    Raises:
        ValueError: a negative number of parameters, or a precision or optimizer that is not listed.
    """
    if parameters < 0:
        raise ValueError(f"parameters is {parameters}: give a number of at least 0")
    for name, chosen, known in (
        ("precision", precision, PRECISIONS),
        ("optimizer", optimizer, OPTIMIZERS),
    ):
        if chosen not in known:
            raise ValueError(f"{name} {chosen!r} is not known: choose one of {', '.join(known)}")
    size, states = PRECISIONS[precision], OPTIMIZERS[optimizer]
    return {
        "weights": size.weight * parameters,
        "gradients": size.gradient * parameters,
        "optimizer states": round((states.numbers * size.state + states.bytes) * parameters),
    }


@dataclass(frozen=True)
class Step:
    """A training step whose memory is asked for.

    Attributes:
        batch: rows a forward pass.
        length: tokens a row.
        precision: a key of PRECISIONS.
        optimizer: a key of OPTIMIZERS.
        fused: one kernel for all of AdamW, which needs no temporary copies; Trainer's default. Else ``foreach``, PyTorch's.
        checkpointing: activations are computed again in the backward pass instead of kept.
        released: each gradient is used and let go as soon as it is there, in the backward pass; no accumulation then, no clipping of the
            norm. After PyTorch's tutorial on the optimizer step in the backward pass, and LOMO (arXiv 2306.09782).
        accumulation: forward passes an optimizer step. From the second on, the gradients of those before stand beside the activations; so
            more than two take what two take.
    """

    batch: int = 4
    length: int = 256
    precision: str = "float32"
    optimizer: str = "AdamW"
    fused: bool = True
    checkpointing: bool = False
    released: bool = False
    accumulation: int = 1

    def __post_init__(self) -> None:
        """Refuse what can't be."""
        fixed_memory(0, self.precision, self.optimizer)
        if min(self.batch, self.length, self.accumulation) < 1:
            raise ValueError(
                f"batch {self.batch} × length {self.length}, accumulation {self.accumulation}: each must be at least 1"
            )
        if self.released and self.accumulation > 1:
            raise ValueError(
                f"accumulation {self.accumulation} with released gradients: a gradient that is let go can't be added to"
            )


def estimate_training_memory(model: str | PreTrainedConfig, step: Step = Step()) -> dict[str, int]:
    """Return the peak bytes of a training step by part, without allocating them.

    A real model is built and trained for a step, with the optimizer's states there from the start as from the second step on, on tensors
    that have a shape and no memory (``FakeTensorMode``), under PyTorch's own memory tracker.

    Args:
        model: a configuration, or what ``resolve_model`` takes; only its configuration is read.
        step: what is done with it.

    Returns:
        ``parameters``, ``gradients``, ``optimizer states``, ``activations``, ``temporary`` and ``peak``, their sum, at the moment of
        the peak. What the optimizer keeps while it works counts as its states.
    """
    configuration = (
        model
        if isinstance(model, PreTrainedConfig)
        else AutoConfig.from_pretrained(resolve_model(model))
    )
    with FakeTensorMode():
        trained, optimizers = _prepare(configuration, step)
        tracker = MemTracker()
        tracker.track_external(trained, *optimizers)
        with tracker, warnings.catch_warnings():
            # The tracker meets an output that is None, says so, and counts nothing for it.
            warnings.filterwarnings(
                "ignore",
                message="Expected a tensor or a traceable wrapper-subclass",
                category=UserWarning,
            )
            _make_states(optimizers)
            _train_step(
                trained, optimizers, step, after_backward=tracker.reset_mod_stats
            )  # it follows one forward pass at a time
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


# Layers of the two small models that an estimate is drawn out from; with fewer, the peak can lie elsewhere in the step.
FEW_LAYERS = (4, 6)


@lru_cache(maxsize=256)
def plan_training_memory(shape: "ModelShape", step: Step = Step()) -> dict[str, int]:
    """Return what ``estimate_training_memory`` would for a Bloom of this shape, in seconds however many layers it has.

    Every part grows by the same bytes with each layer, so two small models give the line; a test holds it against the whole estimate.
    """
    if shape.layers <= FEW_LAYERS[-1]:
        return estimate_training_memory(shape.configuration(), step)
    few, more = (
        estimate_training_memory(shape.configuration(layers), step) for layers in FEW_LAYERS
    )
    steps = (shape.layers - FEW_LAYERS[0]) / (FEW_LAYERS[1] - FEW_LAYERS[0])
    return {part: round(size + (more[part] - size) * steps) for part, size in few.items()}


@dataclass(frozen=True)
class ModelShape:
    """A Bloom's size: entries of the vocabulary, numbers a token, layers, attention heads."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int

    def configuration(self, layers: int | None = None) -> BloomConfig:
        """Return the configuration, with another number of layers where one is given; without dropout, as the article's."""
        return BloomConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            n_layer=layers or self.layers,
            n_head=self.heads,
            hidden_dropout=0.0,
            attention_dropout=0.0,
        )

    @property
    def layer_parameters(self) -> int:
        """Of one layer: attention (4 h²), the feed-forward part (8 h²), their biases, two norms."""
        return 12 * self.hidden**2 + 13 * self.hidden

    @property
    def other_parameters(self) -> int:
        """Of the embedding, which is also the output head, and two norms."""
        return self.vocabulary * self.hidden + 4 * self.hidden

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.layers * self.layer_parameters + self.other_parameters


# The article's model and its two larger sizes. Those two are no model that one can download, only Blooms of that size with its vocabulary.
SHAPES: Mapping[str, ModelShape] = MappingProxyType(
    {
        "0.8 B": ModelShape(46_145, 1_536, 24, 16),
        "8 B": ModelShape(46_145, 4_096, 39, 32),
        "80 B": ModelShape(46_145, 9_216, 78, 72),
    }
)


KNOWN_SHAPES: Mapping[str, ModelShape] = MappingProxyType(
    {"Langboat/bloom-800m-zh": SHAPES["0.8 B"]}
)  # nothing to download for it


def sharded(
    parts: Mapping[str, int], devices: int, stage: int, gathered: int = 0
) -> dict[str, int]:
    """Return what each of `devices` holds with ZeRO of this stage (Rajbhandari et al., arXiv 1910.02054).

    Stage 1 shards the optimizer's states, 2 the gradients too, 3 the parameters too; activations belong to each device's own rows.

    Args:
        parts: bytes by part, as ``estimate_training_memory`` returns them.
        devices: how many there are.
        stage: 0 to 3; FSDP's full sharding is 3.
        gathered: bytes that each device holds whole for a moment in stage 3 (a layer at work, and the next one already on its way).

    Raises:
        ValueError: no such stage, or no device.
    """
    if stage not in (0, 1, 2, 3) or devices < 1:
        raise ValueError(
            f"ZeRO stage {stage} on {devices} devices: the stage is 0 to 3, and there is at least one device"
        )
    shared = ("optimizer states", "gradients", "parameters")[:stage]
    each = {
        part: -(-size // devices) if part in shared else size
        for part, size in parts.items()
        if part != "peak"
    }
    if stage == 3 and devices > 1:
        each["temporary"] += gathered
    return {**each, "peak": sum(each.values())}


def measure_training_memory(configuration: PreTrainedConfig, step: Step = Step()) -> int:
    """Return the peak resident memory (bytes) of two real steps on this machine's processor, above that of the process before them.

    Needs Linux. In a process of its own, whose allocator is told to give memory back at once: else what is free still counts as resident.
    Intel's MKL is told to keep no buffers for its matrix products: 17 to 36 MB, by processor and threads, whatever the size of the model.

    Raises:
        ValueError: an optimizer that runs on GPUs only.
        RuntimeError: the measuring process failed.
    """
    quiet = {
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
        "MALLOC_ARENA_MAX": "1",
        "MKL_DISABLE_FAST_MM": "1",
    }
    if step.optimizer == "8-bit AdamW":
        raise ValueError(
            "8-bit AdamW needs bitsandbytes and a GPU: it can be estimated here, not measured"
        )
    job = json.dumps({"configuration": configuration.to_dict(), "step": asdict(step)})
    command = [sys.executable, "-m", "tutorial_lib.memory", "--measure"]
    done = subprocess.run(
        command, input=job, env={**os.environ, **quiet}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the measuring process failed: {done.stderr.strip().splitlines()[-1:]}")
    return int(done.stdout)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the estimate for a profile's model, or for another."""
    parser = argparse.ArgumentParser(
        prog="python -m tutorial_lib.memory",
        description="Memory of a full fine-tuning, without allocating it.",
    )
    parser.add_argument(
        "--profile", help=f"{', '.join(PROFILES)} (default: TUTORIAL_PROFILE, else tiny)"
    )
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
    base = Step(
        batch=options.batch or profile.per_device_train_batch_size,
        length=options.length or profile.max_length,
        accumulation=profile.gradient_accumulation_steps,
    )
    _print_table(options.model or profile.model, base)


def _print_table(model: str, base: Step) -> None:
    shape = KNOWN_SHAPES.get(model)

    def estimate(step: Step) -> dict[str, int]:
        return plan_training_memory(shape, step) if shape else estimate_training_memory(model, step)

    once = replace(base, accumulation=1)
    variants = {
        "float32, AdamW (fused)": base,
        "… without accumulation": once,
        "… (foreach) without": replace(once, fused=False),
        "… with checkpointing": replace(base, checkpointing=True),
        "bfloat16 autocast": replace(base, precision="bfloat16 autocast"),
        "bfloat16 weights": replace(base, precision="bfloat16 weights"),
        "8-bit AdamW": replace(base, optimizer="8-bit AdamW"),
        "Adafactor": replace(base, optimizer="Adafactor"),
        "AdamW, gradients released": replace(once, released=True),
        "SGD": replace(base, optimizer="SGD"),
    }
    print(
        f"{model}: {base.accumulation} × {base.batch} rows × {base.length} tokens a step, GiB at the peak\n"
    )
    print(f"{'':<26}" + "".join(f"{name:>18}" for name in (*PARTS, "peak", "by formula")))
    for label, step in variants.items():
        parts = estimate(step)
        # The article's way: weights, gradients and states, nothing of what depends on the rows.
        formula = sum(
            fixed_memory(
                parts["parameters"] // PRECISIONS[step.precision].weight,
                step.precision,
                step.optimizer,
            ).values()
        )
        figures = [*(parts[name] for name in (*PARTS, "peak")), formula]
        print(f"{label:<26}" + "".join(f"{size / GIB:>18.2f}" for size in figures), flush=True)


class _EightBitStates(torch.optim.Optimizer):
    """Allocates what an 8-bit AdamW keeps, and moves nothing: for estimates only."""

    def __init__(self, parameters: Iterable[torch.Tensor]) -> None:
        super().__init__(parameters, {})

    def step(self, closure: None = None) -> None:
        for parameter in (
            p for group in self.param_groups for p in group["params"] if not self.state[p]
        ):
            small = parameter.numel() < SMALL_TENSOR
            for name in ("exp_avg", "exp_avg_sq"):
                self.state[parameter][name] = torch.empty(
                    parameter.numel(), dtype=torch.float32 if small else torch.uint8
                )
                if not small:
                    self.state[parameter][f"{name}_scales"] = torch.empty(
                        math.ceil(parameter.numel() / BLOCK)
                    )


def _optimizer_of(step: Step) -> Callable[[Iterable[torch.Tensor]], torch.optim.Optimizer]:
    how = {"fused": True} if step.fused else {"foreach": True}
    makers = {
        "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=1e-5, **how),
        "8-bit AdamW": _EightBitStates,
        # As Trainer makes it.
        "Adafactor": lambda parameters: Adafactor(
            parameters, lr=1e-5, scale_parameter=False, relative_step=False
        ),
        "SGD with momentum": lambda parameters: torch.optim.SGD(
            parameters, lr=1e-5, momentum=0.9, **how
        ),
        "SGD": lambda parameters: torch.optim.SGD(parameters, lr=1e-5, **how),
    }
    return makers[step.optimizer]


def _prepare(
    configuration: PreTrainedConfig, step: Step
) -> tuple[torch.nn.Module, list[torch.optim.Optimizer]]:
    dtype = torch.bfloat16 if step.precision == "bfloat16 weights" else torch.float32
    model = AutoModelForCausalLM.from_config(configuration, dtype=dtype).train()
    model.config.use_cache = False
    if step.checkpointing:
        # The older name is deprecated; releases before have no other.
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    make = _optimizer_of(step)
    if not step.released:
        return model, [make(model.parameters())]
    optimizers = {parameter: make([parameter]) for parameter in model.parameters()}

    def use_and_let_go(parameter: torch.Tensor) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in optimizers:
        parameter.register_post_accumulate_grad_hook(use_and_let_go)
    return model, list(optimizers.values())


def _make_states(optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Let optimizers make what they keep, without the forward and backward pass that would cost as much again as those to be tracked."""
    for optimizer in optimizers:
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad()


def _train_step(
    model: torch.nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    step: Step,
    after_backward: Callable[[], None] = lambda: None,
) -> None:
    ids = torch.randint(0, model.config.vocab_size, (step.batch, step.length))
    autocast = (
        torch.autocast("cpu", dtype=torch.bfloat16)
        if step.precision == "bfloat16 autocast"
        else nullcontext()
    )
    for _ in range(min(step.accumulation, 2)):
        with autocast:
            loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss
        loss.backward()
        del loss
        after_backward()
    for optimizer in [] if step.released else optimizers:
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
    Path("/proc/self/clear_refs").write_text(
        "5"
    )  # Linux then counts the peak from here (man 5 proc)
    before = peak_resident()
    model, optimizers = _prepare(configuration, step)
    for _ in range(2):
        _train_step(model, optimizers, step)
    return peak_resident() - before


def peak_resident() -> int:
    """Return the highest resident memory of this process in bytes, since it started or the count was reset; Linux only.

    (``getrusage`` would also count what the parent held when it started this process.)
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    run_command(main)
