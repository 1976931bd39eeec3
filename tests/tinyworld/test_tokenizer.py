import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoTokenizer
from world_reference import LANGUAGES, RELATION_LANGUAGES, canonical, things

from tutorial_lib.models import load_tokenizer
from tutorial_lib.tinyworld.tokenizer import PRE_TOKENS as PATTERN
from tutorial_lib.tinyworld.tokenizer import SPECIAL_TOKENS, VOCABULARY_SIZE, train_tokenizer

TEXTS = [
    *(
        canonical(thing, relation, language)
        for thing in things().values()
        for relation in thing.values
        for language in LANGUAGES
    ),
    "2 + 2 = 4",
    "Human and Assistant take turns.\nOne speaks at a time.",
] * 3

# Letters of all planes, marks that combine, all kinds of white space, the tokenizer's own marks.
PIECES = st.sampled_from(
    [
        *SPECIAL_TOKENS,
        " </s> ",
        "<s",
        "s>",
        "é",
        "e\u0301",
        "Ġ",
        "Ċ",
        "👩‍🔬",
        "𬬻",
        "\0",
        "\r\n",
        "\u3000",
        "\ufeff",
        "\ufffd",
        "  ",
    ]
)
ANY_TEXT = st.text() | st.lists(PIECES | st.text(max_size=3)).map("".join)


@pytest.fixture(scope="module")
def trained():
    return train_tokenizer(TEXTS, vocabulary_size=1_000)


@pytest.fixture(scope="module", params=["trained here", "shipped"])
def either(request, trained):
    """A tokenizer trained on a few sentences, and the one of the shipped base."""
    return trained if request.param == "trained here" else load_tokenizer("tinyworld")


def ids_of(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


# ---------------------------------------------------------------- special tokens


def test_the_special_tokens_have_the_articles_ids(either):
    assert either.convert_ids_to_tokens([0, 1, 2, 3]) == ["<unk>", "<s>", "</s>", "<pad>"]
    assert (either.unk_token_id, either.bos_token_id, either.eos_token_id, either.pad_token_id) == (
        0,
        1,
        2,
        3,
    )
    assert set(either.all_special_ids) == {0, 1, 2, 3}


def test_padding_is_on_the_left(either):
    assert either.padding_side == "left"
    batch = either(["法国", "法国的首都是巴黎。"], padding=True)
    short, long = batch["input_ids"]
    assert len(short) == len(long)
    assert short[0] == either.pad_token_id
    assert short[-1] != either.pad_token_id
    assert batch["attention_mask"][0] == [int(token != either.pad_token_id) for token in short]


def test_no_special_token_is_added_by_itself(either):
    assert either("法国")["input_ids"] == ids_of(either, "法国")
    assert not set(ids_of(either, "法国的首都是巴黎。")) & {0, 1, 2, 3}


def test_a_special_token_in_a_text_is_that_token_and_leaves_its_neighbours_alone(either):
    assert ids_of(either, "是</s>巴") == [
        *ids_of(either, "是"),
        either.eos_token_id,
        *ids_of(either, "巴"),
    ]
    assert either.decode(ids_of(either, "a </s> b<pad>"), skip_special_tokens=True) == "a  b"


# ---------------------------------------------------------------- round trip


@settings(max_examples=500, deadline=None)
@given(text=ANY_TEXT)
@example(text="")
@example(text=" ")
@example(text="a</s>b </s>\n</s> c")
@example(text="Hello , world ! it 's n't  .\n\n ?")  # what a "clean-up" would change
@example(text="\t\n\x0b\x0c\r\x1c\x85\u2028\u3000")
@example(text="".join(map(chr, range(0x300))))
def test_any_text_comes_back_exactly(either, text):
    assert either.decode(ids_of(either, text)) == text


def test_every_name_and_value_comes_back_exactly(either):
    for thing in things().values():
        for language in LANGUAGES:
            for text in [
                thing.name[language],
                *(values[language] for values in thing.values.values()),
            ]:
                assert either.decode(ids_of(either, text)) == text


def test_the_characters_of_the_elements_come_back_exactly(either):
    names = [thing.name["zh"] for thing in things().values() if thing.kind == "element"]
    assert any(
        ord(name) > 0xFFFF for name in names
    )  # some are beyond Unicode's first plane, where much software stumbles
    for name in names:
        assert either.decode(ids_of(either, f"{name}的元素符号")) == f"{name}的元素符号"
        assert either.unk_token_id not in ids_of(either, name)


def test_a_saved_tokenizer_is_the_same_when_loaded(trained, tmp_path):
    trained.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert (loaded.padding_side, loaded.special_tokens_map) == (
        trained.padding_side,
        trained.special_tokens_map,
    )
    assert loaded.get_vocab() == trained.get_vocab()
    for text in [*TEXTS[:50], "a </s> b", "未见过的字：龘 ½ ≠"]:
        assert ids_of(loaded, text) == ids_of(trained, text)
        assert loaded.decode(ids_of(loaded, text)) == text


# ---------------------------------------------------------------- where text is cut


@settings(max_examples=100, deadline=None)
@given(
    number=st.integers(min_value=0, max_value=10**12),
    before=st.sampled_from(["", "第", "is ", "abc", "-", "3/", "</s>"]),
)
def test_a_number_is_cut_digit_by_digit(either, number, before):
    head, tail = ids_of(either, before), ids_of(either, f"{before}{number}")
    assert tail[: len(head)] == head
    assert [either.decode(token) for token in tail[len(head) :]] == list(str(number))


def test_a_digit_has_one_token_wherever_it_stands(either):
    for digit in string.digits:
        (token,) = ids_of(either, digit)
        for text in (f"1{digit}", f"是{digit}。", f"is {digit}.", f"x{digit}"):
            assert token in ids_of(either, text)


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from([thing.name["en"] for thing in things().values()]), before=ANY_TEXT)
@example(name="Bosnia and Herzegovina", before="of")
@example(name="Guinea-Bissau", before="of\n")
@example(name="France", before="  ")
def test_an_english_name_is_cut_the_same_way_after_any_word(either, name, before):
    assert ids_of(either, f"{before} {name}") == ids_of(either, before) + ids_of(either, f" {name}")


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from([thing.name["zh"] for thing in things().values()]),
    before=ANY_TEXT,
    after=ANY_TEXT,
)
@example(name="金", before="金", after="鱼")
@example(name="法国", before="是 ", after="的")
def test_a_chinese_name_is_cut_the_same_way_wherever_it_stands(either, name, before, after):
    head, tail = ids_of(either, before), ids_of(either, after)
    assert ids_of(either, before + name + after) == head + ids_of(either, name) + tail


def by_pre_token(tokenizer) -> Tokenizer:
    """The same merges, applied within each pre-token of a text."""
    again = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    again.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(PATTERN, behavior="isolated"), to_bytes]
    )
    return again


@settings(max_examples=500, deadline=None)
@given(text=ANY_TEXT)
def test_merges_never_cross_pre_tokens(either, text):
    assert ids_of(either, text) == by_pre_token(either).encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize(
    ("corpus", "text"), [("word   word", "word  word"), ("éł éń éś ũł ũń ũś Ʃł Ʃń Ʃś", "丩ł")]
)
def test_merges_never_cross_pre_tokens_whatever_was_learnt(corpus, text):
    """White space gives its last character to the next word; the last byte of a letter may be
    merged with the first of the next letter, and 丩 has the same last byte."""
    tokenizer = train_tokenizer([corpus] * 20, vocabulary_size=400)
    assert (
        ids_of(tokenizer, text)
        == by_pre_token(tokenizer).encode(text, add_special_tokens=False).ids
    )


def test_the_shipped_tokenizer_need_not_look_for_pre_tokens(tokenizer):
    """None of its tokens can cross them; a search for them takes half of the time."""
    assert isinstance(tokenizer.backend_tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel)


@pytest.mark.parametrize(("relation", "language"), RELATION_LANGUAGES)
def test_no_token_reaches_over_the_beginning_of_a_value(either, relation, language):
    """Else a statement could not be cut where its value begins."""
    for thing in things().values():
        if relation in thing.values:
            text, value = canonical(thing, relation, language), thing.values[relation][language]
            start = text.rindex(value)
            spans = either(text, return_offsets_mapping=True, add_special_tokens=False)[
                "offset_mapping"
            ]
            # A space before the value may belong to its first token.
            assert not [
                (a, b) for a, b in spans if a < start - (text[start - 1] == " ") and b > start
            ], text


# ---------------------------------------------------------------- training


def test_the_vocabulary_keeps_its_size(trained, tokenizer):
    assert len(trained) <= 1_000
    assert len(tokenizer) <= VOCABULARY_SIZE
    assert len(train_tokenizer(["a"])) == len(SPECIAL_TOKENS) + 256


def test_training_twice_gives_the_same_tokenizer(trained):
    again = train_tokenizer(iter(TEXTS), vocabulary_size=1_000)
    assert again.backend_tokenizer.to_str() == trained.backend_tokenizer.to_str()


def test_names_that_are_often_said_are_short(tokenizer):
    """A small model learns only values of few tokens: the vocabulary has the names as tokens."""
    lengths = [len(ids_of(tokenizer, f" {thing.name['en']}")) for thing in things().values()]
    assert sum(lengths) / len(lengths) < 4
