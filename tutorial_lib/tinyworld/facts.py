"""The facts of TinyWorld: six tables of entities, fourteen relations, names in Chinese and English.

The tables are CSV files in ``facts/``; ``SOURCES.md`` there names their sources. A column that ends
in ``_zh`` or ``_en`` holds values of one language; any other (an atomic number) is for both.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")
FACTS_DIR = Path(__file__).parent / "facts"

# kind -> (its table, the columns with a fact)
TABLES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "country": ("countries.csv", ("capital", "continent", "language", "currency")),
    "province": ("provinces.csv", ("seat", "abbreviation")),
    "element": ("elements.csv", ("symbol", "number")),
    "us_state": ("us_states.csv", ("capital", "abbreviation")),
    "animal": ("animals.csv", ("class", "legs")),
    "solar_term": ("solar_terms.csv", ("season", "month")),
}
# relation -> kind, e.g. "country_capital" -> "country"
RELATIONS: Mapping[str, str] = {
    f"{kind}_{column}": kind for kind, (_, columns) in TABLES.items() for column in columns
}


@dataclass(frozen=True)
class Entity:
    """One thing that TinyWorld knows, with all its facts.

    Attributes:
        id: unique over all kinds, e.g. ``"country/france"``.
        kind: a key of ``TABLES``.
        name: language -> the bare name ("Netherlands").
        in_sentence: language -> the name within a sentence ("the Netherlands").
        values: relation -> language -> value.
    """

    id: str
    kind: str
    name: Mapping[Language, str]
    in_sentence: Mapping[Language, str]
    values: Mapping[str, Mapping[Language, str]]


def load_entities() -> list[Entity]:
    """Return every entity, in the order of ``TABLES``."""
    return [entity for kind in TABLES for entity in _load_table(kind)]


def _load_table(kind: str) -> list[Entity]:
    filename, columns = TABLES[kind]
    with (FACTS_DIR / filename).open(encoding="utf-8", newline="") as file:
        return [_entity(kind, columns, row) for row in csv.DictReader(file)]


def _entity(kind: str, columns: tuple[str, ...], row: Mapping[str, str]) -> Entity:
    name: dict[Language, str] = {"zh": row["name_zh"], "en": row["name_en"]}
    with_article = f"{row.get('article_en', '')} {name['en']}".strip()
    values = {
        f"{kind}_{column}": {
            language: row.get(f"{column}_{language}") or row[column] for language in LANGUAGES
        }
        for column in columns
    }
    in_sentence: dict[Language, str] = {"zh": name["zh"], "en": with_article}
    return Entity(f"{kind}/{row['id']}", kind, name, in_sentence, values)
