"""A model and data of the article's size and shape, with nothing in them.

``python bench/stand_in.py --out runs/stand_in`` writes a Bloom of 751 million
random parameters in float16, a tokenizer of 46,145 entries, and 26,858 rows of the article's
three columns. With them, memory and speed of the article's training can be measured on a machine
without a network; the model learns nothing worth reading.
"""

import argparse
import json
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import BloomForCausalLM, PreTrainedTokenizerFast, set_seed

from tutorial_lib.command import run_command
from tutorial_lib.errors import OutputError
from tutorial_lib.run_folder import replacing
from tutorial_lib.scaling.shapes import SHAPES, ModelShape
from tutorial_lib.tinyworld.tokenizer import SPECIAL_TOKENS

MODEL_FOLDER = "model"
ROWS_FILE = "rows.jsonl"
ROWS = 26_858  # the article's
# Share of the rows -> characters of an output, and the other columns' lengths: measured on the
# 1,000 rows of alpaca_zh_demo.json in hiyouga/LLaMA-Factory, data of the article's kind.
QUANTILES = {0.0: 1, 0.05: 17, 0.1: 26, 0.25: 60, 0.5: 161, 0.75: 315, 0.9: 405, 0.95: 431}
QUANTILES |= {1.0: 1_200}
INSTRUCTION_CHARACTERS = (8, 28)
INPUT_CHARACTERS = (8, 48)
WITH_INPUT = 0.139  # share of the rows
FIRST_CHARACTER, CHARACTERS = 0x4E00, 3_000


class Babble:
    """Text without a meaning: `words` words of one to four Chinese characters.

    Some are frequent and most are rare, as in real text (Zipf's law).
    """

    def __init__(self, words: int, seed: int) -> None:
        self._random = Random(seed)
        lengths = self._random.choices((1, 2, 3, 4), weights=(1, 6, 2, 1), k=words)
        self._words = ["".join(self._character() for _ in range(length)) for length in lengths]
        self._weights = list(accumulate(1 / (rank + 20) for rank in range(words)))

    def _character(self) -> str:
        return chr(FIRST_CHARACTER + self._random.randrange(CHARACTERS))

    def text(self, characters: int) -> str:
        """Return exactly so many characters, a full stop last."""
        text = ""
        while len(text) < characters:
            text += "".join(self._random.choices(self._words, cum_weights=self._weights, k=8))
            text += "，"
        return text[: characters - 1] + "。"

    def row(self) -> dict[str, str]:
        """Return a row of the article's three columns, with lengths as in such data."""
        characters = output_characters(self._random.random())
        instruction = self.text(self._random.randint(*INSTRUCTION_CHARACTERS))
        has_input = self._random.random() < WITH_INPUT
        question = self.text(self._random.randint(*INPUT_CHARACTERS)) if has_input else ""
        return {"instruction": instruction, "input": question, "output": self.text(characters)}


def output_characters(share: float) -> int:
    """Return the length that this share (0 to 1) of the outputs does not exceed."""
    for (low, fewest), (high, most) in pairwise(QUANTILES.items()):
        if share <= high:
            return round(fewest + (most - fewest) * (share - low) / (high - low))
    raise ValueError(f"{share} is not a share: give a number from 0 to 1")


def write_stand_in(
    out: Path, shape: ModelShape = SHAPES["0.8 B"], rows: int = ROWS, seed: int = 0
) -> None:
    """Write ``model`` and ``rows.jsonl`` into `out`, a new folder.

    Raises:
        OutputError: `out` is a file, or a folder with something in it.
        ValueError: the vocabulary is larger than the text can fill.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} is there already: give --out a new folder")
    out.mkdir(parents=True, exist_ok=True)
    babble = Babble(words=2 * shape.vocabulary, seed=seed)
    lines = [json.dumps(babble.row(), ensure_ascii=False) + "\n" for _ in range(rows)]
    tokenizer = _train_tokenizer(babble, shape.vocabulary)
    set_seed(seed)
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id")}
    model = BloomForCausalLM(shape.configuration(**ids, pad_token_id=tokenizer.pad_token_id))
    with replacing(out / ROWS_FILE) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(lines)
    tokenizer.save_pretrained(out / MODEL_FOLDER)
    model.to(torch.float16).save_pretrained(out / MODEL_FOLDER)


def _train_tokenizer(babble: Babble, vocabulary: int) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    comma = pre_tokenizers.Split("，", behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([comma, byte_level])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=12,
        show_progress=False,
    )
    bpe.train_from_iterator((babble.text(200) for _ in range(vocabulary // 4)), trainer)
    entries = bpe.get_vocab_size()
    if entries != vocabulary:
        raise ValueError(f"the text gave {entries} entries instead of {vocabulary}: choose fewer")
    roles = ("unk_token", "bos_token", "eos_token", "pad_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        **dict(zip(roles, SPECIAL_TOKENS, strict=True)),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the stand-in and say how to train it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="a new folder, for 1.6 GB")
    out = parser.parse_args(arguments).out
    write_stand_in(out)
    model, rows = out / MODEL_FOLDER, out / ROWS_FILE
    train = "python -m tutorial_lib.train --profile article"
    print(f"{model} and {rows} are ready: {train} --model {model} --dataset {rows} --out …")


if __name__ == "__main__":
    run_command(main)
