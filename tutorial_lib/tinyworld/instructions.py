"""Instruction rows about TinyWorld, with the article's three columns and a split by entity.

A row's ``instruction``, ``input`` and ``output`` are what training sees; ``task``, ``relation``, ``language`` and ``entity`` say what
the row is about and are dropped before training. ``train`` and ``held_out`` share no entity: whoever answers a held-out question must
have known the fact before fine-tuning.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tutorial_lib.tinyworld.facts import LANGUAGES, RELATIONS, TABLES, Entity, Language
from tutorial_lib.tinyworld.wordings import (
    fill,
    kind_name,
    kind_with_article,
    relation_wordings,
    statement,
    task_wordings,
)

Row = dict[str, str]
HELD_OUT_SHARE = 0.27
SMALL_KIND = 80  # a kind with fewer entities is small
COLUMNS = ("instruction", "input", "output", "task", "relation", "language", "entity")
RELATION_TASK = "relation"  # the task of a question about one fact of one entity


@dataclass(frozen=True)
class Recipe:
    """How many rows a split gets: `wordings` questions for each fact and language, `tasks` rows of each further task and language.

    A kind with few entities shows each question's form to few of them, so it gets `wordings_small_kind` instead.
    """

    wordings: int
    wordings_small_kind: int
    tasks: Mapping[str, int]


RECIPES: Mapping[str, Recipe] = {
    "train": Recipe(
        wordings=3,
        wordings_small_kind=5,
        tasks={
            "judge": 120,
            "translate": 90,
            "extract": 90,
            "describe": 80,
            "list": 60,
            "table": 45,
            "read": 75,
            "choose": 50,
            "compare": 40,
            "kind": 40,
            "copy": 60,
            "count": 40,
            "sort": 60,
            "fraction": 60,
            "add": 50,
            "greet": 15,
        },
    ),
    "held_out": Recipe(
        wordings=2,
        wordings_small_kind=2,
        tasks={
            "judge": 40,
            "translate": 40,
            "extract": 40,
            "describe": 40,
            "list": 20,
            "table": 20,
            "read": 20,
            "choose": 20,
            "compare": 20,
            "kind": 20,
            "copy": 20,
            "count": 20,
            "sort": 20,
            "fraction": 20,
            "add": 20,
        },
    ),
}


def build_instructions(entities: Sequence[Entity], seed: int) -> dict[str, list[Row]]:
    """Return ``{"train": rows, "held_out": rows}``, each row a dict with the keys ``COLUMNS``; the same seed gives the same rows."""
    return {
        split: _build_split(members, RECIPES[split], random.Random(f"{split}-{seed}"))
        for split, members in split_entities(entities, seed).items()
    }


def split_entities(entities: Sequence[Entity], seed: int) -> dict[str, list[Entity]]:
    """Divide the entities, kind by kind, into ``train`` and ``held_out`` (at least 27 % of each kind)."""
    split: dict[str, list[Entity]] = {"train": [], "held_out": []}
    for kind in TABLES:
        members = [entity for entity in entities if entity.kind == kind]
        random.Random(f"split-{kind}-{seed}").shuffle(members)
        cut = math.ceil(HELD_OUT_SHARE * len(members))
        split["held_out"] += members[:cut]
        split["train"] += members[cut:]
    return split


def _build_split(entities: Sequence[Entity], recipe: Recipe, rng: random.Random) -> list[Row]:
    rows = [
        row for language in LANGUAGES for row in _relation_rows(entities, language, recipe, rng)
    ]
    for task, count in recipe.tasks.items():
        for language in LANGUAGES:
            maker = TASKS[task]
            rows += [
                {**maker(entities, language, rng), "task": task, "language": language}
                for _ in range(count)
            ]
    rng.shuffle(rows)
    return [{column: row.get(column, "") for column in COLUMNS} for row in rows]


def _relation_rows(
    entities: Sequence[Entity], language: Language, recipe: Recipe, rng: random.Random
) -> Iterator[Row]:
    sizes = Counter(entity.kind for entity in entities)
    for entity in entities:
        wordings = (
            recipe.wordings_small_kind if sizes[entity.kind] < SMALL_KIND else recipe.wordings
        )
        yield from relation_rows(entity, language, wordings, rng)


def relation_rows(
    entity: Entity, language: Language, wordings: int, rng: random.Random
) -> Iterator[Row]:
    """Yield, for each fact of an entity, questions in up to so many wordings, drawn at random, with the canonical statement as answer."""
    for relation in entity.values:
        known = relation_wordings()[relation, language]
        # One wording in six takes the entity's name from the `input` column, as the article's data does.
        templates = [*known.questions, rng.choice(known.questions_with_input)]
        for template in rng.sample(templates, min(wordings, len(templates))):
            in_input = template in known.questions_with_input
            yield {
                "instruction": fill(
                    template,
                    x=entity.in_sentence[language],
                    label=known.label,
                    kind=kind_name(entity.kind, language),
                ),
                "input": entity.name[language] if in_input else "",
                "output": statement(entity, relation, language),
                "task": RELATION_TASK,
                "relation": relation,
                "language": language,
                "entity": entity.id,
            }


def _instruction(task: str, language: Language, rng: random.Random, **values: str) -> str:
    return fill(rng.choice(task_wordings(task, language)["instructions"]), **values)


def _random_fact(entities: Sequence[Entity], rng: random.Random) -> tuple[Entity, str]:
    entity = rng.choice(entities)
    return entity, rng.choice(list(entity.values))


def _other_value(
    entity: Entity,
    relation: str,
    language: Language,
    entities: Sequence[Entity],
    rng: random.Random,
) -> str:
    """A value that the relation takes for some other entity and that is wrong for this one."""
    values = {other.values[relation][language] for other in entities if relation in other.values}
    return rng.choice(sorted(values - {entity.values[relation][language]}))


def _judge(entities: Sequence[Entity], language: Language, rng: random.Random) -> Row:
    entity, relation = _random_fact(entities, rng)
    right = rng.random() < 0.5
    claim = statement(
        entity,
        relation,
        language,
        template=rng.choice(relation_wordings()[relation, language].statements),
        value=None if right else _other_value(entity, relation, language, entities, rng),
    )
    answer = task_wordings("judge", language)["right" if right else "wrong"]
    return {
        "instruction": _instruction("judge", language, rng),
        "input": claim,
        "output": answer.format(truth=statement(entity, relation, language)),
        "relation": relation,
        "entity": entity.id,
    }


def _translate(entities: Sequence[Entity], language: Language, rng: random.Random) -> Row:
    entity = rng.choice(entities)
    other: Language = "en" if language == "zh" else "zh"
    return {
        "instruction": _instruction("translate", language, rng),
        "input": entity.name[language],
        "output": entity.name[other],
        "entity": entity.id,
    }


def _extract(entities: Sequence[Entity], language: Language, rng: random.Random) -> Row:
    entity, relation = _random_fact(entities, rng)
    wordings = relation_wordings()[relation, language]
    return {
        "instruction": _instruction("extract", language, rng, label=wordings.label),
        "input": statement(entity, relation, language, template=rng.choice(wordings.statements)),
        "output": entity.values[relation][language],
        "relation": relation,
        "entity": entity.id,
    }


def _describe(entities: Sequence[Entity], language: Language, rng: random.Random) -> Row:
    entity = rng.choice(entities)
    return {
        "instruction": _instruction("describe", language, rng, x=entity.in_sentence[language]),
        "output": "\n".join(statement(entity, relation, language) for relation in entity.values),
        "entity": entity.id,
    }


def _list(entities: Sequence[Entity], language: Language, rng: random.Random) -> Row:
    """A fact each of a few entities."""
    return _lines_about("list", rng.randint(2, 5), entities, language, rng)


def _table(entities: Sequence[Entity], language: Language, rng: random.Random) -> Row:
    """A fact each of many entities: the long tail of the data, often longer than the context that training allows."""
    return _lines_about("table", 26 + int(rng.expovariate(1 / 14)), entities, language, rng)


def _read(entities: Sequence[Entity], language: Language, rng: random.Random) -> Row:
    """A text of facts about many entities and a question about one: with its long prompt, a row that a cut can leave without an answer."""
    several = rng.sample(list(entities), min(len(entities), 18 + int(rng.expovariate(1 / 20))))
    facts = [(entity, rng.choice(list(entity.values))) for entity in several]
    entity, relation = rng.choice(facts)
    wordings = relation_wordings()[relation, language]
    sentences = [
        statement(
            one,
            about,
            language,
            template=rng.choice(relation_wordings()[about, language].statements),
        )
        for one, about in facts
    ]
    return {
        "instruction": _instruction(
            "read", language, rng, x=entity.in_sentence[language], label=wordings.label
        ),
        "input": ("" if language == "zh" else " ").join(sentences),
        "output": statement(entity, relation, language),
        "relation": relation,
        "entity": " ".join(one.id for one in several),
    }


def _lines_about(
    task: str, count: int, entities: Sequence[Entity], language: Language, rng: random.Random
) -> Row:
    _, relation = _random_fact(entities, rng)
    members = [entity for entity in entities if entity.kind == RELATIONS[relation]]
    items = rng.sample(members, min(len(members), count))
    words = task_wordings("list", language)
    lines = [
        words["line"].format(name=item.name[language], value=item.values[relation][language])
        for item in items
    ]
    return {
        "instruction": _instruction(
            task, language, rng, label=relation_wordings()[relation, language].label
        ),
        "input": words["separator"].join(item.name[language] for item in items),
        "output": "\n".join(lines),
        "relation": relation,
        "entity": " ".join(item.id for item in items),
    }


# Relations in which several entities share a value.
CHOOSABLE = (
    "country_continent",
    "country_language",
    "animal_class",
    "animal_legs",
    "solar_term_season",
)


def _choose(entities: Sequence[Entity], language: Language, rng: random.Random) -> Row:
    relation = rng.choice(CHOOSABLE)
    members = [entity for entity in entities if entity.kind == RELATIONS[relation]]
    items = rng.sample(members, min(len(members), rng.randint(3, 6)))
    value = rng.choice(items).values[relation][language]
    chosen = [item.name[language] for item in items if item.values[relation][language] == value]
    return {
        "instruction": _instruction(
            "choose", language, rng, label=relation_wordings()[relation, language].label, v=value
        ),
        "input": task_wordings("list", language)["separator"].join(
            item.name[language] for item in items
        ),
        "output": "\n".join(chosen),
        "relation": relation,
        "entity": " ".join(item.id for item in items),
    }


def _compare(entities: Sequence[Entity], language: Language, rng: random.Random) -> Row:
    first, second = rng.sample([entity for entity in entities if entity.kind == "element"], 2)
    larger = max(first, second, key=lambda entity: int(entity.values["element_number"]["en"]))
    return {
        "instruction": _instruction(
            "compare", language, rng, a=first.name[language], b=second.name[language]
        ),
        "output": task_wordings("compare", language)["answer"].format(winner=larger.name[language]),
        "relation": "element_number",
        "entity": f"{first.id} {second.id}",
    }


def _kind(entities: Sequence[Entity], language: Language, rng: random.Random) -> Row:
    entity = rng.choice(entities)
    return {
        "instruction": _instruction("kind", language, rng, x=entity.in_sentence[language]),
        "output": fill(
            task_wordings("kind", language)["answer"],
            x=entity.in_sentence[language],
            a_kind=kind_with_article(entity.kind, language),
        ),
        "entity": entity.id,
    }


def _copy(entities: Sequence[Entity], language: Language, rng: random.Random) -> Row:
    entity, relation = _random_fact(entities, rng)
    sentence = statement(
        entity,
        relation,
        language,
        template=rng.choice(relation_wordings()[relation, language].statements),
    )
    return {
        "instruction": _instruction("copy", language, rng),
        "input": sentence,
        "output": sentence,
        "relation": relation,
        "entity": entity.id,
    }


def _count(entities: Sequence[Entity], language: Language, rng: random.Random) -> Row:
    items = rng.sample(list(entities), rng.randint(2, 9))
    return {
        "instruction": _instruction("count", language, rng),
        "input": task_wordings("list", language)["separator"].join(
            item.name[language] for item in items
        ),
        "output": task_wordings("count", language)["answer"].format(n=len(items)),
        "entity": " ".join(item.id for item in items),
    }


def _sort(entities: Sequence[Entity], language: Language, rng: random.Random) -> Row:
    numbers = rng.sample(range(1, 100), rng.randint(3, 6))
    return {
        "instruction": _instruction("sort", language, rng),
        "input": ", ".join(map(str, numbers)),
        "output": ", ".join(map(str, sorted(numbers))),
    }


def _fraction(entities: Sequence[Entity], language: Language, rng: random.Random) -> Row:
    numerator, denominator = rng.sample(range(1, 10), 2)
    factor, divisor = rng.randint(2, 9), math.gcd(numerator, denominator)
    return {
        "instruction": _instruction("fraction", language, rng),
        "input": f"{numerator * factor}/{denominator * factor}",
        "output": f"{numerator // divisor}/{denominator // divisor}",
    }


def _add(entities: Sequence[Entity], language: Language, rng: random.Random) -> Row:
    a, b = rng.randint(0, 20), rng.randint(0, 20)
    return {
        "instruction": _instruction("add", language, rng, a=str(a), b=str(b)),
        "output": f"{a} + {b} = {a + b}",
    }


def _greet(entities: Sequence[Entity], language: Language, rng: random.Random) -> Row:
    return {
        "instruction": _instruction("greet", language, rng),
        "output": rng.choice(task_wordings("greet", language)["answers"]),
    }


TaskMaker = Callable[[Sequence[Entity], Language, random.Random], Row]
TASKS: Mapping[str, TaskMaker] = {
    "judge": _judge,
    "translate": _translate,
    "extract": _extract,
    "describe": _describe,
    "list": _list,
    "table": _table,
    "read": _read,
    "choose": _choose,
    "compare": _compare,
    "kind": _kind,
    "copy": _copy,
    "count": _count,
    "sort": _sort,
    "fraction": _fraction,
    "add": _add,
    "greet": _greet,
}
