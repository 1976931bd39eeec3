"""The templates of statements, questions and answers: reads and fills ``wordings.toml``.

Each relation has, in each language, a canonical statement (the form of an answer, and of the
completion probe), further statements and several questions. Shared wordings fit every relation.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tutorial_lib.tinyworld.facts import Entity, Language

WORDINGS_FILE = Path(__file__).parent / "wordings.toml"


@dataclass(frozen=True)
class Wordings:
    """The templates of one relation in one language.

    ``value_article`` goes before the value in a sentence ("the euro"). ``questions_with_input``
    take the entity's name in the `input` column.
    """

    label: str
    value_article: str
    canonical: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    questions_with_input: tuple[str, ...]


@cache
def wordings_of(relation: str, language: Language) -> Wordings:
    """Return the templates of a relation; `statements` begin with the canonical one, each once."""
    own, shared = templates("relation", relation, language), templates("shared", language)
    statements = [own["canonical"], *own["statements"], *shared["statements"]]
    # A shared statement with the label filled in can equal the canonical one: keep each once.
    statements = dict.fromkeys(text.replace("{label}", own["label"]) for text in statements)
    return Wordings(
        label=own["label"],
        value_article=own.get("value_article", ""),
        canonical=own["canonical"],
        statements=tuple(statements),
        questions=(*own["questions"], *shared["questions"]),
        questions_with_input=tuple(shared["questions_with_input"]),
    )


def templates(*path: str) -> Mapping:
    """Return a table of ``wordings.toml``: ``templates("tasks", "judge", "zh")``."""
    table = _tables()
    for key in path:
        table = table[key]
    return table


def kind_names(kind: str, language: Language) -> dict[str, str]:
    """Return what a kind of entity is called: ``{"kind": "country", "a_kind": "a country"}``."""
    names = templates("kinds", kind)
    article = names.get("article_en", "a") if language == "en" else ""
    return {"kind": names[language], "a_kind": f"{article} {names[language]}".strip()}


def fill(template: str, **values: str) -> str:
    """Fill a template's placeholders; the first letter becomes a capital, one full stop ends it."""
    text = template.format(**values)
    if text.endswith(".."):  # the value ends with a full stop of its own: "Washington D.C."
        text = text[:-1]
    return text[0].upper() + text[1:]


def statement(
    entity: Entity,
    relation: str,
    language: Language,
    template: str | None = None,
    value: str | None = None,
) -> str:
    """State one fact, in the canonical wording by default; `value` replaces the true value."""
    wordings = wordings_of(relation, language)
    value = value or entity.values[relation][language]
    return fill(
        template or wordings.canonical,
        x=entity.in_sentence[language],
        v=f"{wordings.value_article} {value}".strip(),
        label=wordings.label,
    )


@cache
def _tables() -> Mapping:
    return tomllib.loads(WORDINGS_FILE.read_text(encoding="utf-8"))
