import random

from tutorial_lib.tinyworld.facts import LANGUAGES, load_entities
from tutorial_lib.tinyworld.instructions import relation_rows
from tutorial_lib.tinyworld.invented import invent_countries


def test_no_invented_name_or_capital_is_real_or_given_twice():
    real = {text for entity in load_entities() for text in entity.name.values()}
    real |= {
        text
        for entity in load_entities()
        for values in entity.values.values()
        for text in values.values()
    }
    countries = invent_countries(200, seed=1)
    for language in LANGUAGES:
        names = [
            text
            for country in countries
            for text in (country.name[language], country.values["country_capital"][language])
        ]
        assert len(set(names)) == 400
        assert not set(names) & real


def test_other_values_are_those_of_real_countries():
    values = {
        (relation, language): {
            entity.values[relation][language]
            for entity in load_entities()
            if entity.kind == "country"
        }
        for relation in ("country_continent", "country_language", "country_currency")
        for language in LANGUAGES
    }
    for country in invent_countries(50, seed=2):
        for (relation, language), known in values.items():
            assert country.values[relation][language] in known


def test_the_same_seed_invents_the_same_and_another_others():
    assert (
        invent_countries(5, seed=3)
        == invent_countries(5, seed=3)
        == invent_countries(9, seed=3)[:5]
    )
    assert invent_countries(5, seed=3) != invent_countries(5, seed=4)


def test_questions_about_them_have_the_form_of_all_others():
    country = invent_countries(1, seed=5)[0]
    for language in LANGUAGES:
        rows = list(relation_rows(country, language, 3, random.Random(0)))
        assert len(rows) == 12
        assert len({(row["instruction"], row["input"]) for row in rows}) == 12
        for row in rows:
            assert country.name[language] in row["instruction"] + row["input"]
            assert country.values[row["relation"]][language] in row["output"]
            assert row["entity"] == country.id
