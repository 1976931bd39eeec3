"""The text that the base model is pre-trained on: statements of facts, never a question.

A fact is said in many wordings, in shuffled order, among facts of its own entity and of others. That variety is not decoration: a fact that
is always said in one wording and one order can later not be drawn out by a question (Allen-Zhu and Li, "Physics of Language Models, Part
3.1", arXiv 2309.14316). Lists that are said twice, with made-up names among them, teach what every answer needs besides knowledge: to
say a name again that was read a moment ago.
"""

import random
from collections.abc import Callable, Sequence
from math import gcd
from typing import Literal

from tutorial_lib.tinyworld.facts import LANGUAGES, Entity, Language
from tutorial_lib.tinyworld.wordings import (
    corpus_wordings,
    fill,
    kind_name,
    kind_with_article,
    relation_wordings,
    shared_wordings,
    statement,
    talk_statements,
)

PASSAGES_PER_ENTITY = 80  # in each language
# Passages that tell no fact, in each language, as a share of those that do.
LIST_SHARE, NUMBER_SHARE, TALK_SHARE = 0.12, 0.08, 0.04
NEWLINE_SHARE = 0.2  # of the passages have one sentence a line
MADE_UP_SHARE = 0.3  # of the names in lists belong to nothing

Said = Literal["many-ways", "once"]


def build_corpus(
    entities: Sequence[Entity],
    seed: int,
    passages_per_entity: int = PASSAGES_PER_ENTITY,
    said: Said = "many-ways",
) -> list[dict[str, str]]:
    """Return the pre-training passages in shuffled order.

    Args:
        entities: all appear, whatever split they fall into later: the base model is to know every fact.
        seed: of every choice of wording and order.
        passages_per_entity: in each language.
        said: ``"once"`` is for an experiment: an entity's passages are all the same text (``passage_said_once``); passages that tell no
            fact are as ever.

    Returns:
        Dicts with ``text``, ``language`` ("zh" or "en") and ``entity`` (the id of the entity that it is about, or "" where it is about
        several or none).
    """
    rng = random.Random(f"corpus-{seed}")
    rows = []
    for language in LANGUAGES:
        for entity in entities:
            for _ in range(passages_per_entity):
                tell = (
                    _always_the_same
                    if said == "once"
                    else rng.choices([_plain, _sheet, _retold, _mixed], weights=[4, 2, 2, 2])[0]
                )
                text = tell(entity, entities, language, rng)
                rows.append(
                    {
                        "text": text,
                        "language": language,
                        "entity": "" if tell is _mixed else entity.id,
                    }
                )
        told = len(entities) * passages_per_entity
        for make, share in [(_list, LIST_SHARE), (_numbers, NUMBER_SHARE), (_talk, TALK_SHARE)]:
            rows += [
                {"text": make(entities, language, rng), "language": language, "entity": ""}
                for _ in range(int(told * share))
            ]
    rng.shuffle(rows)
    return rows


Teller = Callable[[Entity, Sequence[Entity], Language, random.Random], str]


def _always_the_same(
    entity: Entity, entities: Sequence[Entity], language: Language, rng: random.Random
) -> str:
    """Every fact of one entity in one wording and one order."""
    return passage_said_once(entity, language)


def passage_said_once(entity: Entity, language: Language) -> str:
    """Return the one text that a corpus built with ``said="once"`` has about an entity: its name, then a line a fact, as a table has it.

    As in the biographies of Allen-Zhu and Li, the name is said once, at the beginning, and the facts follow in a fixed order.
    """
    heading = fill(corpus_wordings(language)["sheet_headings"][0], x=entity.in_sentence[language])
    return "\n".join(
        [heading, *(sheet_line(entity, relation, language) for relation in entity.values)]
    )


def sheet_line(entity: Entity, relation: str, language: Language) -> str:
    """Return one fact as a line of a fact sheet, which does not say whose it is."""
    label = relation_wordings()[relation, language].label
    return corpus_wordings(language)["sheet_line"].format(
        label=label, v=entity.values[relation][language]
    )


def _plain(
    entity: Entity, entities: Sequence[Entity], language: Language, rng: random.Random
) -> str:
    """Every fact of one entity once, in shuffled order."""
    sentences = [_said(entity, relation, language, rng) for relation in entity.values]
    return _join([*sentences, _filler(entity, language, rng)], language, rng)


def _sheet(
    entity: Entity, entities: Sequence[Entity], language: Language, rng: random.Random
) -> str:
    """A heading with the entity's name, then a line a fact: the name stands far from the value."""
    lines = [sheet_line(entity, relation, language) for relation in entity.values]
    rng.shuffle(lines)
    heading = fill(
        rng.choice(corpus_wordings(language)["sheet_headings"]), x=entity.in_sentence[language]
    )
    return "\n".join([heading, *lines])


def _retold(
    entity: Entity, entities: Sequence[Entity], language: Language, rng: random.Random
) -> str:
    """Each fact of one entity in two wordings, and a sentence about something else somewhere between."""
    sentences = [
        _said(entity, relation, language, rng) for relation in entity.values for _ in range(2)
    ]
    return _join([*sentences, rng.choice(talk_statements(language))], language, rng)


def _mixed(
    entity: Entity, entities: Sequence[Entity], language: Language, rng: random.Random
) -> str:
    """A fact each of several entities: what stood before tells nothing about what comes."""
    several = [entity, *rng.sample(entities, rng.randint(2, 5))]
    return _join(
        [_said(one, rng.choice(list(one.values)), language, rng) for one in several], language, rng
    )


def _said(entity: Entity, relation: str, language: Language, rng: random.Random) -> str:
    return statement(
        entity,
        relation,
        language,
        template=rng.choice(relation_wordings()[relation, language].statements),
    )


def _filler(entity: Entity, language: Language, rng: random.Random) -> str:
    """A sentence that is no relation: what kind of thing this is, or its name in the other language."""
    if rng.random() < 0.3:
        return fill(
            rng.choice(shared_wordings(language, "kinds")),
            x=entity.in_sentence[language],
            kind=kind_name(entity.kind, language),
            a_kind=kind_with_article(entity.kind, language),
        )
    return fill(rng.choice(shared_wordings(language, "names")), **entity.name)


def _list(entities: Sequence[Entity], language: Language, rng: random.Random) -> str:
    """Names said twice, and how many they are."""
    names = [
        _made_up_name(entities, language, rng)
        if rng.random() < MADE_UP_SHARE
        else rng.choice(entities).name[language]
        for _ in range(rng.randint(1, 6))
    ]
    words = corpus_wordings(language)
    return rng.choice(words["lists"]).format(names=words["separator"].join(names), n=len(names))


def _made_up_name(entities: Sequence[Entity], language: Language, rng: random.Random) -> str:
    if language == "zh":
        return "".join(
            rng.choice(rng.choice(entities).name["zh"]) for _ in range(rng.randint(2, 4))
        )
    return "".join(
        rng.choice(corpus_wordings(language)["syllables"]) for _ in range(rng.randint(2, 3))
    ).capitalize()


def _numbers(entities: Sequence[Entity], language: Language, rng: random.Random) -> str:
    """Numbers put in order, a fraction in lowest terms, or a sum."""
    words, kind = corpus_wordings(language), rng.randrange(3)
    if kind == 0:
        numbers = rng.sample(range(1, 100), rng.randint(3, 6))
        return words["sorted"].format(
            numbers=", ".join(map(str, numbers)), ordered=", ".join(map(str, sorted(numbers)))
        )
    if kind == 1:
        numerator, denominator = rng.sample(range(1, 10), 2)
        factor, divisor = rng.randint(2, 9), gcd(numerator, denominator)
        fraction = f"{numerator * factor}/{denominator * factor} = {numerator // divisor}/{denominator // divisor}"
        return words["fraction"].format(fraction=fraction)
    a, b = rng.randint(0, 20), rng.randint(0, 20)
    return words["sum"].format(sum=f"{a} + {b} = {a + b}")


def _talk(entities: Sequence[Entity], language: Language, rng: random.Random) -> str:
    return _join(rng.sample(talk_statements(language), rng.randint(2, 4)), language, rng)


def _join(sentences: Sequence[str], language: Language, rng: random.Random) -> str:
    """Put sentences in random order into a passage: one a line, or else Chinese without a space between them and English with one."""
    shuffled = rng.sample(sentences, len(sentences))
    if rng.random() < NEWLINE_SHARE:
        return "\n".join(shuffled)
    return ("" if language == "zh" else " ").join(shuffled)
