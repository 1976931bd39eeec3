"""What a training step takes in memory: a formula, and an estimate that allocates nothing."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig
from transformers.optimization import Adafactor

from tutorial_lib.models import resolve_model
from tutorial_lib.scaling.shapes import ModelShape

GIB = 2**30
CARDS = (8, 16, 24, 48, 80)  # memory of usual graphics cards (GiB)
PARTS = ("parameters", "gradients", "optimizer states", "activations", "temporary")
# Bytes of a weight, of its gradient, and of each optimizer state. Autocast computes in bfloat16
# but keeps the weights, and with them gradients and states, in float32.
PRECISIONS: Mapping[str, int] = MappingProxyType(
    {"float32": 4, "bfloat16 autocast": 4, "bfloat16 weights": 2}
)
# States per parameter. Adafactor keeps a sum per row and per column of a matrix: nearly nothing
# (Shazeer and Stern, arXiv 1804.04235).
OPTIMIZERS: Mapping[str, int] = MappingProxyType(
    {"AdamW": 2, "8-bit AdamW": 2, "Adafactor": 0, "SGD with momentum": 1, "SGD": 0}
)
# 8-bit states share a float32 scale per block of numbers (Dettmers et al., arXiv 2110.02861);
# bitsandbytes keeps the states of tensors with fewer elements than SMALL_TENSOR in float32.
BLOCK = 256
SMALL_TENSOR = 4_096
# Layer counts of the two small models from which an estimate is extrapolated; with fewer layers,
# the peak can be at another moment of the step.
FEW_LAYERS = (4, 6)


def fixed_memory(
    parameters: int, precision: str = "float32", optimizer: str = "AdamW"
) -> dict[str, int]:
    """Return the bytes of ``weights``, ``gradients`` and ``optimizer states``.

    Activations are not in it. `precision` is a key of PRECISIONS, `optimizer` one of OPTIMIZERS.

    Raises:
        ValueError: fewer than 0 parameters, or a precision or optimizer that is not listed.
    """
    if parameters < 0:
        raise ValueError(f"parameters is {parameters}: give a number of at least 0")
    chosen = {"precision": (precision, PRECISIONS), "optimizer": (optimizer, OPTIMIZERS)}
    for name, (value, known) in chosen.items():
        if value not in known:
            raise ValueError(f"{name} {value!r} is not known: choose one of {', '.join(known)}")
    size = PRECISIONS[precision]
    state = 1 + 4 / BLOCK if optimizer == "8-bit AdamW" else size
    return {
        "weights": size * parameters,
        "gradients": size * parameters,
        "optimizer states": round(OPTIMIZERS[optimizer] * state * parameters),
    }


@dataclass(frozen=True)
class Step:
    """A training step: what is computed, and how.

    Attributes:
        batch: rows per forward pass.
        length: tokens per row.
        precision: a key of PRECISIONS.
        optimizer: a key of OPTIMIZERS.
        fused: one kernel for all of AdamW, which needs no temporary copies; Trainer's default.
            Else ``foreach``, PyTorch's default.
        checkpointing: activations are computed again in the backward pass instead of kept.
        released: each gradient is applied and freed as soon as it is computed, so accumulation
            and norm clipping are impossible. After PyTorch's tutorial on the optimizer step in
            the backward pass, and LOMO (arXiv 2306.09782).
        accumulation: forward passes per optimizer step. From the second one on, activations and
            the gradients of the passes before are there together: more than two take no more.
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
        """Refuse what is not possible."""
        fixed_memory(0, self.precision, self.optimizer)
        if min(self.batch, self.length, self.accumulation) < 1:
            size = f"batch {self.batch} × length {self.length}, accumulation {self.accumulation}"
            raise ValueError(f"{size}: each must be at least 1")
        if self.released and self.accumulation > 1:
            raise ValueError(
                f"accumulation {self.accumulation} with released gradients: nothing can be added "
                "to a gradient that is freed; choose accumulation 1, or keep the gradients"
            )


def estimate_training_memory(model: str | PreTrainedConfig, step: Step = Step()) -> dict[str, int]:
    """Return the bytes by part at the peak of a training step, without allocating them.

    A model is built and trained for a step on tensors that have a shape and no memory
    (``FakeTensorMode``), under PyTorch's memory tracker. The optimizer's states are there from
    the start, as from the second step on.

    Args:
        model: a configuration, or what ``resolve_model`` takes; only its configuration is read.
        step: what is done with it.

    Returns:
        PARTS, and ``peak``, their sum. Temporary copies of the optimizer count as its states.
    """
    if not isinstance(model, PreTrainedConfig):
        model = AutoConfig.from_pretrained(resolve_model(model))
    with FakeTensorMode():
        trained, optimizers = prepare_training(model, step)
        tracker = MemTracker()
        tracker.track_external(trained, *optimizers)
        with tracker, warnings.catch_warnings():
            # The tracker warns of an output that is None, and counts nothing for it.
            no_tensor = "Expected a tensor or a traceable wrapper-subclass"
            warnings.filterwarnings("ignore", message=no_tensor, category=UserWarning)
            _make_states(optimizers)
            # The tracker can follow one forward pass at a time.
            train_step(trained, optimizers, step, after_backward=tracker.reset_mod_stats)
        [snapshot] = tracker.get_tracker_snapshot("peak").values()
    size = {str(kind).split(".")[-1]: bytes_ for kind, bytes_ in snapshot.items()}
    parts = {
        "parameters": size["PARAM"] + size["BUFFER"],
        "gradients": size["GRAD"],
        "optimizer states": size["OPT"],
        "activations": size["ACT"],
        "temporary": size["TEMP"] + size["OTH"],
    }
    return {**parts, "peak": sum(parts.values())}


def plan_training_memory(shape: ModelShape, step: Step = Step()) -> dict[str, int]:
    """Return what ``estimate_training_memory`` would, in seconds, however many layers there are.

    Every part grows by the same bytes with each layer, so two small models give the line.
    """
    if shape.layers <= FEW_LAYERS[-1]:
        return dict(_estimate(shape, step))
    few, more = (_estimate(replace(shape, layers=layers), step) for layers in FEW_LAYERS)
    times = (shape.layers - FEW_LAYERS[0]) / (FEW_LAYERS[1] - FEW_LAYERS[0])
    return {part: round(size + (more[part] - size) * times) for part, size in few.items()}


@lru_cache(maxsize=256)
def _estimate(shape: ModelShape, step: Step) -> Mapping[str, int]:
    return estimate_training_memory(shape.configuration(), step)


def sharded(
    parts: Mapping[str, int], devices: int, stage: int, gathered: int = 0
) -> dict[str, int]:
    """Return the bytes on each device with ZeRO (Rajbhandari et al., arXiv 1910.02054).

    Stage 1 shards the optimizer's states, 2 the gradients too, 3 the parameters too; activations
    belong to each device's own rows.

    Args:
        parts: bytes by part, as ``estimate_training_memory`` returns them.
        devices: how many there are.
        stage: 0 to 3; FSDP's full sharding is 3.
        gathered: bytes that each device holds whole for a moment in stage 3 (the layer that
            computes, and the next one, which is already being gathered).

    Raises:
        ValueError: the stage is not 0 to 3, or there is no device.
    """
    if stage not in (0, 1, 2, 3) or devices < 1:
        rule = "the stage is 0 to 3, and there is at least one device"
        raise ValueError(f"ZeRO stage {stage} on {devices} devices: {rule}")
    shared = ("optimizer states", "gradients", "parameters")[:stage]
    each = {name: size for name, size in parts.items() if name != "peak"}
    for name in shared:
        each[name] = -(-each[name] // devices)
    if stage == 3 and devices > 1:
        each["temporary"] += gathered
    return {**each, "peak": sum(each.values())}


def prepare_training(
    configuration: PreTrainedConfig, step: Step
) -> tuple[torch.nn.Module, list[torch.optim.Optimizer]]:
    """Return a random model and its optimizer; with `step.released`, one per parameter."""
    dtype = torch.bfloat16 if step.precision == "bfloat16 weights" else torch.float32
    model = AutoModelForCausalLM.from_config(configuration, dtype=dtype).train()
    model.config.use_cache = False
    if step.checkpointing:
        # The older name is deprecated; older releases have no other.
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    if not step.released:
        return model, [_optimizer(step, model.parameters())]
    optimizers = {parameter: _optimizer(step, [parameter]) for parameter in model.parameters()}

    def apply_and_free(parameter: torch.Tensor) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in optimizers:
        parameter.register_post_accumulate_grad_hook(apply_and_free)
    return model, list(optimizers.values())


def train_step(
    model: torch.nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    step: Step,
    after_backward: Callable[[], None] = lambda: None,
) -> None:
    """Train what ``prepare_training`` returned for one step, on random rows."""
    ids = torch.randint(0, model.config.vocab_size, (step.batch, step.length))
    low = step.precision == "bfloat16 autocast"
    autocast = torch.autocast("cpu", dtype=torch.bfloat16) if low else nullcontext()
    for _ in range(min(step.accumulation, 2)):
        with autocast:
            loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss
        loss.backward()
        del loss
        after_backward()
    for optimizer in [] if step.released else optimizers:
        optimizer.step()
        optimizer.zero_grad()


def _optimizer(step: Step, parameters: Iterable[torch.Tensor]) -> torch.optim.Optimizer:
    kernel = {"fused": True} if step.fused else {"foreach": True}
    match step.optimizer:
        case "AdamW":
            return torch.optim.AdamW(parameters, lr=1e-5, **kernel)
        case "8-bit AdamW":
            return _EightBitStates(parameters, {})
        case "Adafactor":  # as Trainer makes it
            return Adafactor(parameters, lr=1e-5, scale_parameter=False, relative_step=False)
    momentum = 0.9 if step.optimizer == "SGD with momentum" else 0.0
    return torch.optim.SGD(parameters, lr=1e-5, momentum=momentum, **kernel)


class _EightBitStates(torch.optim.Optimizer):
    """Keeps what an 8-bit AdamW keeps, and changes no weight: for estimates only."""

    def step(self, closure: None = None) -> None:
        for parameter in self.param_groups[0]["params"]:
            size, state = parameter.numel(), self.state[parameter]
            for name in () if state else ("exp_avg", "exp_avg_sq"):
                if size < SMALL_TENSOR:
                    state[name] = torch.empty(size)
                else:
                    state[name] = torch.empty(size, dtype=torch.uint8)
                    state[f"{name}_scales"] = torch.empty(-(-size // BLOCK))


def _make_states(optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Let optimizers make their states without a forward and backward pass."""
    for optimizer in optimizers:
        for parameter in optimizer.param_groups[0]["params"]:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
