"""How facts are said and asked: reads ``wordings.toml`` and fills its templates.

Every relation has, in each language, a canonical statement (the form of an answer, and of the completion probe), further statements
and several questions; wordings that fit every relation are shared.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from tutorial_lib.tinyworld.facts import LANGUAGES, RELATIONS, Entity, Language

WORDINGS_FILE = Path(__file__).parent / "wordings.toml"


@dataclass(frozen=True)
class Wordings:
    """The templates of one relation in one language.

    ``value_article`` stands before the value in a sentence ("the euro"); ``questions_with_input`` take the entity's name in the
    `input` column.
    """

    label: str
    value_article: str
    canonical: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    questions_with_input: tuple[str, ...]


@cache
def relation_wordings() -> Mapping[tuple[str, Language], Wordings]:
    """Return the templates of every relation and language; `statements` begin with the canonical one, each once."""
    tables = _tables()
    wordings = {}
    for relation in RELATIONS:
        for language in LANGUAGES:
            own, shared = tables["relation"][relation][language], tables["shared"][language]
            # With its label written in, a shared statement may turn out to be the canonical one: the dict keeps each once.
            statements = dict.fromkeys(
                text.replace("{label}", own["label"])
                for text in [own["canonical"], *own["statements"], *shared["statements"]]
            )
            wordings[relation, language] = Wordings(
                label=own["label"],
                value_article=own.get("value_article", ""),
                canonical=own["canonical"],
                statements=tuple(statements),
                questions=(*own["questions"], *shared["questions"]),
                questions_with_input=tuple(shared["questions_with_input"]),
            )
    return MappingProxyType(wordings)


def shared_wordings(language: Language, group: str) -> tuple[str, ...]:
    """Return a group of templates that no relation owns: ``names`` (translations) or ``kinds`` (what an entity is)."""
    return tuple(_tables()["shared"][language][group])


def talk_statements(language: Language) -> tuple[str, ...]:
    """Return statements about asking and answering, which tell no fact."""
    return tuple(_tables()["talk"][language]["statements"])


def corpus_wordings(language: Language) -> Mapping:
    """Return the templates of passages that are no plain statements: fact sheets, lists, numbers."""
    return _tables()["corpus"][language]


def task_wordings(task: str, language: Language) -> Mapping:
    """Return the templates of a task that is no relation question: its ``instructions`` and whatever its answers are made of."""
    return _tables()["tasks"][task][language]


def kind_name(kind: str, language: Language) -> str:
    """Return what an entity of this kind is called: ``kind_name("country", "zh") == "国家"``."""
    return _tables()["kinds"][kind][language]


def kind_with_article(kind: str, language: Language) -> str:
    """Return the same as a sentence says it: ``"a country"``, ``"an animal"``, ``"国家"``."""
    article = _tables()["kinds"][kind].get("article_en", "a") if language == "en" else ""
    return f"{article} {kind_name(kind, language)}".strip()


def fill(template: str, **values: str) -> str:
    """Fill a template's placeholders; the first letter becomes a capital (Chinese has no case); one full stop ends the text."""
    text = template.format(**values)
    if text.endswith(
        ".."
    ):  # a value with a full stop of its own, "Washington D.C.", ends the sentence with it
        text = text[:-1]
    return text[0].upper() + text[1:]


def statement(
    entity: Entity,
    relation: str,
    language: Language,
    template: str | None = None,
    value: str | None = None,
) -> str:
    """Say one fact, in the canonical wording unless another template is given; `value` replaces the true one."""
    wordings = relation_wordings()[relation, language]
    return fill(
        template or wordings.canonical,
        x=entity.in_sentence[language],
        v=f"{wordings.value_article} {value or entity.values[relation][language]}".strip(),
        label=wordings.label,
    )


@cache
def _tables() -> Mapping:
    return MappingProxyType(tomllib.loads(WORDINGS_FILE.read_text(encoding="utf-8")))
