"""TinyWorld's tables and templates, read from the files without the code under test."""

import csv
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tutorial_lib

FOLDER = Path(tutorial_lib.__file__).parent / "tinyworld"
LANGUAGES = ("zh", "en")

# kind -> (table, its relations with their columns)
KINDS = {
    "country": (
        "countries.csv",
        {
            "country_capital": "capital",
            "country_continent": "continent",
            "country_language": "language",
            "country_currency": "currency",
        },
    ),
    "province": (
        "provinces.csv",
        {"province_seat": "seat", "province_abbreviation": "abbreviation"},
    ),
    "element": ("elements.csv", {"element_symbol": "symbol", "element_number": "number"}),
    "us_state": (
        "us_states.csv",
        {"us_state_capital": "capital", "us_state_abbreviation": "abbreviation"},
    ),
    "animal": ("animals.csv", {"animal_class": "class", "animal_legs": "legs"}),
    "solar_term": ("solar_terms.csv", {"solar_term_season": "season", "solar_term_month": "month"}),
}
RELATION_LANGUAGES = [
    (relation, language)
    for _, columns in KINDS.values()
    for relation in columns
    for language in LANGUAGES
]


@dataclass(frozen=True)
class Thing:
    """An entity as its table has it: `in_sentence` has the English article."""

    id: str
    kind: str
    name: Mapping[str, str]
    in_sentence: Mapping[str, str]
    values: Mapping[str, Mapping[str, str]]


def read_table(filename: str) -> list[dict[str, str]]:
    with (FOLDER / "facts" / filename).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def things() -> Mapping[str, Thing]:
    by_id = {}
    for kind, (filename, columns) in KINDS.items():
        for row in read_table(filename):
            article = row["article_en"] + " " if row.get("article_en") else ""
            by_id[f"{kind}/{row['id']}"] = Thing(
                id=f"{kind}/{row['id']}",
                kind=kind,
                name={"zh": row["name_zh"], "en": row["name_en"]},
                in_sentence={"zh": row["name_zh"], "en": article + row["name_en"]},
                values={
                    relation: {
                        language: row[f"{column}_{language}"]
                        if f"{column}_{language}" in row
                        else row[column]
                        for language in LANGUAGES
                    }
                    for relation, column in columns.items()
                },
            )
    return by_id


@cache
def wordings() -> Mapping:
    return tomllib.loads((FOLDER / "wordings.toml").read_text(encoding="utf-8"))


def label(relation: str, language: str) -> str:
    return wordings()["relation"][relation][language]["label"]


def statement_templates(relation: str, language: str) -> list[str]:
    """All templates of a relation, the canonical one first, its label written in."""
    own, shared = wordings()["relation"][relation][language], wordings()["shared"][language]
    both = [own["canonical"], *own["statements"], *shared["statements"]]
    return list(dict.fromkeys(template.replace("{label}", own["label"]) for template in both))


def question_templates(relation: str, language: str) -> list[str]:
    """The questions that name the entity themselves, label written in."""
    own, shared = wordings()["relation"][relation][language], wordings()["shared"][language]
    return [
        template.replace("{label}", own["label"])
        for template in [*own["questions"], *shared["questions"]]
    ]


def input_question_templates(relation: str, language: str) -> list[str]:
    """The questions whose entity stands in the `input` column, label and kind written in."""
    (kind,) = (kind for kind, (_, columns) in KINDS.items() if relation in columns)
    return [
        template.format(label=label(relation, language), kind=wordings()["kinds"][kind][language])
        for template in wordings()["shared"][language]["questions_with_input"]
    ]


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    """With a capital letter, and one full stop even after "Washington D.C."."""
    return capitalised(re.sub(r"\.\.$", ".", text))


def a_kind(kind: str, language: str) -> str:
    names = wordings()["kinds"][kind]
    return {"zh": names["zh"], "en": f"{names.get('article_en', 'a')} {names['en']}"}[language]


def value_in_sentence(relation: str, language: str, value: str) -> str:
    article = wordings()["relation"][relation][language].get("value_article")
    return f"{article} {value}" if article else value


def say(template: str, thing: Thing, relation: str, language: str) -> str:
    value = value_in_sentence(relation, language, thing.values[relation][language])
    return sentence(template.format(x=thing.in_sentence[language], v=value))


def canonical(thing: Thing, relation: str, language: str) -> str:
    return say(wordings()["relation"][relation][language]["canonical"], thing, relation, language)


@cache
def true_statements(thing_id: str, relation: str, language: str) -> Mapping[str, str]:
    """Statement -> the template that makes it, for one fact."""
    thing = things()[thing_id]
    return {
        say(template, thing, relation, language): template
        for template in statement_templates(relation, language)
    }


def read_back(template: str, text: str) -> dict[str, str] | None:
    """Return the values of a template's placeholders, or None if the text has another form."""
    pattern, seen = "", set()
    for part in re.split(r"(\{\w+\})", capitalised(template)):
        if not re.fullmatch(r"\{\w+\}", part):
            pattern += re.escape(part)
        else:
            name = part[1:-1]
            pattern += f"(?P={name})" if name in seen else f"(?P<{name}>.+)"
            seen.add(name)
    match = re.fullmatch(pattern, text, flags=re.DOTALL)
    return match.groupdict() if match else None


def read_back_any(templates: list[str], text: str) -> dict[str, str] | None:
    return next(
        (fields for template in templates if (fields := read_back(template, text)) is not None),
        None,
    )


def cut(text: str, known) -> list[str]:
    """Cut a passage into known sentences; what is left over at the end is the last item."""
    sentences, start = [], 0
    for end in (match.end() for match in re.finditer(r"[.。](?=\s|$)|。", text)):
        if (part := text[start:end].strip()) in known:
            sentences.append(part)
            start = end
    return [*sentences, rest] if (rest := text[start:].strip()) else sentences
