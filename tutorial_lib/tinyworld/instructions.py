"""Instruction rows about TinyWorld, with the article's three columns and a split by entity.

Training sees a row's ``instruction``, ``input`` and ``output``. Its ``task``, ``relation``,
``language`` and ``entity`` (ids) say what it is about and are dropped before training. ``train``
and ``held_out`` share no entity: only a model that knew a fact before fine-tuning can answer a
held-out question about it.
"""

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence

from tutorial_lib.tinyworld.draw import Draw
from tutorial_lib.tinyworld.facts import LANGUAGES, RELATIONS, TABLES, Entity, Language
from tutorial_lib.tinyworld.wordings import fill, kind_names, statement, templates, wordings_of

Row = dict[str, str]
RELATION_TASK = "relation"  # the task of a question about one fact of one entity
HELD_OUT_SHARE = 0.27

# Questions per fact and language. A small kind has few entities to show each form of question
# with, so each of its facts gets more.
QUESTIONS = {"train": 3, "held_out": 2}
QUESTIONS_OF_SMALL_KIND = {"train": 5, "held_out": 2}
SMALL_KIND = 80  # entities; a kind with fewer is small


def build_instructions(entities: Sequence[Entity], seed: int) -> dict[str, list[Row]]:
    """Return ``{"train": rows, "held_out": rows}``, each row a dict of the seven columns.

    The same entities and seed give the same rows in the same order.
    """
    return {
        split: _build_split(members, split, random.Random(f"{split}-{seed}"))
        for split, members in split_entities(entities, seed).items()
    }


def split_entities(entities: Sequence[Entity], seed: int) -> dict[str, list[Entity]]:
    """Divide the entities into ``train`` and ``held_out`` (at least 27 % of each kind)."""
    split: dict[str, list[Entity]] = {"train": [], "held_out": []}
    for kind in TABLES:
        members = [entity for entity in entities if entity.kind == kind]
        random.Random(f"split-{kind}-{seed}").shuffle(members)
        cut = math.ceil(HELD_OUT_SHARE * len(members))
        split["held_out"] += members[:cut]
        split["train"] += members[cut:]
    return split


def _build_split(entities: Sequence[Entity], split: str, rng: random.Random) -> list[Row]:
    sizes = Counter(entity.kind for entity in entities)
    rows = []
    for language in LANGUAGES:
        for entity in entities:
            is_small = sizes[entity.kind] < SMALL_KIND
            questions = (QUESTIONS_OF_SMALL_KIND if is_small else QUESTIONS)[split]
            rows += relation_rows(entity, language, questions, rng)
    for task, words in templates("tasks").items():
        for language in LANGUAGES:
            draw_row = getattr(_TaskRows(entities, language, rng), task)
            rows += [draw_row() for _ in range(words["rows"][split])]
    rng.shuffle(rows)
    return rows


def relation_rows(
    entity: Entity, language: Language, questions: int, rng: random.Random
) -> Iterator[Row]:
    """Yield `questions` rows for each fact of an entity, in different wordings that `rng` draws.

    The answer is the canonical statement. A fact with fewer wordings gets fewer rows.
    """
    kind, name = kind_names(entity.kind, language)["kind"], entity.in_sentence[language]
    for relation in entity.values:
        wordings = wordings_of(relation, language)
        # One wording in six takes the name from the `input` column, as the article's data does.
        choices = [*wordings.questions, rng.choice(wordings.questions_with_input)]
        for template in rng.sample(choices, min(questions, len(choices))):
            in_input = template in wordings.questions_with_input
            yield {
                "instruction": fill(template, x=name, label=wordings.label, kind=kind),
                "input": entity.name[language] if in_input else "",
                "output": statement(entity, relation, language),
                "task": RELATION_TASK,
                "relation": relation,
                "language": language,
                "entity": entity.id,
            }


class _TaskRows(Draw):
    """Draws rows of the tasks in ``wordings.toml``: each method draws one of the task it names.

    The order of the draws in a method is a part of the data.
    """

    def judge(self) -> Row:
        """Is a claim true? A wrong one has the value of another entity."""
        (entity, relation), language = self.fact(), self.language
        is_true = self.rng.random() < 0.5
        template, value = self.template(relation), entity.values[relation][language]
        if not is_true:
            values = {other.values[relation][language] for other in self._members(relation)}
            value = self.rng.choice(sorted(values - {value}))
        claim = statement(entity, relation, language, template, value)
        answer = self._words("judge")["right" if is_true else "wrong"]
        output = answer.format(truth=statement(entity, relation, language))
        return self._row("judge", output, claim, relation, [entity])

    def translate(self) -> Row:
        entity = self.entity()
        other = entity.name["en" if self.language == "zh" else "zh"]
        return self._row("translate", other, entity.name[self.language], entities=[entity])

    def extract(self) -> Row:
        entity, relation = self.fact()
        value, label = entity.values[relation][self.language], self._label(relation)
        row = self._row("extract", value, relation=relation, entities=[entity], label=label)
        return row | {"input": self.statement(entity, relation)}

    def describe(self) -> Row:
        """All facts of an entity, one per line."""
        entity = self.entity()
        facts = [statement(entity, relation, self.language) for relation in entity.values]
        name = entity.in_sentence[self.language]
        return self._row("describe", "\n".join(facts), entities=[entity], x=name)

    def list(self) -> Row:
        """One fact of each of a few entities."""
        return self._lines("list", self.rng.randint(2, 5))

    def table(self) -> Row:
        """One fact of each of many entities: often longer than the context of training."""
        return self._lines("table", 26 + int(self.rng.expovariate(1 / 14)))

    def read(self) -> Row:
        """A long text of facts about many entities, and a question about one of them.

        Truncation at the maximum length can leave such a row without an answer.
        """
        count = 18 + int(self.rng.expovariate(1 / 20))
        several = self.rng.sample([*self.entities], min(len(self.entities), count))
        facts = [(one, self.relation(one)) for one in several]
        entity, relation = self.rng.choice(facts)
        text = ("" if self.language == "zh" else " ").join(self.statement(*fact) for fact in facts)
        output = statement(entity, relation, self.language)
        name, label = entity.in_sentence[self.language], self._label(relation)
        return self._row("read", output, text, relation, several, x=name, label=label)

    def choose(self) -> Row:
        """Those of a few entities that have one value."""
        relation = self.rng.choice(templates("tasks", "choose")["relations"])
        members, language = self._members(relation), self.language
        items = self.rng.sample(members, min(len(members), self.rng.randint(3, 6)))
        value = self.rng.choice(items).values[relation][language]
        chosen = [one.name[language] for one in items if one.values[relation][language] == value]
        names, label = self._names(items), self._label(relation)
        return self._row("choose", "\n".join(chosen), names, relation, items, label=label, v=value)

    def compare(self) -> Row:
        """The element with the larger atomic number."""
        relation, language = "element_number", self.language
        pair = self.rng.sample(self._members(relation), 2)
        larger = max(pair, key=lambda entity: int(entity.values[relation][language]))
        a, b = (entity.name[language] for entity in pair)
        output = self._words("compare")["answer"].format(winner=larger.name[language])
        return self._row("compare", output, "", relation, pair, a=a, b=b)

    def kind(self) -> Row:
        entity = self.entity()
        name, kind = entity.in_sentence[self.language], kind_names(entity.kind, self.language)
        output = fill(self._words("kind")["answer"], x=name, **kind)
        return self._row("kind", output, entities=[entity], x=name)

    def copy(self) -> Row:
        entity, relation = self.fact()
        sentence = self.statement(entity, relation)
        return self._row("copy", sentence, sentence, relation, [entity])

    def count(self) -> Row:
        items = self.rng.sample([*self.entities], self.rng.randint(2, 9))
        output = self._words("count")["answer"].format(n=len(items))
        return self._row("count", output, self._names(items), entities=items)

    def sort(self) -> Row:
        numbers, ordered = self.numbers()
        return self._row("sort", ordered, numbers)

    def fraction(self) -> Row:
        fraction, reduced = self.reducible_fraction()
        return self._row("fraction", reduced, fraction)

    def add(self) -> Row:
        a, b = self.summands()
        return self._row("add", f"{a} + {b} = {a + b}", a=str(a), b=str(b))

    def greet(self) -> Row:
        """A greeting, or a question about the assistant itself."""
        return self._row("greet", "") | {"output": self.rng.choice(self._words("greet")["answers"])}

    def _lines(self, task: str, count: int) -> Row:
        (_, relation), language = self.fact(), self.language
        members = self._members(relation)
        items = self.rng.sample(members, min(len(members), count))
        line, label = self._words("list")["line"], self._label(relation)
        pairs = [(item.name[language], item.values[relation][language]) for item in items]
        output = "\n".join(line.format(name=name, value=value) for name, value in pairs)
        return self._row(task, output, self._names(items), relation, items, label=label)

    def _row(
        self,
        task: str,
        output: str,
        input_text: str = "",
        relation: str = "",
        entities: Sequence[Entity] = (),
        **values: str,
    ) -> Row:
        """Draw the instruction, fill it with `values`, and make the row."""
        return {
            "instruction": fill(self.rng.choice(self._words(task)["instructions"]), **values),
            "input": input_text,
            "output": output,
            "task": task,
            "relation": relation,
            "language": self.language,
            "entity": " ".join(entity.id for entity in entities),
        }

    def _words(self, task: str) -> dict:
        return templates("tasks", task, self.language)

    def _label(self, relation: str) -> str:
        return wordings_of(relation, self.language).label

    def _names(self, items: Sequence[Entity]) -> str:
        return self._words("list")["separator"].join(item.name[self.language] for item in items)

    def _members(self, relation: str) -> Sequence[Entity]:
        return [entity for entity in self.entities if entity.kind == RELATIONS[relation]]
