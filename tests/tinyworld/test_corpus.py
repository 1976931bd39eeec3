import re
from collections import Counter, defaultdict
from fractions import Fraction
from itertools import pairwise

import pytest
from world_reference import (
    LANGUAGES,
    RELATION_LANGUAGES,
    a_kind,
    capitalised,
    cut,
    input_question_templates,
    label,
    question_templates,
    read_back,
    statement_templates,
    things,
    true_statements,
    value_in_sentence,
    wordings,
)

from tutorial_lib.tinyworld.corpus import build_corpus
from tutorial_lib.tinyworld.facts import load_entities
from tutorial_lib.tinyworld.wordings import statement, wordings_of

MARK = "\0"  # no text holds it


@pytest.fixture(scope="module")
def entities():
    return load_entities()


@pytest.fixture(scope="module")
def corpus(entities):
    return build_corpus(entities, seed=42)


@pytest.fixture(scope="module")
def small_corpus(entities):
    return build_corpus(entities, seed=42, passages_per_entity=10)


def sheet_line(relation: str, language: str, value: str) -> str:
    return wordings()["corpus"][language]["sheet_line"].format(
        label=label(relation, language), v=value
    )


def sayings(thing_id: str, relation: str, language: str) -> dict[str, str]:
    """Every text that states this fact -> its wording, longer ones first; a sheet's line too."""
    value = things()[thing_id].values[relation][language]
    texts = dict(true_statements(thing_id, relation, language)) | {
        sheet_line(relation, language, value): "sheet"
    }
    return dict(sorted(texts.items(), key=lambda item: -len(item[0])))


def wordings_used(text: str, thing_id: str, relation: str, language: str) -> set[str]:
    """The wordings in which a passage states a fact; one within another is not counted."""
    used = set()
    for saying, wording in sayings(thing_id, relation, language).items():
        if saying in text:
            used.add(wording)
            text = text.replace(saying, MARK)
    return used


# ---------------------------------------------------------------- templates


@pytest.mark.parametrize(("relation", "language"), RELATION_LANGUAGES)
def test_a_relation_has_at_least_five_statement_templates(relation, language):
    templates = wordings_of(relation, language).statements
    assert len(templates) == len(set(templates)) >= 5
    assert list(templates) == statement_templates(relation, language)


@pytest.mark.parametrize(("relation", "language"), RELATION_LANGUAGES)
def test_every_template_says_the_name_and_the_value(entities, relation, language):
    for entity in entities:
        if relation not in entity.values:
            continue
        name, value = entity.in_sentence[language], entity.values[relation][language]
        texts = [
            statement(entity, relation, language, template)
            for template in wordings_of(relation, language).statements
        ]
        assert len(set(texts)) == len(texts), f"two templates say the same about {entity.id}"
        for text in texts:
            assert name in text or text.startswith(capitalised(name)), text
            sentence_value = value_in_sentence(relation, language, value)
            assert sentence_value in text or text.startswith(capitalised(sentence_value)), text
            assert text.endswith("。" if language == "zh" else "."), text
            assert not re.search(r"[{}]|  |\s$|^\s", text), text


def test_a_statement_ends_in_one_full_stop(entities):
    texts = [
        statement(entity, relation, language)
        for entity in entities
        for relation in entity.values
        for language in LANGUAGES
    ]
    assert [text for text in texts if re.search(r"[.。]{2}$", text)] == []


@pytest.mark.parametrize(("relation", "language"), RELATION_LANGUAGES)
def test_the_canonical_statement_ends_with_the_value(entities, relation, language):
    for entity in entities:
        if relation in entity.values:
            text, value = statement(entity, relation, language), entity.values[relation][language]
            assert text.endswith((f"{value}。", f"{value}.") if not value.endswith(".") else value)


def test_another_value_takes_the_place_of_the_true_one():
    france = next(entity for entity in load_entities() if entity.id == "country/france")
    assert (
        statement(france, "country_currency", "en", value="yen")
        == "The currency of France is the yen."
    )
    assert (
        statement(france, "country_capital", "zh", template="{v}是{x}的首都。", value="罗马")
        == "罗马是法国的首都。"
    )


# ---------------------------------------------------------------- what the passages state


def test_every_fact_is_told_in_at_least_five_wordings_of_each_language(corpus):
    used = defaultdict(set)
    for row in corpus:
        if row["entity"]:
            for relation in things()[row["entity"]].values:
                used[row["entity"], relation, row["language"]] |= wordings_used(
                    row["text"], row["entity"], relation, row["language"]
                )
    facts = [
        (thing.id, relation, language)
        for thing in things().values()
        for relation in thing.values
        for language in LANGUAGES
    ]
    assert [fact for fact in facts if len(used[fact]) < 5] == []


def test_every_entity_is_told_of_in_both_languages(small_corpus):
    pairs = {(row["entity"], row["language"]) for row in small_corpus}
    assert {(thing_id, language) for thing_id in things() for language in LANGUAGES} <= pairs


def test_a_passage_about_one_entity_tells_all_its_facts(small_corpus):
    for row in small_corpus:
        if row["entity"]:
            thing = things()[row["entity"]]
            assert thing.name[row["language"]].casefold() in row["text"].casefold()
            for relation in thing.values:
                assert wordings_used(row["text"], thing.id, relation, row["language"]), (
                    relation,
                    row["text"],
                )


def test_some_passages_tell_of_several_entities(small_corpus):
    owners = {}
    for thing in things().values():
        for relation in thing.values:
            for language in LANGUAGES:
                owners |= dict.fromkeys(true_statements(thing.id, relation, language), thing.id)
    several = [
        row
        for row in small_corpus
        if len({owners[s] for s in cut(row["text"], owners) if s in owners}) >= 3
    ]
    assert all(row["entity"] == "" for row in several)
    assert len(several) > 0.1 * len(small_corpus)


def test_the_facts_of_an_entity_come_in_any_order(corpus):
    firsts = defaultdict(Counter)
    for row in corpus:
        if row["entity"]:
            thing = things()[row["entity"]]
            positions = {
                relation: min(
                    row["text"].find(saying) % 10**9
                    for saying in sayings(thing.id, relation, row["language"])
                )
                for relation in thing.values
            }
            firsts[thing.id, row["language"]][min(positions, key=positions.get)] += 1
    for (thing_id, language), counts in firsts.items():
        # Of some 65 passages, each relation should open its share: 16 or 32. Chance gives far
        # more than a twenty-fifth.
        relations = things()[thing_id].values
        assert set(counts) == set(relations), (thing_id, language)
        assert min(counts.values()) >= 0.04 * counts.total(), (thing_id, language, counts)


def test_the_facts_are_shuffled_in_sheets_and_in_sentences_alike(small_corpus):
    firsts = defaultdict(Counter)
    for row in (row for row in small_corpus if row["entity"]):
        thing = things()[row["entity"]]
        positions = {
            relation: min(
                row["text"].find(saying) % 10**9
                for saying in sayings(thing.id, relation, row["language"])
            )
            for relation in thing.values
        }
        firsts[thing.kind, is_true_sheet(row)][min(positions, key=positions.get)] += 1
    assert len(firsts) == 12
    for (kind, is_sheet), counts in firsts.items():
        share = 1 / len(counts)
        assert len(counts) >= 2, kind
        assert all(
            0.5 * share < count / counts.total() < 1.5 * share for count in counts.values()
        ), (kind, is_sheet, counts)


def test_the_passages_are_shuffled(small_corpus):
    for column in ("language", "entity"):
        values = [row[column] for row in small_corpus]
        same_as_before = sum(a == b for a, b in pairwise(values)) / len(values)
        assert same_as_before < 0.6, column


# ---------------------------------------------------------------- truth


def known_sentences(language: str) -> set[str]:
    """All that a passage may say: the facts of the tables, names, kinds, and talk about talk."""
    texts, shared = set(wordings()["talk"][language]["statements"]), wordings()["shared"][language]
    for thing in things().values():
        for relation in thing.values:
            texts |= set(true_statements(thing.id, relation, language))
        kinds = {
            "kind": wordings()["kinds"][thing.kind][language],
            "a_kind": a_kind(thing.kind, language),
        }
        texts |= {
            capitalised(template.format(x=thing.in_sentence[language], **kinds))
            for template in shared["kinds"]
        }
        texts |= {capitalised(template.format(**thing.name)) for template in shared["names"]}
    return texts


def is_true_sheet(row) -> bool:
    """A heading with the entity's name, then its facts, a line each."""
    if not row["entity"]:
        return False
    thing, language = things()[row["entity"]], row["language"]
    headings = {
        capitalised(t.format(x=thing.in_sentence[language]))
        for t in wordings()["corpus"][language]["sheet_headings"]
    }
    heading, *lines = row["text"].split("\n")
    facts = [
        sheet_line(relation, language, values[language])
        for relation, values in thing.values.items()
    ]
    return heading in headings and sorted(lines) == sorted(facts)


def is_true_list(text: str, language: str) -> bool:
    words = wordings()["corpus"][language]
    for template in words["lists"]:
        if fields := read_back(template, text):
            return int(fields.get("n", 0)) in (0, len(fields["names"].split(words["separator"])))
    return False


def is_true_arithmetic(text: str, language: str) -> bool:
    words = wordings()["corpus"][language]
    if fields := read_back(words["sorted"], text):
        return fields["ordered"] == ", ".join(
            map(str, sorted(int(number) for number in fields["numbers"].split(", ")))
        )
    if fields := read_back(words["fraction"], text):
        fraction_text, _, reduced = fields["fraction"].partition(" = ")
        fraction = Fraction(fraction_text)
        return (
            fraction_text != reduced and reduced == f"{fraction.numerator}/{fraction.denominator}"
        )
    if fields := read_back(words["sum"], text):
        a, b, total = map(int, re.fullmatch(r"(\d+) \+ (\d+) = (\d+)", fields["sum"]).groups())
        return a + b == total
    return False


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_passage_says_only_what_is_true(small_corpus, language):
    known, counts = known_sentences(language), Counter()
    for row in small_corpus:
        if row["language"] != language:
            continue
        text = row["text"]
        if set(cut(text, known)) <= known:
            counts["sentences"] += 1
        elif is_true_sheet(row):
            counts["sheet"] += 1
        elif is_true_list(text, language):
            counts["list"] += 1
        else:
            assert is_true_arithmetic(text, language), text
            counts["arithmetic"] += 1
    assert (
        min(counts[sort] for sort in ("sentences", "sheet", "list", "arithmetic"))
        > 0.03 * counts.total()
    )


def test_a_language_keeps_to_its_script(small_corpus):
    """A Chinese passage has only names in Latin letters, an English one only names in Chinese."""
    for row in small_corpus:
        chinese = len(re.findall(r"[\u4e00-\u9fff]", row["text"]))
        assert (chinese > 0.4 * len(row["text"])) == (row["language"] == "zh") or len(
            row["text"]
        ) < 60, row


def test_a_list_said_twice_says_the_same_names_twice(small_corpus):
    blocks = [row["text"].split("\n\n") for row in small_corpus if "\n\n" in row["text"]]
    assert len(blocks) > 100
    assert [block for block in blocks if block[0] != block[1]] == []


def test_english_says_an_before_a_vowel_and_a_elsewhere(small_corpus):
    # A word with u or eu may begin with the sound of "you": "a US state".
    wrong = Counter(
        match
        for row in small_corpus
        if row["language"] == "en"
        for match in re.findall(r"\b[Aa] [aeioAEIO]\w*|\b[Aa]n [^aeiouAEIOU\W]\w*", row["text"])
    )
    assert wrong == {}


# ---------------------------------------------------------------- what is never there


def test_no_passage_has_a_question_mark(corpus):
    assert [row["text"] for row in corpus if re.search("[?？]", row["text"])] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_passage_has_the_form_of_a_question(small_corpus, language):
    text = "\n".join(row["text"] for row in small_corpus if row["language"] == language)
    forms = set()
    for relation, its_language in RELATION_LANGUAGES:
        if its_language == language:
            forms |= {
                template.strip("?？.。") for template in question_templates(relation, language)
            }
            forms |= {
                template.strip("?？.。")
                for template in input_question_templates(relation, language)
            }
    for form in forms:
        # The words of the question, in their order, within one sentence.
        pattern = r"[^\n.。]+?".join(re.escape(part) for part in form.split("{x}") if part)
        assert (match := re.search(pattern, text, flags=re.IGNORECASE)) is None, (form, match)


def test_no_passage_has_the_form_of_the_prompt(corpus):
    assert [row["text"] for row in corpus if re.search(r"Human:|Assistant:", row["text"])] == []


# ---------------------------------------------------------------- seeds


def test_the_same_seed_gives_the_same_corpus(entities, small_corpus):
    assert build_corpus(entities, seed=42, passages_per_entity=10) == small_corpus


def test_another_seed_gives_another_corpus(entities, small_corpus):
    other = build_corpus(entities, seed=43, passages_per_entity=10)
    assert len(other) == len(small_corpus)
    shared = {row["text"] for row in other} & {row["text"] for row in small_corpus}
    assert len(shared) < 0.5 * len(other)


@pytest.mark.parametrize("language", LANGUAGES)
def test_in_one_wording_an_entity_has_one_text_its_name_and_then_every_fact_in_order(
    entities, language
):
    texts = defaultdict(Counter)
    for row in build_corpus(entities, seed=5, passages_per_entity=3, wordings="one"):
        if row["language"] == language and row["entity"]:
            texts[row["entity"]][row["text"]] += 1
    assert set(texts) == set(things())
    for thing_id, seen in texts.items():
        [(text, times)] = seen.items()
        assert times == 3
        thing = things()[thing_id]
        heading, *lines = text.split("\n")
        assert thing.name[language].casefold() in heading.casefold()
        assert lines == [
            sheet_line(relation, language, values[language])
            for relation, values in thing.values.items()
        ]


def test_one_wording_leaves_the_passages_without_facts_as_varied_as_ever(entities):
    once = [
        row["text"]
        for row in build_corpus(entities, seed=5, passages_per_entity=10, wordings="one")
        if not row["entity"]
    ]
    assert len(once) > 1_000
    assert len(set(once)) > 0.7 * len(once)


def test_the_rows_have_three_text_columns_and_no_text_is_empty(small_corpus):
    for row in small_corpus:
        assert list(row) == ["text", "language", "entity"]
        assert row["text"].strip() == row["text"] != ""
        assert row["language"] in LANGUAGES
        assert row["entity"] == "" or row["entity"] in things()


def test_a_name_at_the_beginning_of_a_sentence_is_capitalised():
    dog = next(entity for entity in load_entities() if entity.id == "animal/dog")
    assert statement(dog, "animal_legs", "en", template="{x} has {v} legs.") == "A dog has 4 legs."
