"""The command that prints what a fine-tuning takes in memory."""

from tutorial_lib.memory import main


def test_the_command_prints_a_table(tiny_model_folder, capsys):
    main(["--model", str(tiny_model_folder), "--batch", "2", "--length", "32"])
    printed = capsys.readouterr().out
    assert "8 × 2 rows × 32 tokens per step" in printed
    assert printed.count("\n") == 2 + 1 + 10
    assert "bfloat16 autocast" in printed
