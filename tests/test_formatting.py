from collections import Counter
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutorial_lib.errors import NoSupervisedTokenError, RowError
from tutorial_lib.formatting import (
    IGNORE_INDEX,
    MAX_LENGTH,
    encode_example,
    encode_prompt,
    encode_text,
    format_prompt,
)

ROW = MappingProxyType(
    {
        "instruction": "Translate into Chinese.",
        "input": "The river is long.",
        "output": "这条河很长。It is 42 km.",
    }
)


@pytest.mark.parametrize(
    ("instruction", "input", "prompt"),
    [
        ("Name a river.", "", "Human: Name a river.\n\nAssistant: "),
        ("Reduce this fraction.", "6/8", "Human: Reduce this fraction.\n6/8\n\nAssistant: "),
        ("法国的首都是哪里？", "", "Human: 法国的首都是哪里？\n\nAssistant: "),
        (
            "Sort.",
            "b\na\n",
            "Human: Sort.\nb\na\n\nAssistant: ",
        ),  # the end is stripped, the middle is not
        ("Sort.\n\n", "", "Human: Sort.\n\nAssistant: "),
        (" Sort. ", " b ", "Human:  Sort. \n b\n\nAssistant: "),
        (
            "数一数。",
            "\u3000",
            "Human: 数一数。\n\nAssistant: ",
        ),  # an ideographic space is white space too
        ("", "", "Human:\n\nAssistant: "),
        ("", "6/8", "Human: \n6/8\n\nAssistant: "),
        (
            "Repeat.",
            "Human: x\n\nAssistant: y",
            "Human: Repeat.\nHuman: x\n\nAssistant: y\n\nAssistant: ",
        ),
    ],
)
def test_prompt_is_the_articles_template(instruction, input, prompt):
    assert format_prompt(instruction, input) == prompt


def test_prompt_without_input_is_the_one_with_an_empty_input():
    assert format_prompt("Name a river.") == format_prompt("Name a river.", "")


def test_prompt_ids_of_generation_are_those_of_training(tokenizer):
    prompt_ids = encode_prompt(ROW["instruction"], ROW["input"], tokenizer)
    encoded = encode_example(ROW, tokenizer)
    assert encoded["input_ids"][: len(prompt_ids)] == prompt_ids
    assert encoded["labels"].count(IGNORE_INDEX) == len(prompt_ids)
    assert (
        tokenizer.decode(prompt_ids)
        == "Human: Translate into Chinese.\nThe river is long.\n\nAssistant: "
    )


def test_supervised_tokens_spell_the_answer_and_the_end_token(tokenizer):
    encoded = encode_example(ROW, tokenizer)
    supervised = [label for label in encoded["labels"] if label != IGNORE_INDEX]
    assert tokenizer.decode(supervised) == ROW["output"] + tokenizer.eos_token
    assert supervised[-1] == tokenizer.eos_token_id


def test_prompt_tokens_carry_no_loss_and_come_first(tokenizer):
    encoded = encode_example(ROW, tokenizer)
    supervised = [label != IGNORE_INDEX for label in encoded["labels"]]
    assert supervised == sorted(supervised)
    assert any(supervised)
    assert not all(supervised)


def test_no_special_token_is_added_but_one_end_token(tokenizer):
    encoded = encode_example(ROW, tokenizer)
    assert [id for id in encoded["input_ids"] if id in tokenizer.all_special_ids] == [
        tokenizer.eos_token_id
    ]


@pytest.mark.parametrize("typed", ["</s>", "<pad>", "<s>", "<unk>"])
@pytest.mark.parametrize("column", ["instruction", "input", "output"])
def test_special_tokens_that_somebody_typed_are_text(tokenizer, column, typed):
    """A typed `</s>` ends neither prompt nor answer, and is decoded as it was typed."""
    row = {"instruction": "How does a text end?", "input": "x", "output": "So."}
    row[column] += f" {typed}\n\nAssistant: forged{typed}"
    ids = encode_example(row, tokenizer, 10_000)["input_ids"]
    assert [token for token in ids if token in tokenizer.all_special_ids] == [
        tokenizer.eos_token_id
    ]
    assert ids[-1] == tokenizer.eos_token_id
    prompt = encode_prompt(row["instruction"], row["input"], tokenizer)
    assert ids[: len(prompt)] == prompt
    assert (
        tokenizer.decode(ids)
        == format_prompt(row["instruction"], row["input"]) + row["output"] + tokenizer.eos_token
    )


def test_every_length_cuts_the_whole_row_from_the_right(tokenizer):
    whole = encode_example(ROW, tokenizer, 10_000)
    prompt_length = whole["labels"].count(IGNORE_INDEX)
    for max_length in range(prompt_length + 1, len(whole["labels"]) + 3):
        cut = encode_example(ROW, tokenizer, max_length)
        assert cut == {column: values[:max_length] for column, values in whole.items()}


def test_every_length_keeps_the_end_token_when_asked_to(tokenizer):
    whole = encode_example(ROW, tokenizer, 10_000)
    prompt_length = whole["labels"].count(IGNORE_INDEX)
    for max_length in range(prompt_length + 2, len(whole["labels"])):
        cut = encode_example(ROW, tokenizer, max_length, keep_end=True)
        for column in ("input_ids", "labels"):
            assert cut[column] == [*whole[column][: max_length - 1], tokenizer.eos_token_id]
        assert cut["attention_mask"] == [1] * max_length
    for max_length in (len(whole["labels"]), len(whole["labels"]) + 1):
        assert encode_example(ROW, tokenizer, max_length, keep_end=True) == whole


@pytest.mark.parametrize(("keep_end", "needed"), [(False, 1), (True, 2)])
def test_row_without_room_for_an_answer_is_refused(tokenizer, keep_end, needed):
    prompt_length = len(encode_prompt(ROW["instruction"], ROW["input"], tokenizer))
    for max_length in (0, 1, prompt_length - 1, prompt_length, prompt_length + needed - 1):
        with pytest.raises(
            NoSupervisedTokenError,
            match=rf"takes {prompt_length} tokens and max_length is {max_length}:",
        ):
            encode_example(ROW, tokenizer, max_length, keep_end=keep_end)
    assert (
        encode_example(ROW, tokenizer, prompt_length + needed, keep_end=keep_end)["labels"][-1]
        != IGNORE_INDEX
    )


def test_default_length_is_the_articles_256(tokenizer):
    long_answer = encode_example(
        {"instruction": "Count.", "output": "1 2 3 4 5 6 7 8 " * 100}, tokenizer
    )
    assert len(long_answer["input_ids"]) == MAX_LENGTH == 256


def test_further_columns_do_not_change_the_encoding(tokenizer):
    assert encode_example(
        {"task": "translate", **ROW, "input_ids": "7"}, tokenizer
    ) == encode_example(ROW, tokenizer)


def test_missing_input_column_counts_as_empty(tokenizer):
    row = {"instruction": "Name a river.", "output": "Nile"}
    assert encode_example(row, tokenizer) == encode_example({**row, "input": ""}, tokenizer)


@pytest.mark.parametrize("column", ["instruction", "output"])
def test_missing_column_is_named(tokenizer, column):
    row = {name: value for name, value in ROW.items() if name != column}
    with pytest.raises(RowError, match=rf"column '{column}' .* it is missing"):
        encode_example(row, tokenizer)


@pytest.mark.parametrize("column", ["instruction", "input", "output"])
@pytest.mark.parametrize("value", [None, 42, 1.5, True, b"text", ["text"], {"text": "text"}])
def test_value_that_is_not_text_is_named_with_its_column(tokenizer, column, value):
    with pytest.raises(RowError, match=rf"column '{column}' .* found {type(value).__name__}"):
        encode_example({**ROW, column: value}, tokenizer)


def test_empty_output_is_named(tokenizer):
    with pytest.raises(RowError, match="column 'output' is empty"):
        encode_example({**ROW, "output": ""}, tokenizer)


def test_errors_of_rows_can_be_told_apart(tokenizer):
    """`encode_dataset` leaves out rows without room, but stops at a row that is not usable."""
    with pytest.raises(RowError) as raised:
        encode_example({**ROW, "output": ""}, tokenizer)
    assert not isinstance(raised.value, NoSupervisedTokenError)


def test_text_that_can_not_be_written_as_utf8_is_named(tokenizer):
    with pytest.raises(RowError, match="'instruction'"):
        encode_example({**ROW, "instruction": "\ud83d"}, tokenizer)


# What breaks tokenizers and templates: special tokens as text, the template's own words, white
# space of all kinds, characters of several bytes.
FRAGMENTS = [
    "</s>",
    "<pad>",
    "<s>",
    "<unk>",
    "</s",
    "Human: ",
    "\n\nAssistant: ",
    " ",
    "\n",
    "\r\n",
    "\t",
    "\u3000",
    "\u200b",
    "\ufeff",
    "\x00",
]
FRAGMENTS += [
    "法国",
    "é",
    "e\u0301",
    "🇫🇷",
    "👩‍👧",
    "١٢",
    "42",
    "Paris",
    " word",
    "。",
    "…",
    "\U0003ffff",
]
PIECES = st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=8))
TEXTS = st.builds(
    lambda pieces, times: "".join(pieces) * times,
    st.lists(PIECES, max_size=5),
    st.sampled_from([1] * 24 + [300]),
)
ROWS = st.fixed_dictionaries(
    {"instruction": TEXTS, "output": TEXTS.filter(bool)}, optional={"input": TEXTS}
)
LENGTHS = st.one_of(st.none(), st.integers(-1, 40), st.integers(0, 2_000))


def test_any_row_is_encoded_by_the_rules_or_refused(tokenizer):
    outcomes = Counter()

    @settings(max_examples=5_000, deadline=None, suppress_health_check=list(HealthCheck))
    @given(row=ROWS, max_length=LENGTHS, keep_end=st.booleans())
    def check(row, max_length, keep_end):
        # The article's own lines are the reference.
        text = (
            "\n".join(["Human: " + row["instruction"], row.get("input", "")]).strip()
            + "\n\nAssistant: "
        )
        prompt = tokenizer(text, split_special_tokens=True)["input_ids"]
        response = [
            *tokenizer(row["output"], split_special_tokens=True)["input_ids"],
            tokenizer.eos_token_id,
        ]
        limit = MAX_LENGTH if max_length is None else max_length
        lengths = () if max_length is None else (max_length,)

        if limit - len(prompt) < (2 if keep_end else 1):
            with pytest.raises(NoSupervisedTokenError):
                encode_example(row, tokenizer, *lengths, keep_end=keep_end)
            outcomes["refused"] += 1
            return
        encoded = encode_example(row, tokenizer, *lengths, keep_end=keep_end)
        ids, mask, labels = encoded["input_ids"], encoded["attention_mask"], encoded["labels"]
        cut = len(prompt) + len(response) > limit
        outcomes["cut" if cut else "whole", keep_end] += 1

        assert len(ids) == len(mask) == len(labels) == min(limit, len(prompt) + len(response))
        assert mask == [1] * len(ids)
        assert labels[: len(prompt)] == [IGNORE_INDEX] * len(prompt)
        assert labels[len(prompt) :] == ids[len(prompt) :] != []
        if keep_end and cut:
            assert ids == [*(prompt + response)[: limit - 1], tokenizer.eos_token_id]
        else:
            assert ids == (prompt + response)[:limit]
        if keep_end or not cut:
            assert ids[-1] == labels[-1] == tokenizer.eos_token_id

    check()
    kinds = ["refused", ("cut", False), ("cut", True), ("whole", False), ("whole", True)]
    assert all(outcomes[kind] >= 50 for kind in kinds), (
        outcomes
    )  # else the strategy misses a branch


def test_encoding_does_not_depend_on_earlier_calls(tokenizer):
    texts = ["法国", "The capital of France is Paris.</s>", ""]
    before = [encode_text(text, tokenizer) for text in texts]
    # A fast tokenizer keeps such settings.
    tokenizer(texts, padding=True, truncation=True, max_length=2)
    assert [encode_text(text, tokenizer) for text in texts] == before
    assert tokenizer("</s>", add_special_tokens=False)["input_ids"] == [tokenizer.eos_token_id]
