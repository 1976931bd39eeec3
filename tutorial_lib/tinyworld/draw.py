"""Random choices that the corpus and the instruction rows share: a fact, its wording, numbers."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from tutorial_lib.tinyworld.facts import Entity, Language
from tutorial_lib.tinyworld.wordings import statement, wordings_of


@dataclass(frozen=True)
class Draw:
    """Draws from these entities in one language. The order of calls decides what each one gives."""

    entities: Sequence[Entity]
    language: Language
    rng: random.Random

    def entity(self) -> Entity:
        """Draw an entity."""
        return self.rng.choice(self.entities)

    def relation(self, entity: Entity) -> str:
        """Draw a relation of this entity."""
        return self.rng.choice(list(entity.values))

    def fact(self) -> tuple[Entity, str]:
        """Draw an entity and one of its relations."""
        entity = self.entity()
        return entity, self.relation(entity)

    def template(self, relation: str) -> str:
        """Draw the wording of a statement."""
        return self.rng.choice(wordings_of(relation, self.language).statements)

    def statement(self, entity: Entity, relation: str) -> str:
        """State a fact in a wording that is drawn."""
        return statement(entity, relation, self.language, self.template(relation))

    def numbers(self) -> tuple[str, str]:
        """Draw three to six numbers up to 99; return them as drawn and sorted: ``"97, 3, 40"``."""
        numbers = self.rng.sample(range(1, 100), self.rng.randint(3, 6))
        return ", ".join(map(str, numbers)), ", ".join(map(str, sorted(numbers)))

    def reducible_fraction(self) -> tuple[str, str]:
        """Draw a fraction that can be reduced; return it and its lowest terms: ``"2/4", "1/2"``."""
        numerator, denominator = self.rng.sample(range(1, 10), 2)
        factor, divisor = self.rng.randint(2, 9), math.gcd(numerator, denominator)
        reduced = f"{numerator // divisor}/{denominator // divisor}"
        return f"{numerator * factor}/{denominator * factor}", reduced

    def summands(self) -> tuple[int, int]:
        """Draw two numbers from 0 to 20."""
        return self.rng.randint(0, 20), self.rng.randint(0, 20)
