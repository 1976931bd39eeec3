"""The estimate of a step's memory against what is resident, known figures, and itself."""

import importlib.util
import sys
from pathlib import Path

import pytest
from transformers import BloomForCausalLM

from tutorial_lib.scaling.shapes import SHAPES, ModelShape
from tutorial_lib.scaling.step_memory import (
    GIB,
    Step,
    estimate_training_memory,
    fixed_memory,
    plan_training_memory,
    sharded,
)

SMALL = ModelShape(8_192, 256, 4, 4).configuration()


@pytest.fixture(scope="module")
def measure():
    """The measurement of real steps, which is not a part of the library."""
    path = Path(__file__).parents[2] / "bench" / "resident.py"
    spec = importlib.util.spec_from_file_location("resident", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.measure_training_memory


def test_the_articles_model_takes_what_it_took_in_a_real_run():
    """11.74 to 11.76 GiB, on 2 cores and 24 GB."""
    parts = estimate_training_memory(SHAPES["0.8 B"].configuration())
    assert parts["peak"] / GIB == pytest.approx(11.75, rel=0.01)
    assert parts["parameters"] == 4 * 750_841_344
    assert sum(size for part, size in parts.items() if part != "peak") == parts["peak"]


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can give memory back at once")
@pytest.mark.parametrize(
    "step",
    [
        Step(4, 256),
        Step(8, 128, checkpointing=True),
        Step(4, 128, accumulation=2),
        Step(4, 128, released=True),
    ],
    ids=["plain", "checkpointed", "accumulated", "released"],
)
def test_the_estimate_is_what_becomes_resident(step, measure):
    configuration = ModelShape(16_384, 384, 6, 4).configuration()
    estimated = estimate_training_memory(configuration, step)["peak"]
    assert measure(configuration, step) == pytest.approx(estimated, rel=0.05)


def test_fixed_parts_are_the_formulas():
    parts = estimate_training_memory(SMALL, Step(1, 8, fused=False, optimizer="SGD"))
    parameters = parts["parameters"] // 4
    assert fixed_memory(parameters, optimizer="SGD")["weights"] == parts["parameters"]
    assert parts["optimizer states"] < 1_000
    halves = estimate_training_memory(SMALL, Step(1, 8, precision="bfloat16 weights"))
    assert halves["parameters"] == parts["parameters"] // 2


def test_more_rows_take_more_and_checkpointing_less():
    small, large = (estimate_training_memory(SMALL, Step(batch, 128))["peak"] for batch in (8, 32))
    assert large > 2 * small
    assert estimate_training_memory(SMALL, Step(32, 128, checkpointing=True))["peak"] < large


def test_shards_add_up():
    parts = {
        "parameters": 800,
        "gradients": 400,
        "optimizer states": 1_600,
        "activations": 100,
        "temporary": 7,
        "peak": 2_907,
    }
    assert sharded(parts, 8, 0) == parts
    assert sharded(parts, 8, 1)["optimizer states"] == 200
    assert sharded(parts, 8, 2)["gradients"] == 50
    assert sharded(parts, 8, 3) == {
        "parameters": 100,
        "gradients": 50,
        "optimizer states": 200,
        "activations": 100,
        "temporary": 7,
        "peak": 457,
    }
    for devices, stage in ((8, 4), (0, 1)):
        with pytest.raises(ValueError, match="ZeRO stage"):
            sharded(parts, devices, stage)


def test_accumulated_gradients_and_activations_are_there_together():
    """A real run of 3 steps of 8 × 4 rows took 14.50 GiB; without accumulation it is 11.75."""
    parts = plan_training_memory(SHAPES["0.8 B"], Step(accumulation=8))
    assert parts["peak"] / GIB == pytest.approx(14.5, rel=0.02)
    assert parts["gradients"] == parts["parameters"]
    assert plan_training_memory(SHAPES["0.8 B"], Step(accumulation=2)) == parts


@pytest.mark.parametrize(
    "step",
    [
        Step(2, 64),
        Step(8, 128, checkpointing=True),
        Step(4, 64, optimizer="Adafactor", accumulation=8),
    ],
)
def test_the_plan_is_the_whole_estimate(step):
    shape = ModelShape(2_048, 128, 9, 4)
    assert plan_training_memory(shape, step)["peak"] == pytest.approx(
        estimate_training_memory(shape.configuration(), step)["peak"], rel=0.005
    )


def test_a_plan_that_is_changed_leaves_the_next_one_whole():
    shape = ModelShape(256, 32, 2, 4)
    del plan_training_memory(shape, Step(1, 8))["peak"]
    assert "peak" in plan_training_memory(shape, Step(1, 8))


def test_shapes_have_their_parameters():
    assert SHAPES["0.8 B"].parameters == 750_841_344
    small = ModelShape(512, 64, 3, 4)
    assert small.parameters == BloomForCausalLM(small.configuration()).num_parameters()
    assert [round(shape.parameters / 1e9) for shape in SHAPES.values()] == [1, 8, 80]


def test_gradients_that_are_released_are_never_all_there():
    kept, released = (
        estimate_training_memory(SMALL, Step(1, 8, released=released)) for released in (False, True)
    )
    assert released["gradients"] < 0.5 * kept["gradients"]
    assert released["peak"] < kept["peak"]


def test_wrong_steps_are_refused(measure):
    with pytest.raises(ValueError, match="at least 1"):
        Step(batch=0)
    with pytest.raises(ValueError, match="choose one of float32"):
        Step(precision="int4")
    with pytest.raises(ValueError, match="choose accumulation 1"):
        Step(released=True, accumulation=8)
    with pytest.raises(ValueError, match="bitsandbytes"):
        measure(SMALL, Step(optimizer="8-bit AdamW"))


def test_eight_bit_states_take_what_the_formula_says():
    parameters = ModelShape(8_192, 256, 4, 4).parameters
    parts = estimate_training_memory(SMALL, Step(1, 8, optimizer="8-bit AdamW"))
    formula = fixed_memory(parameters, optimizer="8-bit AdamW")["optimizer states"]
    # Biases and norms are small tensors, whose states stay in float32: 6 bytes more per parameter.
    assert formula < parts["optimizer states"] < 1.02 * formula
