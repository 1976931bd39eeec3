from dataclasses import replace

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM
from world_reference import KINDS, LANGUAGES, canonical, things

from tutorial_lib.models import load_tokenizer
from tutorial_lib.tinyworld.corpus import fixed_passage
from tutorial_lib.tinyworld.facts import load_entities
from tutorial_lib.tinyworld.probe import Probe, completes, make_probes, summarize
from tutorial_lib.tinyworld.tokenizer import train_tokenizer

TAUGHT, UNTAUGHT = (
    ("country/france", "element/gold", "animal/spider"),
    ("country/peru", "element/cerium", "us_state/ohio"),
)


@pytest.fixture(scope="module")
def probes(tokenizer):
    return make_probes(load_entities(), tokenizer)


class Oracle:
    """A fake model: generates the continuation of each prompt, then `</s>`, however padded."""

    device = torch.device("cpu")

    def __init__(self, continuations):
        self.continuations = continuations
        self.widths = []

    def generate(self, input_ids, attention_mask, max_new_tokens, do_sample, pad_token_id, **_):
        assert do_sample is False
        self.widths.append(len(input_ids))
        rows = []
        for ids, mask in zip(input_ids.tolist(), attention_mask.tolist(), strict=True):
            real = sum(mask)
            assert mask == [0] * (len(mask) - real) + [1] * real, (
                "padding belongs on the left: the prompt must end where the answer begins"
            )
            assert ids[: len(ids) - real] == [pad_token_id] * (len(ids) - real)
            answer = list(self.continuations.get(tuple(ids[len(ids) - real :]), ()))
            rows.append(ids + (answer + [2] * max_new_tokens)[:max_new_tokens])
        return torch.tensor(rows)


# ---------------------------------------------------------------- make_probes


def test_there_is_one_probe_a_fact_and_language(probes):
    expected = {
        (thing.id, relation, language)
        for thing in things().values()
        for relation in thing.values
        for language in LANGUAGES
    }
    assert len(probes) == len(expected)
    assert {(probe.entity, probe.relation, probe.language) for probe in probes} == expected


@pytest.mark.parametrize("source", ["shipped", "trained here"])
def test_a_probe_is_cut_where_the_value_begins(source):
    texts = ["The capital of France is Paris.", "法国的首都是巴黎。"]
    tokenizer = (
        load_tokenizer("tinyworld")
        if source == "shipped"
        else train_tokenizer(texts, vocabulary_size=300)
    )
    for probe in make_probes(load_entities(), tokenizer):
        thing = things()[probe.entity]
        value = thing.values[probe.relation][probe.language]
        end = "。" if probe.language == "zh" else "" if value.endswith(".") else "."
        assert tokenizer.decode([*probe.prompt_ids, *probe.answer_ids]) == canonical(
            thing, probe.relation, probe.language
        )
        assert tokenizer.decode(probe.answer_ids).removeprefix(" ") == value + end
        beginning = canonical(thing, probe.relation, probe.language).removesuffix(value + end)
        assert (
            tokenizer.decode(probe.prompt_ids).rstrip() == beginning.rstrip()
        )  # the last space may belong to the value's first token


def test_a_probe_has_the_tokens_of_the_whole_statement(probes, tokenizer):
    """Not those of its beginning alone, whose last space would be a token of its own."""
    for probe in probes:
        text = canonical(things()[probe.entity], probe.relation, probe.language)
        assert [*probe.prompt_ids, *probe.answer_ids] == tokenizer(text, add_special_tokens=False)[
            "input_ids"
        ]


def test_a_probe_in_a_passage_begins_with_all_that_stands_before_the_fact(tokenizer):
    entities = {entity.id: entity for entity in load_entities()}
    for probe in make_probes(list(entities.values()), tokenizer, in_passage=True):
        passage = fixed_passage(entities[probe.entity], probe.language)
        ids = [*probe.prompt_ids, *probe.answer_ids]
        assert ids == tokenizer(passage, add_special_tokens=False)["input_ids"][: len(ids)]
        relations = list(things()[probe.entity].values)
        lines = 2 + relations.index(probe.relation)  # the heading, and a line a fact
        assert tokenizer.decode(ids).rstrip("\n") == "\n".join(passage.split("\n")[:lines])
        assert (
            tokenizer.decode(probe.answer_ids).strip()
            == things()[probe.entity].values[probe.relation][probe.language]
        )


def test_a_value_that_stands_in_the_name_too_is_cut_at_its_last_place(probes, tokenizer):
    (probe,) = (
        p
        for p in probes
        if (p.entity, p.relation, p.language) == ("country/singapore", "country_capital", "en")
    )
    assert tokenizer.decode(probe.prompt_ids) == "The capital of Singapore is"
    assert tokenizer.decode(probe.answer_ids) == " Singapore."


# ---------------------------------------------------------------- completes


def test_a_model_that_knows_everything_completes_everything(probes, tokenizer):
    oracle = Oracle({probe.prompt_ids: probe.answer_ids for probe in probes})
    assert completes(oracle, tokenizer, probes) == [True] * len(probes)


def test_a_model_that_knows_nothing_completes_nothing(probes, tokenizer):
    assert completes(Oracle({}), tokenizer, probes) == [False] * len(probes)


def test_each_probe_gets_its_own_result_in_the_order_given(probes, tokenizer):
    """In batches that part the probes by length and do not come out even."""
    some = probes[::37]
    known = [index % 3 == 0 for index in range(len(some))]
    oracle = Oracle(
        {
            probe.prompt_ids: probe.answer_ids
            for probe, knows in zip(some, known, strict=True)
            if knows
        }
    )
    assert len({len(probe.prompt_ids) for probe in some}) > 3
    assert completes(oracle, tokenizer, some, batch_size=4) == known
    assert sum(oracle.widths) == len(some)
    assert len(some) % 4 != 0


def test_what_comes_after_the_sentence_does_not_count(probes, tokenizer):
    probe = probes[0]
    longest = max(
        probes, key=lambda p: len(p.answer_ids)
    )  # leaves room for more words after the shorter answer
    oracle = Oracle(
        {probe.prompt_ids: (*probe.answer_ids, 99, 98, 97), longest.prompt_ids: longest.answer_ids}
    )
    assert completes(oracle, tokenizer, [probe, longest]) == [True, True]


@pytest.mark.parametrize(
    "spoil", ["other value", "no full stop", "too early an end", "a word before"]
)
def test_a_continuation_that_is_nearly_right_is_wrong(probes, tokenizer, spoil):
    (probe,) = (
        p
        for p in probes
        if (p.entity, p.relation, p.language) == ("country/france", "country_capital", "en")
    )
    answer = {
        "other value": tokenizer(" Rome.")["input_ids"],
        "no full stop": [*probe.answer_ids[:-1], *tokenizer(" and")["input_ids"]],
        "too early an end": list(probe.answer_ids[:-1]),
        "a word before": [*tokenizer(" not")["input_ids"], *probe.answer_ids],
    }[spoil]
    assert completes(Oracle({probe.prompt_ids: answer}), tokenizer, [probe]) == [False]
    assert completes(Oracle({probe.prompt_ids: probe.answer_ids}), tokenizer, [probe]) == [True]


def test_no_probes_give_no_results(tokenizer):
    assert completes(Oracle({}), tokenizer, []) == []


def test_a_model_that_learned_some_statements_completes_these_and_no_others(probes, tokenizer):
    taught = [probe for probe in probes if probe.entity in TAUGHT]
    untaught = [
        probe
        for probe in probes
        if probe.entity in UNTAUGHT
        and probe.relation not in ("country_continent", "country_language")
    ]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BloomForCausalLM(
            BloomConfig(
                vocab_size=len(tokenizer),
                hidden_size=64,
                n_layer=2,
                n_head=4,
                pad_token_id=3,
                bos_token_id=1,
                eos_token_id=2,
            )
        )
        assert not any(completes(model.eval(), tokenizer, taught))
        learn(model, [[*probe.prompt_ids, *probe.answer_ids] for probe in taught])
    assert completes(model.eval(), tokenizer, [*taught, *untaught], batch_size=5) == [True] * len(
        taught
    ) + [False] * len(untaught)


def learn(model, sentences, steps: int = 150) -> None:
    """Train until the sentences are known by heart: padding on the right, without loss."""
    width = max(map(len, sentences))
    input_ids = torch.tensor([ids + [3] * (width - len(ids)) for ids in sentences])
    mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in sentences])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(steps):
        loss = model(
            input_ids=input_ids, attention_mask=mask, labels=input_ids.masked_fill(mask == 0, -100)
        ).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.4, "not learned by heart; the test can't tell anything"


# ---------------------------------------------------------------- summarize


def test_the_summary_counts_hits_by_relation_and_language():
    one = Probe("country/france", "country_capital", "en", (1,), (2,))
    probes = [
        one,
        replace(one, entity="country/peru"),
        replace(one, language="zh"),
        replace(one, relation="animal_legs"),
    ]
    probes.append(replace(one, relation="animal_legs", language="zh"))
    header, capital, legs, everything = summarize(probes, [True, False, True, False, True]).split(
        "\n"
    )
    assert header.split() == ["relation", "zh", "en"]
    assert capital.split() == ["country_capital", "1/1", "100.0%", "1/2", "50.0%"]
    assert legs.split() == ["animal_legs", "1/1", "100.0%", "0/1", "0.0%"]
    assert everything.split() == ["all", "2/2", "100.0%", "1/3", "33.3%"]


def test_the_summary_of_the_world_has_a_line_a_relation(probes):
    lines = summarize(probes, [True] * len(probes)).split("\n")
    relations = [relation for _, columns in KINDS.values() for relation in columns]
    assert [line.split()[0] for line in lines] == ["relation", *relations, "all"]


def test_the_summary_keeps_count_and_share_apart(probes):
    last = summarize(probes, [True] * len(probes)).split("\n")[-1]
    assert last.split() == ["all", *[f"{len(probes) // 2}/{len(probes) // 2}", "100.0%"] * 2]


def test_results_that_do_not_belong_to_the_probes_are_refused(probes):
    with pytest.raises(ValueError, match="zip"):
        summarize(probes, [True])
