"""The text that the base model is pre-trained on: statements of facts, never a question.

A fact appears in many wordings, in shuffled order, among facts of its own entity and of others. The
variety matters: fine-tuning can't make a model answer from a fact that it has always read in one
wording and one order (Allen-Zhu and Li, "Physics of Language Models, Part 3.1", arXiv 2309.14316).
Lists that repeat their names, some of them made up, teach to copy a name from the context, which
every answer needs as well.
"""

import random
from collections.abc import Sequence
from typing import Literal

from tutorial_lib.tinyworld.draw import Draw
from tutorial_lib.tinyworld.facts import LANGUAGES, Entity, Language
from tutorial_lib.tinyworld.wordings import fill, kind_names, templates, wordings_of

PASSAGES_PER_ENTITY = 80  # in each language
# Passages without a fact, in each language, per passage with facts; a method of _Passages each.
SHARES = {"list": 0.12, "arithmetic": 0.08, "talk": 0.04}
NEWLINE_SHARE = 0.2  # of the passages have one sentence per line
MADE_UP_SHARE = 0.3  # of the names in lists

Variety = Literal["many", "one"]  # how many wordings a fact has


def build_corpus(
    entities: Sequence[Entity],
    seed: int,
    passages_per_entity: int = PASSAGES_PER_ENTITY,
    wordings: Variety = "many",
) -> list[dict[str, str]]:
    """Return the pre-training passages in shuffled order.

    Args:
        entities: all appear, those of the held-out split too: the base model shall know every fact.
        seed: fixes every choice of wording and order.
        passages_per_entity: in each language.
        wordings: ``"one"`` is for an experiment: all passages about an entity are the same text
            (``fixed_passage``). Passages without a fact vary as before.

    Returns:
        Dicts with ``text``, ``language`` ("zh" or "en") and ``entity`` (the id of the one entity
        that the text is about, else "").
    """
    rng = random.Random(f"corpus-{seed}")
    passages = []  # (text, language, entity)
    for language in LANGUAGES:
        draw = _Passages(entities, language, rng)
        for entity in entities:
            for _ in range(passages_per_entity):
                if wordings == "one":
                    text, about = fixed_passage(entity, language), entity.id
                else:
                    text, about = draw.about(entity)
                passages.append((text, language, about))
        count = len(entities) * passages_per_entity
        for kind, share in SHARES.items():
            draw_text = getattr(draw, kind)
            passages += [(draw_text(), language, "") for _ in range(int(count * share))]
    rng.shuffle(passages)
    return [dict(zip(("text", "language", "entity"), row, strict=True)) for row in passages]


def fixed_passage(entity: Entity, language: Language) -> str:
    """Return the one text about an entity of a corpus built with ``wordings="one"``.

    As in the biographies of Allen-Zhu and Li, the name comes once, at the beginning; the facts
    follow in a fixed order, one per line.
    """
    heading = templates("corpus", language)["sheet_headings"][0]
    lines = [sheet_line(entity, relation, language) for relation in entity.values]
    return "\n".join([fill(heading, x=entity.in_sentence[language]), *lines])


def sheet_line(entity: Entity, relation: str, language: Language) -> str:
    """Return one fact as a line of a fact sheet, without the entity's name."""
    label = wordings_of(relation, language).label
    value = entity.values[relation][language]
    return templates("corpus", language)["sheet_line"].format(label=label, v=value)


class _Passages(Draw):
    """Draws passages. The order of the draws in a method is a part of the data."""

    def about(self, entity: Entity) -> tuple[str, str]:
        """Return a text and the id of the one entity that it is about, or "" for several."""
        kinds = [self._plain, self._sheet, self._twice, self._mixed]
        [write] = self.rng.choices(kinds, weights=[4, 2, 2, 2])
        return write(entity), "" if write == self._mixed else entity.id

    def list(self) -> str:
        """Names, repeated, and their number."""
        names = [
            self._made_up_name() if self.rng.random() < MADE_UP_SHARE else self._name()
            for _ in range(self.rng.randint(1, 6))
        ]
        words = templates("corpus", self.language)
        joined = words["separator"].join(names)
        return self.rng.choice(words["lists"]).format(names=joined, n=len(names))

    def arithmetic(self) -> str:
        """Sorted numbers, a fraction in lowest terms, or a sum."""
        words, kind = templates("corpus", self.language), self.rng.randrange(3)
        if kind == 0:
            numbers, ordered = self.numbers()
            return words["sorted"].format(numbers=numbers, ordered=ordered)
        if kind == 1:
            return words["fraction"].format(fraction=" = ".join(self.reducible_fraction()))
        a, b = self.summands()
        return words["sum"].format(sum=f"{a} + {b} = {a + b}")

    def talk(self) -> str:
        """Statements about asking and answering."""
        statements = templates("talk", self.language)["statements"]
        return self._join(self.rng.sample(statements, self.rng.randint(2, 4)))

    def _plain(self, entity: Entity) -> str:
        """Every fact of one entity once, in shuffled order, and its kind or its other name."""
        sentences = [self.statement(entity, relation) for relation in entity.values]
        shared, name = templates("shared", self.language), entity.in_sentence[self.language]
        if self.rng.random() < 0.3:
            kind = kind_names(entity.kind, self.language)
            extra = fill(self.rng.choice(shared["kinds"]), x=name, **kind)
        else:
            extra = fill(self.rng.choice(shared["names"]), **entity.name)
        return self._join([*sentences, extra])

    def _sheet(self, entity: Entity) -> str:
        """A heading with the entity's name, then one fact per line."""
        lines = [sheet_line(entity, relation, self.language) for relation in entity.values]
        self.rng.shuffle(lines)
        heading = self.rng.choice(templates("corpus", self.language)["sheet_headings"])
        return "\n".join([fill(heading, x=entity.in_sentence[self.language]), *lines])

    def _twice(self, entity: Entity) -> str:
        """Each fact of one entity in two wordings, and a sentence about something else."""
        facts = [self.statement(entity, relation) for relation in entity.values for _ in range(2)]
        talk = self.rng.choice(templates("talk", self.language)["statements"])
        return self._join([*facts, talk])

    def _mixed(self, entity: Entity) -> str:
        """One fact of each of several entities: the text before a fact says nothing about it."""
        several = [entity, *self.rng.sample(self.entities, self.rng.randint(2, 5))]
        return self._join([self.statement(one, self.relation(one)) for one in several])

    def _name(self) -> str:
        return self.entity().name[self.language]

    def _made_up_name(self) -> str:
        rng = self.rng
        if self.language == "zh":
            return "".join(rng.choice(self._name()) for _ in range(rng.randint(2, 4)))
        syllables = templates("corpus", "en")["syllables"]
        return "".join(rng.choice(syllables) for _ in range(rng.randint(2, 3))).capitalize()

    def _join(self, sentences: Sequence[str]) -> str:
        """Join sentences in random order: one per line, or with spaces in English only."""
        shuffled = self.rng.sample(sentences, len(sentences))
        if self.rng.random() < NEWLINE_SHARE:
            return "\n".join(shuffled)
        return ("" if self.language == "zh" else " ").join(shuffled)
