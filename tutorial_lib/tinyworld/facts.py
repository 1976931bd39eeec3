"""The facts of TinyWorld: six tables of entities, fourteen relations, every name in Chinese and English.

The tables are plain CSV files in ``facts/``; ``SOURCES.md`` beside them names the source of each. A table's columns
``<relation>_zh`` and ``<relation>_en`` hold a value in each language; a column without a suffix (an atomic number, a postal code) is
the same in both.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")
FACTS_DIR = Path(__file__).parent / "facts"

# kind -> (its table, {relation: column without language suffix})
TABLES: Mapping[str, tuple[str, Mapping[str, str]]] = {
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
    "element": ("elements.csv", {"element_symbol": "symbol", "element_number": "atomic_number"}),
    "us_state": (
        "us_states.csv",
        {"us_state_capital": "capital", "us_state_abbreviation": "abbreviation"},
    ),
    "animal": ("animals.csv", {"animal_class": "class", "animal_legs": "legs"}),
    "solar_term": ("solar_terms.csv", {"solar_term_season": "season", "solar_term_month": "month"}),
}
RELATIONS: Mapping[str, str] = {
    relation: kind for kind, (_, columns) in TABLES.items() for relation in columns
}


@dataclass(frozen=True)
class Entity:
    """One thing that TinyWorld knows, with all its facts.

    Attributes:
        id: unique over all kinds, e.g. ``"country/france"``.
        kind: a key of ``TABLES``.
        name: language -> the bare name ("Netherlands").
        in_sentence: language -> the name as a sentence says it ("the Netherlands").
        values: relation -> language -> value.
    """

    id: str
    kind: str
    name: Mapping[Language, str]
    in_sentence: Mapping[Language, str]
    values: Mapping[str, Mapping[Language, str]]


def load_entities() -> list[Entity]:
    """Return every entity in the order of the tables: country, province, element, US state, animal, solar term."""
    return [entity for kind in TABLES for entity in _load_table(kind)]


def _load_table(kind: str) -> list[Entity]:
    filename, columns = TABLES[kind]
    with (FACTS_DIR / filename).open(encoding="utf-8", newline="") as file:
        return [_entity(kind, columns, row) for row in csv.DictReader(file)]


def _entity(kind: str, columns: Mapping[str, str], row: Mapping[str, str]) -> Entity:
    article = row.get("article_en", "")
    name: dict[Language, str] = {"zh": row["name_zh"], "en": row["name_en"]}
    return Entity(
        id=f"{kind}/{row['id']}",
        kind=kind,
        name=name,
        in_sentence={"zh": name["zh"], "en": f"{article} {name['en']}".strip()},
        values={
            relation: {
                language: row.get(f"{column}_{language}") or row[column] for language in LANGUAGES
            }
            for relation, column in columns.items()
        },
    )
