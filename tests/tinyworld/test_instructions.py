import math
import re
from collections import Counter, defaultdict
from fractions import Fraction
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world_reference import (
    KINDS,
    LANGUAGES,
    RELATION_LANGUAGES,
    a_kind,
    canonical,
    capitalised,
    cut,
    input_question_templates,
    label,
    question_templates,
    read_back,
    read_back_any,
    say,
    sentence,
    statement_templates,
    things,
    true_statements,
    wordings,
)

from tutorial_lib.formatting import encode_example
from tutorial_lib.tinyworld.facts import load_entities
from tutorial_lib.tinyworld.instructions import build_instructions, split_entities
from tutorial_lib.tinyworld.wordings import wordings_of

SEEDS = (42, 7, 2024)
SPLITS = ("train", "held_out")
COLUMNS = ("instruction", "input", "output", "task", "relation", "language", "entity")
SEPARATOR = {"zh": "、", "en": ", "}


@pytest.fixture(scope="module")
def entities():
    return load_entities()


@pytest.fixture(scope="module", params=SEEDS, ids="seed {}".format)
def data(request, entities):
    """The instruction data of one seed."""
    return build_instructions(entities, request.param)


@pytest.fixture(scope="module")
def rows(data):
    return data["train"] + data["held_out"]


@pytest.fixture(scope="module")
def of_task(rows):
    """Task -> its rows."""
    tasks = defaultdict(list)
    for row in rows:
        tasks[row["task"]].append(row)
    return tasks


def task_templates(row) -> list[str]:
    return wordings()["tasks"][row["task"]][row["language"]]["instructions"]


def things_of(row):
    return [things()[thing_id] for thing_id in row["entity"].split()]


@cache
def by_name(language: str) -> dict:
    return {thing.name[language]: thing for thing in things().values()}


@cache
def by_sentence_name(language: str) -> dict:
    """The thing by its name within a sentence, and at the beginning of one (a capital letter)."""
    return {
        form: thing
        for thing in things().values()
        for form in (thing.in_sentence[language], capitalised(thing.in_sentence[language]))
    }


@cache
def all_true_statements(language: str) -> frozenset[str]:
    return frozenset(
        text
        for thing in things().values()
        for relation in thing.values
        for text in true_statements(thing.id, relation, language)
    )


# ---------------------------------------------------------------- size and mixture


def test_there_are_at_least_eight_thousand_rows(rows):
    assert len(rows) >= 8_000


def test_there_are_at_least_ten_kinds_of_task_in_each_split(data):
    for split in SPLITS:
        assert len({row["task"] for row in data[split]}) >= 10


def test_each_language_has_two_fifths_of_the_rows_or_more(data):
    for split in SPLITS:
        counts = Counter(row["language"] for row in data[split])
        assert set(counts) == set(LANGUAGES)
        assert min(counts.values()) >= 0.4 * counts.total()


def test_every_task_is_asked_in_both_languages(of_task):
    for task, task_rows in of_task.items():
        assert {row["language"] for row in task_rows} == set(LANGUAGES), task


def test_at_least_fifteen_percent_of_the_rows_have_an_input(data):
    for split in SPLITS:
        assert sum(bool(row["input"]) for row in data[split]) >= 0.15 * len(data[split])


def test_at_least_two_percent_of_the_rows_are_longer_than_the_articles_limit(rows, tokenizer):
    def is_long(row) -> bool:
        # A token is at least a byte: most rows are too short for a look at their tokens.
        size = len("".join(row[column] for column in ("instruction", "input", "output")).encode())
        return (
            size > 200
            and len(encode_example(row, tokenizer, max_length=100_000)["input_ids"]) > 256
        )

    assert sum(map(is_long, rows)) >= 0.02 * len(rows)


def test_some_answers_have_several_lines(data):
    for split in SPLITS:
        assert sum("\n" in row["output"] for row in data[split]) >= 0.03 * len(data[split])


def test_rows_have_the_columns_as_text_and_nothing_to_strip(rows):
    for row in rows:
        assert tuple(row) == COLUMNS
        assert all(isinstance(value, str) and value == value.strip() for value in row.values()), row
        assert row["instruction"], row
        assert row["output"], row
        assert not re.search(
            r"[{}\r\t\ufffd]", row["instruction"] + row["input"] + row["output"]
        ), row


@pytest.mark.parametrize(("relation", "language"), RELATION_LANGUAGES)
def test_a_relation_is_asked_for_in_at_least_four_wordings(relation, language):
    templates = wordings_of(relation, language).questions
    assert len(templates) == len(set(templates)) >= 4


def test_the_train_split_uses_at_least_four_wordings_of_each_relation(data):
    used = defaultdict(set)
    for row in data["train"]:
        if row["task"] == "relation" and not row["input"]:
            templates = question_templates(row["relation"], row["language"])
            used[row["relation"], row["language"]] |= {
                t for t in templates if read_back(t, row["instruction"])
            }
    assert {key: len(used[key]) for key in RELATION_LANGUAGES if len(used[key]) < 4} == {}


def test_every_fact_is_asked_for_in_both_languages(rows):
    facts = {
        (row["entity"], row["relation"], row["language"])
        for row in rows
        if row["task"] == "relation"
    }
    assert facts == {
        (thing.id, relation, language)
        for thing in things().values()
        for relation in thing.values
        for language in LANGUAGES
    }


def test_a_fact_is_never_asked_for_twice_in_the_same_words(rows):
    questions = Counter(
        (row["instruction"], row["input"]) for row in rows if row["task"] == "relation"
    )
    assert [question for question, count in questions.items() if count > 1] == []


# ---------------------------------------------------------------- the split


@settings(max_examples=25, deadline=None)
@given(seed=st.integers())
def test_any_seed_holds_out_a_quarter_of_each_kind_and_shares_nothing(seed):
    split = split_entities(load_entities(), seed)
    train, held_out = ({entity.id for entity in split[name]} for name in SPLITS)
    assert not train & held_out
    assert train | held_out == set(things())
    for kind in KINDS:
        members = {thing_id for thing_id, thing in things().items() if thing.kind == kind}
        assert 0.25 * len(members) <= len(held_out & members) <= 0.35 * len(members)


def test_the_splits_share_no_entity_by_their_column(data):
    used = {
        split: {thing.id for row in data[split] for thing in things_of(row)} for split in SPLITS
    }
    assert not used["train"] & used["held_out"]
    for kind, (filename, _) in KINDS.items():
        members = {thing_id for thing_id in things() if thing_id.startswith(f"{kind}/")}
        assert len(used["held_out"] & members) >= 0.25 * len(members), filename
        assert used["train"] & members


def test_no_held_out_entity_is_asked_about_in_train_by_the_text_itself(data):
    """Compare whole questions, sentences and names: 金鱼 is not 金, nor Nigeria Niger."""
    held_out = {thing.id for row in data["held_out"] for thing in things_of(row)}
    forbidden = set()
    for thing in (things()[thing_id] for thing_id in held_out):
        for language in LANGUAGES:
            forbidden |= {
                thing.name[language],
                thing.in_sentence[language],
                capitalised(thing.in_sentence[language]),
            }
            for relation in thing.values:
                forbidden |= {
                    say(template, thing, relation, language)
                    for template in question_templates(relation, language)
                }
                forbidden |= set(true_statements(thing.id, relation, language))
            for task in ("describe", "kind"):
                templates = wordings()["tasks"][task][language]["instructions"]
                forbidden |= {
                    capitalised(template.format(x=thing.in_sentence[language]))
                    for template in templates
                }

    def parts_of(row) -> set[str]:
        parts = {row["instruction"], row["input"], row["output"], *row["output"].split("\n")}
        parts |= set(row["input"].split(SEPARATOR[row["language"]]))
        parts |= {
            re.split("：|: ", line)[0] for line in row["output"].split("\n")
        }  # a list's line begins with a name
        parts |= {
            line.partition("。" if row["language"] == "zh" else ". ")[2]
            for line in row["output"].split("\n")
        }  # after True. or False.
        if row["task"] == "extract":
            parts -= {
                row["output"]
            }  # Columbia is the capital of South Carolina, and its Chinese name that of a country
        if row["task"] == "compare":
            parts |= set(read_back_any(task_templates(row), row["instruction"]).values())
        if row["task"] == "read":
            parts |= set(cut(row["input"], all_true_statements(row["language"])))
        return parts - {""}

    assert [row for row in data["train"] if parts_of(row) & forbidden] == []
    # The same look finds every entity of the held-out split, so it is no blind one.
    seen = [row for row in data["held_out"] if parts_of(row) & forbidden]
    without_entity = {"sort", "fraction", "add", "greet"}
    assert len(seen) == sum(row["task"] not in without_entity for row in data["held_out"])


def test_another_seed_gives_another_split(entities):
    splits = [
        frozenset(entity.id for entity in split_entities(entities, seed)["held_out"])
        for seed in range(10)
    ]
    assert len(set(splits)) == 10


def test_the_same_seed_gives_the_same_rows_in_the_same_order(entities):
    assert build_instructions(entities, 42) == build_instructions(load_entities(), 42)


def test_another_seed_gives_other_rows(entities):
    one, other = (build_instructions(entities, seed)["train"] for seed in (1, 2))
    assert one != other
    assert [row["task"] for row in one] != [row["task"] for row in other]


def test_tasks_are_mixed_and_not_one_after_the_other(data):
    for split in SPLITS:
        half = len(data[split]) // 2
        first, second = (
            Counter(row["task"] for row in part)
            for part in (data[split][:half], data[split][half:])
        )
        for task in set(first) | set(second):
            assert abs(first[task] - second[task]) <= 5 * math.sqrt(first[task] + second[task]), (
                task
            )


# ---------------------------------------------------------------- the answers are true


def test_answers_about_a_relation_are_facts_of_the_tables(of_task):
    for row in of_task["relation"]:
        (thing,), relation, language = things_of(row), row["relation"], row["language"]
        templates = wordings()["relation"][relation][language]
        fields = read_back(templates["canonical"], row["output"])
        assert by_sentence_name(language)[fields["x"]] == thing, row
        article = templates.get("value_article", "")
        assert fields["v"].removeprefix(article).strip() == thing.values[relation][
            language
        ].removesuffix("."), row  # D.C.


def test_questions_about_a_relation_name_the_entity_that_the_answer_is_about(of_task):
    for row in of_task["relation"]:
        (thing,), relation, language = things_of(row), row["relation"], row["language"]
        if row["input"]:
            assert row["input"] == thing.name[language], row
            assert row["instruction"] in input_question_templates(relation, language), row
        else:
            questions = {
                say(template, thing, relation, language)
                for template in question_templates(relation, language)
            }
            assert row["instruction"] in questions, row


def test_a_claim_is_called_true_exactly_when_it_is(of_task):
    verdicts = Counter()
    for row in of_task["judge"]:
        (thing,), relation, language = things_of(row), row["relation"], row["language"]
        is_true = row["input"] in true_statements(thing.id, relation, language)
        verdict = {"zh": ("不正确。", "正确。"), "en": ("False. ", "True. ")}[language][is_true]
        assert row["output"] == verdict + canonical(thing, relation, language), row
        verdicts[is_true] += 1
        # A wrong claim has the same form and the same entity; only the value is another's.
        values = {
            other.values[relation][language]
            for other in things().values()
            if relation in other.values
        }
        claims = {
            claim
            for value in values
            for claim in (
                claim_with(thing, relation, language, value, t)
                for t in statement_templates(relation, language)
            )
        }
        assert row["input"] in claims, row
    assert 0.35 < verdicts[True] / verdicts.total() < 0.65


def claim_with(thing, relation: str, language: str, value: str, template: str) -> str:
    article = wordings()["relation"][relation][language].get("value_article", "")
    return sentence(template.format(x=thing.in_sentence[language], v=f"{article} {value}".strip()))


def test_translations_are_the_other_name(of_task):
    for row in of_task["translate"]:
        other = {"zh": "en", "en": "zh"}[row["language"]]
        thing = by_name(row["language"])[row["input"]]
        assert (row["entity"], row["output"]) == (thing.id, thing.name[other]), row


def test_an_extracted_answer_is_the_value_that_the_sentence_tells(of_task):
    for row in of_task["extract"]:
        (thing,), relation, language = things_of(row), row["relation"], row["language"]
        assert row["input"] in true_statements(thing.id, relation, language), row
        assert row["output"] == thing.values[relation][language], row
        assert row["output"].casefold() in row["input"].casefold(), row
        assert read_back_any(task_templates(row), row["instruction"]) == {
            "label": label(relation, language)
        }, row


def test_a_text_to_read_is_true_and_holds_the_answer(of_task):
    for row in of_task["read"]:
        relation, language = row["relation"], row["language"]
        sentences = cut(row["input"], all_true_statements(language))
        assert set(sentences) <= all_true_statements(language), row
        assert len(sentences) == len(row["entity"].split()), row
        (subject,) = [
            thing
            for thing in things_of(row)
            for template in task_templates(row)
            if row["instruction"]
            == template.format(x=thing.in_sentence[language], label=label(relation, language))
        ]
        assert row["output"] == canonical(subject, relation, language), row
        assert set(sentences) & set(true_statements(subject.id, relation, language)), row


def test_descriptions_are_all_the_facts_a_line_each(of_task):
    for row in of_task["describe"]:
        (thing,), language = things_of(row), row["language"]
        assert (
            read_back_any(task_templates(row), row["instruction"])["x"]
            == thing.in_sentence[language]
        ), row
        assert row["output"].split("\n") == [
            canonical(thing, relation, language) for relation in thing.values
        ], row


@pytest.mark.parametrize("task", ["list", "table"])
def test_lists_answer_each_name_with_its_value_in_the_order_of_the_input(of_task, task):
    for row in of_task[task]:
        language, relation = row["language"], row["relation"]
        names = row["input"].split(SEPARATOR[language])
        listed = [by_name(language)[name] for name in names]
        assert [thing.id for thing in listed] == row["entity"].split(), row
        colon = {"zh": "：", "en": ": "}[language]
        assert row["output"].split("\n") == [
            f"{thing.name[language]}{colon}{thing.values[relation][language]}" for thing in listed
        ], row
        assert read_back_any(task_templates(row), row["instruction"])["label"] == label(
            relation, language
        ), row
        assert len(set(names)) == len(names), row


def test_the_chosen_ones_are_all_those_with_the_value(of_task):
    for row in of_task["choose"]:
        language, relation = row["language"], row["relation"]
        values = {
            thing.values[relation][language]
            for thing in things().values()
            if relation in thing.values
        }
        (value,) = [
            value
            for value in values
            if row["instruction"]
            in {
                template.format(label=label(relation, language), v=value)
                for template in task_templates(row)
            }
        ]
        names = row["input"].split(SEPARATOR[language])
        expected = [
            name for name in names if by_name(language)[name].values[relation][language] == value
        ]
        assert row["output"].split("\n") == expected, row


def test_the_larger_of_two_elements_is_named(of_task):
    for row in of_task["compare"]:
        language = row["language"]
        fields = read_back_any(task_templates(row), row["instruction"])
        first, second = (by_sentence_name(language)[fields[place]] for place in "ab")
        assert first != second, row
        assert {first.id, second.id} == set(row["entity"].split()), row
        numbers = {
            thing.name[language]: int(thing.values["element_number"]["en"])
            for thing in (first, second)
        }
        winner = re.fullmatch(
            {"zh": "(.+)的原子序数更大。", "en": r"The atomic number of (.+) is larger\."}[
                language
            ],
            row["output"],
        )[1]
        assert numbers[winner] == max(numbers.values()), row


def test_a_thing_is_said_to_be_of_its_kind(of_task):
    for row in of_task["kind"]:
        language = row["language"]
        fields = read_back(wordings()["tasks"]["kind"][language]["answer"], row["output"])
        thing = by_sentence_name(language)[fields["x"]]
        assert fields["a_kind"] == a_kind(thing.kind, language), row
        assert row["instruction"] in {
            capitalised(template.format(x=thing.in_sentence[language]))
            for template in task_templates(row)
        }, row
        assert row["entity"] == thing.id, row


def test_english_answers_say_an_before_a_vowel(of_task):
    # "a US state" is right.
    wrong = {
        row["output"]
        for row in of_task["kind"]
        if row["language"] == "en" and re.search(r"\b[Aa] [aeioAEIO]", row["output"])
    }
    assert wrong == set()


def test_a_copy_is_the_sentence_and_the_sentence_is_true(of_task):
    for row in of_task["copy"]:
        assert row["output"] == row["input"]
        assert row["input"] in true_statements(row["entity"], row["relation"], row["language"]), row


def test_counts_are_the_number_of_names(of_task):
    for row in of_task["count"]:
        names = row["input"].split(SEPARATOR[row["language"]])
        assert [by_name(row["language"])[name].id for name in names] == row["entity"].split(), row
        assert (
            row["output"]
            == {"zh": f"一共有{len(names)}个。", "en": f"There are {len(names)}."}[row["language"]]
        ), row


def test_sorted_numbers_are_sorted(of_task):
    for row in of_task["sort"]:
        numbers = [int(number) for number in row["input"].split(", ")]
        assert row["output"] == ", ".join(str(number) for number in sorted(numbers)), row


def test_fractions_are_reduced(of_task):
    for row in of_task["fraction"]:
        fraction = Fraction(row["input"])
        assert row["output"] == f"{fraction.numerator}/{fraction.denominator}", row
        assert row["output"] != row["input"], row


def test_sums_are_right(of_task):
    for row in of_task["add"]:
        fields = read_back_any(task_templates(row), row["instruction"])
        a, b = int(fields["a"]), int(fields["b"])
        assert row["output"] == f"{a} + {b} = {a + b}", row


def test_greetings_get_an_answer_of_their_language(of_task):
    for row in of_task["greet"]:
        texts = wordings()["tasks"]["greet"][row["language"]]
        assert row["instruction"] in texts["instructions"], row
        assert row["output"] in texts["answers"], row


def test_every_task_is_checked_here(of_task):
    checked = {
        "relation",
        "judge",
        "translate",
        "extract",
        "describe",
        "list",
        "table",
        "choose",
        "compare",
        "kind",
        "copy",
        "count",
        "read",
    }
    assert set(of_task) == checked | {"sort", "fraction", "add", "greet"}
