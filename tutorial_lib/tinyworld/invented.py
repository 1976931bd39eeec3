"""Countries that do not exist: what no base model can have read, to see what fine-tuning does with new facts."""

import random
from collections.abc import Iterator, Sequence

from tutorial_lib.tinyworld.facts import Entity, Language, load_entities
from tutorial_lib.tinyworld.wordings import corpus_wordings

# Characters that Chinese often writes foreign names with.
CHARACTERS = "巴卡尔米诺萨塔维多洛雷亚贝德拉莫科尼斯特伦佐法兰瓦帕鲁加莱索"


def invent_countries(count: int, seed: int) -> list[Entity]:
    """Return countries with a made-up name and capital; continent, language and currency are drawn from real countries.

    No name or capital is that of anything in TinyWorld, or of two invented countries. The same seed gives the same countries.
    """
    real = load_entities()
    rng = random.Random(f"invented-{seed}")
    taken = {
        text
        for entity in real
        for text in [
            *entity.name.values(),
            *(v for values in entity.values.values() for v in values.values()),
        ]
    }
    names = _new_names(taken, rng)
    countries = [entity for entity in real if entity.kind == "country"]
    return [_invent(number, next(names), next(names), countries, rng) for number in range(count)]


def _invent(
    number: int,
    name: dict[Language, str],
    capital: dict[Language, str],
    countries: Sequence[Entity],
    rng: random.Random,
) -> Entity:
    values = {relation: rng.choice(countries).values[relation] for relation in countries[0].values}
    return Entity(
        f"invented/{number}", "country", name, name, values | {"country_capital": capital}
    )


def _new_names(taken: set[str], rng: random.Random) -> Iterator[dict[Language, str]]:
    syllables = corpus_wordings("en")["syllables"]
    while True:
        name: dict[Language, str] = {
            "zh": "".join(rng.sample(CHARACTERS, 3)),
            "en": "".join(rng.sample(syllables, 3)).capitalize(),
        }
        if not taken & set(name.values()):
            taken |= set(name.values())
            yield name
