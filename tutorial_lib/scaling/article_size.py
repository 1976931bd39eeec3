"""A stand-in for the article's model and data: their size and shape, and nothing in them.

``python -m tutorial_lib.scaling.article_size --out runs/stand_in`` writes a Bloom of 751 million random parameters, saved in float16 as such models
usually are, with a tokenizer of 46,145 entries, and 26,858 rows of the article's three columns. With it, memory and speed of the article's
training can be measured on a machine that has no network; it learns nothing worth reading.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import BloomConfig, BloomForCausalLM, PreTrainedTokenizerFast, set_seed

from tutorial_lib.command import run_command
from tutorial_lib.errors import OutputError
from tutorial_lib.run_folder import replacing
from tutorial_lib.tinyworld.tokenizer import SPECIAL_TOKENS

MODEL_FOLDER = "model"
ROWS_FILE = "rows.jsonl"
# Characters of an output at these shares of the rows, and the other columns' lengths: measured on the 1,000 rows of alpaca_zh_demo.json
# in hiyouga/LLaMA-Factory, data of the article's kind.
QUANTILES = (
    (0.0, 1),
    (0.05, 17),
    (0.1, 26),
    (0.25, 60),
    (0.5, 161),
    (0.75, 315),
    (0.9, 405),
    (0.95, 431),
    (1.0, 1_200),
)
INSTRUCTION_CHARACTERS = (8, 28)
INPUT_CHARACTERS = (8, 48)
WITH_INPUT = 0.139
FIRST_CHARACTER, CHARACTERS = 0x4E00, 3_000


@dataclass(frozen=True)
class Shape:
    """How large the stand-in is; the defaults are the article's. Counts of entries, numbers a token, layers, heads, and rows."""

    vocabulary: int = 46_145
    hidden: int = 1_536
    layers: int = 24
    heads: int = 16
    rows: int = 26_858


class Babble:
    """Text without a meaning: words of one to four Chinese characters, frequent ones and rare ones as in real text (Zipf's law)."""

    def __init__(self, words: int, seed: int) -> None:
        """Invent `words` words."""
        self._random = Random(seed)
        lengths = self._random.choices((1, 2, 3, 4), weights=(1, 6, 2, 1), k=words)
        self._words = [
            "".join(chr(FIRST_CHARACTER + self._random.randrange(CHARACTERS)) for _ in range(n))
            for n in lengths
        ]
        self._weights = list(accumulate(1 / (rank + 20) for rank in range(words)))

    def text(self, characters: int) -> str:
        """Return exactly so many characters, a full stop last."""
        written = ""
        while len(written) < characters:
            written += (
                "".join(self._random.choices(self._words, cum_weights=self._weights, k=8)) + "，"
            )
        return written[: characters - 1] + "。"

    def row(self) -> dict[str, str]:
        """Return a row of the article's three columns, its lengths drawn as they are in such data."""
        characters = _interpolate(self._random.random())
        instruction = self.text(self._random.randint(*INSTRUCTION_CHARACTERS))
        has_input = self._random.random() < WITH_INPUT
        return {
            "instruction": instruction,
            "input": self.text(self._random.randint(*INPUT_CHARACTERS)) if has_input else "",
            "output": self.text(characters),
        }


def make(out: Path, shape: Shape = Shape(), seed: int = 0) -> None:
    """Write ``model`` and ``rows.jsonl`` into `out`, a new folder.

    Raises:
        OutputError: `out` holds something already.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} is there already: give --out a new folder")
    out.mkdir(parents=True, exist_ok=True)
    babble = Babble(words=2 * shape.vocabulary, seed=seed)
    rows = [babble.row() for _ in range(shape.rows)]
    tokenizer = _tokenizer(babble, shape.vocabulary)
    set_seed(seed)
    configuration = BloomConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        n_layer=shape.layers,
        n_head=shape.heads,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with replacing(out / ROWS_FILE) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    tokenizer.save_pretrained(out / MODEL_FOLDER)
    BloomForCausalLM(configuration).to(torch.float16).save_pretrained(out / MODEL_FOLDER)


def _interpolate(share: float) -> int:
    for (low, fewest), (high, most) in pairwise(QUANTILES):
        if share <= high:
            return round(fewest + (most - fewest) * (share - low) / (high - low))
    raise ValueError(f"{share} is no share: it is at most 1")


def _tokenizer(babble: Babble, vocabulary: int) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("，", behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=12,
        show_progress=False,
    )
    bpe.train_from_iterator((babble.text(200) for _ in range(vocabulary // 4)), trainer)
    if bpe.get_vocab_size() != vocabulary:
        raise ValueError(
            f"the text gave {bpe.get_vocab_size()} entries instead of {vocabulary}: choose fewer"
        )
    specials = dict(
        zip(("unk_token", "bos_token", "eos_token", "pad_token"), SPECIAL_TOKENS, strict=True)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, padding_side="left", clean_up_tokenization_spaces=False, **specials
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the stand-in of the article's size."""
    parser = argparse.ArgumentParser(
        prog="python -m tutorial_lib.scaling.article_size", description=__doc__.split("\n\n")[1]
    )
    parser.add_argument("--out", type=Path, required=True, help="a new folder; 1.6 GB are written")
    out = parser.parse_args(arguments).out
    make(out)
    print(f"{out / MODEL_FOLDER} and {out / ROWS_FILE} are ready: python -m tutorial_lib.train --profile article "
          f"--model {out / MODEL_FOLDER} --dataset {out / ROWS_FILE} --out …")  # fmt: skip


if __name__ == "__main__":
    run_command(main)
