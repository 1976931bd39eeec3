"""Memory of a training step: the estimate against what is really resident, against known figures, and against itself."""

import sys

import pytest
from transformers import BloomConfig

from tutorial_lib.memory import GIB, Step, estimate_training_memory, fixed_memory, main, measure_training_memory, sharded

ARTICLE = {"vocab_size": 46_145, "hidden_size": 1_536, "n_layer": 24, "n_head": 16}


def bloom(vocab_size=8_192, hidden_size=256, n_layer=4, n_head=4):
    return BloomConfig(
        vocab_size=vocab_size, hidden_size=hidden_size, n_layer=n_layer, n_head=n_head, hidden_dropout=0.0, attention_dropout=0.0
    )


def test_the_articles_model_takes_what_it_took_in_a_real_run():
    """11.74 to 11.76 GiB, on 2 cores and 24 GB."""
    parts = estimate_training_memory(bloom(**ARTICLE))
    assert parts["peak"] / GIB == pytest.approx(11.75, rel=0.01)
    assert parts["parameters"] == 4 * 750_841_344
    assert sum(size for part, size in parts.items() if part != "peak") == parts["peak"]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator can be told to give memory back at once")
@pytest.mark.parametrize(
    ("shape", "step"),
    [
        ({"hidden_size": 384, "n_layer": 6, "vocab_size": 16_384}, Step(4, 256)),
        ({"hidden_size": 384, "n_layer": 6, "vocab_size": 16_384}, Step(8, 256, checkpointing=True)),
    ],
    ids=["plain", "checkpointed"],
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
    small, large = (estimate_training_memory(configuration, Step(batch, 128))["peak"] for batch in (8, 32))
    assert large > 2 * small
    assert estimate_training_memory(configuration, Step(32, 128, checkpointing=True))["peak"] < large


def test_shards_add_up():
    parts = {"parameters": 800, "gradients": 400, "optimizer states": 1_600, "activations": 100, "temporary": 7, "peak": 2_907}
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


def test_wrong_steps_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Step(batch=0)
    with pytest.raises(ValueError, match="choose one of float32"):
        Step(precision="int4")


def test_the_command_prints_a_table(capsys):
    main(["--model", "tinyworld", "--batch", "2", "--length", "32"])
    printed = capsys.readouterr().out
    assert "batch 2 × 32 tokens" in printed
    assert printed.count("\n") == 2 + 1 + 6
    assert "bfloat16 autocast" in printed
