"""TRL prepares the same rows with its own code; where both recipes mean the same, labels are equal.

The one difference is *how* text becomes ids. We follow the article: prompt and answer are tokenized
apart, so training sees the prompt ids that generation starts from. TRL tokenizes prompt and answer
as one text, and a word takes the space before it into its first token. The template's prompt ends
with a space ("…Assistant: "), so before an answer that starts with a letter ("Paris") TRL's ids
have " Paris" where ours have " " and "Paris": that row's prompt does not end on a token boundary.
Before a Chinese character or a digit nothing merges, and TRL's ids are ours.
"""

import copy
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
from datasets import Dataset

from tutorial_lib.errors import NoSupervisedTokenError
from tutorial_lib.formatting import IGNORE_INDEX, encode_example, encode_prompt, format_prompt

ROWS = 500
# Rows of these kinds occur in both samples; a sample with fewer would prove little.
FEWEST = 50


@pytest.fixture(scope="module")
def tinyworld_rows(splits) -> list[dict]:
    return (
        splits["train"]
        .shuffle(seed=0)
        .select(range(ROWS))
        .select_columns(["instruction", "input", "output"])
        .to_list()
    )


@pytest.fixture(scope="module")
def unicode_rows() -> list[dict]:
    """Random text of every plane and white space; special tokens have a test of their own."""
    source = random.Random(0)
    pieces = [
        "Human: ",
        "\n\nAssistant: ",
        " ",
        "  ",
        "\n",
        "\n\n",
        "\t",
        "\u3000",
        "\u00a0",
        "42",
        "Paris",
        " a",
        "法国",
    ]

    def text(longest: int) -> str:
        kinds = [
            lambda: source.choice(pieces),
            lambda: chr(source.randrange(0x20, 0x7F)),
            lambda: chr(source.randrange(0x80, 0x2000)),
            lambda: chr(source.randrange(0x4E00, 0xA000)),
            lambda: chr(source.randrange(0x1F300, 0x20000)),
        ]
        return "".join(source.choice(kinds)() for _ in range(source.randrange(longest + 1)))

    return [
        {"instruction": text(20), "input": source.choice(["", text(10)]), "output": text(20) or "x"}
        for _ in range(ROWS)
    ]


@pytest.fixture(params=["tinyworld", "unicode"])
def rows(request) -> list[dict]:
    return request.getfixturevalue(f"{request.param}_rows")


@dataclass(frozen=True)
class Prepared:
    """What TRL made of one row."""

    input_ids: list[int]
    labels: list[int]


@pytest.fixture
def prepare(tokenizer, tiny_model, tmp_path):
    """Hand columns to a real SFTTrainer and return, by row number, what it would train on."""
    from trl import SFTConfig, SFTTrainer  # three seconds that only this module waits for

    def prepare(columns: Mapping[str, Sequence], **options) -> dict[int, Prepared]:
        numbers = list(range(len(next(iter(columns.values())))))
        trainer = SFTTrainer(
            model=tiny_model,
            args=SFTConfig(
                output_dir=str(tmp_path),
                report_to="none",
                use_cpu=True,
                bf16=False,
                **{"max_length": None, **options},
            ),
            train_dataset=Dataset.from_dict({**columns, "number": numbers}),
            processing_class=copy.deepcopy(tokenizer),
        )
        return {
            row["number"]: Prepared(row["input_ids"], row["labels"])
            for row in trainer.train_dataset
        }

    return prepare


def columns_for_trl(rows: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    return {
        "prompt": [format_prompt(row["instruction"], row["input"]) for row in rows],
        "completion": [row["output"] for row in rows],
    }


def ends_on_a_boundary(row: Mapping[str, str], tokenizer) -> bool:
    prompt_ids = encode_prompt(row["instruction"], row["input"], tokenizer)
    together = tokenizer(format_prompt(row["instruction"], row["input"]) + row["output"])[
        "input_ids"
    ]
    return together[: len(prompt_ids)] == prompt_ids


def supervised(labels: Sequence[int]) -> list[int]:
    return [label for label in labels if label != IGNORE_INDEX]


def test_ids_and_labels_equal_trls_where_the_prompt_ends_on_a_token_boundary(
    rows, tokenizer, prepare
):
    prepared = prepare(columns_for_trl(rows))
    assert sorted(prepared) == list(range(len(rows)))
    boundary = [number for number, row in enumerate(rows) if ends_on_a_boundary(row, tokenizer)]
    assert FEWEST <= len(boundary) <= len(rows) - FEWEST
    for number in boundary:
        ours = encode_example(rows[number], tokenizer, 100_000)
        assert prepared[number] == Prepared(ours["input_ids"], ours["labels"]), rows[number]


def test_elsewhere_trl_moves_the_prompts_last_space_into_the_answer(rows, tokenizer, prepare):
    prepared = prepare(columns_for_trl(rows))
    merged = [number for number, row in enumerate(rows) if not ends_on_a_boundary(row, tokenizer)]
    assert len(merged) >= FEWEST
    for number in merged:
        row, theirs, ours = (
            rows[number],
            prepared[number],
            encode_example(rows[number], tokenizer, 100_000),
        )
        assert theirs.input_ids != ours["input_ids"]
        assert tokenizer.decode(theirs.input_ids) == tokenizer.decode(
            ours["input_ids"]
        )  # the same text …
        assert tokenizer.decode(supervised(ours["labels"])) == row["output"] + tokenizer.eos_token
        assert (
            tokenizer.decode(supervised(theirs.labels)) == " " + row["output"] + tokenizer.eos_token
        )  # … cut elsewhere
        # TRL trains on our prompt without its last token, a space: generation starts with it.
        prompt_ids = encode_prompt(row["instruction"], row["input"], tokenizer)
        assert tokenizer.decode(prompt_ids[-1:]) == " "
        assert theirs.input_ids[: theirs.labels.count(IGNORE_INDEX)] == prompt_ids[:-1]


def test_trls_prompts_are_whole_again_when_the_space_belongs_to_the_answer(
    rows, tokenizer, prepare
):
    """TRL's remedy: no space at the prompt's end, one at the answer's beginning: masks agree."""
    columns = columns_for_trl(rows)
    prompts = [prompt.removesuffix(" ") for prompt in columns["prompt"]]
    prepared = prepare(
        {"prompt": prompts, "completion": [" " + text for text in columns["completion"]]}
    )
    for number, prompt in enumerate(prompts):
        prompt_ids = tokenizer(prompt)["input_ids"]
        answer_ids = [*tokenizer(" " + rows[number]["output"])["input_ids"], tokenizer.eos_token_id]
        assert prepared[number] == Prepared(
            prompt_ids + answer_ids, [IGNORE_INDEX] * len(prompt_ids) + answer_ids
        ), rows[number]


@pytest.mark.parametrize("max_length", [24, 32, 256])
def test_rows_are_cut_and_left_out_as_trl_does(rows, tokenizer, prepare, max_length):
    prepared = prepare(columns_for_trl(rows), max_length=max_length)
    left_out = cut = 0
    for number, row in enumerate(rows):
        if not ends_on_a_boundary(row, tokenizer):
            continue
        try:
            ours = encode_example(row, tokenizer, max_length)
        except NoSupervisedTokenError:
            assert number not in prepared
            left_out += 1
            continue
        assert prepared[number] == Prepared(ours["input_ids"], ours["labels"]), row
        cut += ours["input_ids"][-1] != tokenizer.eos_token_id
    assert max_length == 256 or (left_out and cut)


def test_masks_equal_trls_when_it_is_given_our_ids(rows, tokenizer, prepare):
    """From ids and a completion mask TRL's own code builds exactly our labels, for every row."""
    encoded = [encode_example(row, tokenizer, 100_000) for row in rows]
    ids = [example["input_ids"] for example in encoded]
    prompt_lengths = [
        len(encode_prompt(row["instruction"], row["input"], tokenizer)) for row in rows
    ]
    masks = [
        [0] * length + [1] * (len(row_ids) - length)
        for row_ids, length in zip(ids, prompt_lengths, strict=True)
    ]
    asked_for = prepare({"input_ids": ids, "completion_mask": masks}, completion_only_loss=True)
    assert [asked_for[number].labels for number in range(len(rows))] == [
        example["labels"] for example in encoded
    ]
    # Unasked, TRL ignores the mask of a tokenized data set, and the prompt is trained on too.
    unasked = prepare({"input_ids": ids, "completion_mask": masks})
    assert [unasked[number].labels for number in range(len(rows))] == ids


def test_our_rows_pass_through_trl_unchanged(rows, tokenizer, prepare):
    encoded = [encode_example(row, tokenizer, 100_000) for row in rows]
    columns = {
        column: [example[column] for example in encoded] for column in ("input_ids", "labels")
    }
    prepared = prepare(columns)
    assert [prepared[number] for number in range(len(rows))] == [
        Prepared(example["input_ids"], example["labels"]) for example in encoded
    ]


def test_an_end_token_that_somebody_typed_ends_the_answer_for_trl_and_is_text_for_us(
    tokenizer, prepare
):
    row = {"instruction": "怎么结束？", "input": "", "output": f"用{tokenizer.eos_token}"}
    theirs, ours = prepare(columns_for_trl([row]))[0], encode_example(row, tokenizer)
    assert (
        theirs.input_ids.count(tokenizer.eos_token_id)
        == ours["input_ids"].count(tokenizer.eos_token_id)
        == 1
    )
    assert tokenizer.decode(theirs.input_ids) + tokenizer.eos_token == tokenizer.decode(
        ours["input_ids"]
    )
