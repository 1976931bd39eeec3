"""Memory of a training step: the estimate against what is really resident, against known figures, and against itself."""

import sys

import pytest
from transformers import BloomConfig, BloomForCausalLM

from tutorial_lib.memory import (
    GIB,
    SHAPES,
    ModelShape,
    Step,
    estimate_training_memory,
    fixed_memory,
    main,
    measure_training_memory,
    plan_training_memory,
    sharded,
)

ARTICLE = {"vocab_size": 46_145, "hidden_size": 1_536, "n_layer": 24, "n_head": 16}


def bloom(vocab_size=8_192, hidden_size=256, n_layer=4, n_head=4):
    return BloomConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        n_layer=n_layer,
        n_head=n_head,
        hidden_dropout=0.0,
        attention_dropout=0.0,
    )


def test_the_articles_model_takes_what_it_took_in_a_real_run():
    """11.74 to 11.76 GiB, on 2 cores and 24 GB."""
    parts = estimate_training_memory(bloom(**ARTICLE))
    assert parts["peak"] / GIB == pytest.approx(11.75, rel=0.01)
    assert parts["parameters"] == 4 * 750_841_344
    assert sum(size for part, size in parts.items() if part != "peak") == parts["peak"]


@pytest.mark.skipif(
    sys.platform != "linux", reason="glibc's allocator can be told to give memory back at once"
)
@pytest.mark.parametrize(
    ("shape", "step"),
    [
        ({"hidden_size": 384, "n_layer": 6, "vocab_size": 16_384}, Step(4, 256)),
        (
            {"hidden_size": 384, "n_layer": 6, "vocab_size": 16_384},
            Step(8, 128, checkpointing=True),
        ),
        ({"hidden_size": 384, "n_layer": 6, "vocab_size": 16_384}, Step(4, 128, accumulation=2)),
        ({"hidden_size": 384, "n_layer": 6, "vocab_size": 16_384}, Step(4, 128, released=True)),
    ],
    ids=["plain", "checkpointed", "accumulated", "released"],
)
def test_the_estimate_is_what_becomes_resident(shape, step):
    configuration = bloom(**shape)
    estimated = estimate_training_memory(configuration, step)["peak"]
    assert measure_training_memory(configuration, step) == pytest.approx(estimated, rel=0.05)


def test_fixed_parts_are_the_formulas():
    configuration = bloom()
    parts = estimate_training_memory(configuration, Step(1, 8, fused=False, optimizer="SGD"))
    parameters = parts["parameters"] // 4
    assert fixed_memory(parameters, optimizer="SGD")["weights"] == parts["parameters"]
    assert parts["optimizer states"] < 1_000
    halves = estimate_training_memory(configuration, Step(1, 8, precision="bfloat16 weights"))
    assert halves["parameters"] == parts["parameters"] // 2


def test_more_rows_take_more_and_checkpointing_less():
    configuration = bloom()
    small, large = (
        estimate_training_memory(configuration, Step(batch, 128))["peak"] for batch in (8, 32)
    )
    assert large > 2 * small
    assert (
        estimate_training_memory(configuration, Step(32, 128, checkpointing=True))["peak"] < large
    )


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


def test_accumulated_gradients_stand_beside_the_activations():
    """A real run of the article's recipe, 3 steps of 8 × 4 rows, took 14.50 GiB; without accumulation it is 11.75."""
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


def test_shapes_have_their_parameters():
    assert SHAPES["0.8 B"].parameters == 750_841_344
    small = ModelShape(512, 64, 3, 4)
    assert small.parameters == BloomForCausalLM(small.configuration()).num_parameters()
    assert [round(shape.parameters / 1e9) for shape in SHAPES.values()] == [1, 8, 80]


def test_gradients_that_are_released_are_never_all_there():
    configuration = bloom()
    kept, released = (
        estimate_training_memory(configuration, Step(1, 8, released=released))
        for released in (False, True)
    )
    assert released["gradients"] < 0.5 * kept["gradients"]
    assert released["peak"] < kept["peak"]


def test_wrong_steps_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Step(batch=0)
    with pytest.raises(ValueError, match="choose one of float32"):
        Step(precision="int4")
    with pytest.raises(ValueError, match="can't be added to"):
        Step(released=True, accumulation=8)
    with pytest.raises(ValueError, match="bitsandbytes"):
        measure_training_memory(bloom(), Step(optimizer="8-bit AdamW"))


def test_the_command_prints_a_table(tiny_model_folder, capsys):
    main(["--model", str(tiny_model_folder), "--batch", "2", "--length", "32"])
    printed = capsys.readouterr().out
    assert "8 × 2 rows × 32 tokens a step" in printed
    assert printed.count("\n") == 2 + 1 + 10
    assert "bfloat16 autocast" in printed
