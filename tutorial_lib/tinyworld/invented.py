"""Countries that do not exist: no base model can know them, so fine-tuning teaches new facts."""

import random
from collections.abc import Iterator

from tutorial_lib.tinyworld.facts import Entity, Language, load_entities
from tutorial_lib.tinyworld.wordings import templates

# Characters that Chinese often writes foreign names with.
CHARACTERS = "巴卡尔米诺萨塔维多洛雷亚贝德拉莫科尼斯特伦佐法兰瓦帕鲁加莱索"


def invent_countries(count: int, seed: int) -> list[Entity]:
    """Return countries with a made-up name and capital; other values are those of real countries.

    No name or capital is in TinyWorld or appears twice. The same seed gives the same countries.
    """
    real = load_entities()
    rng = random.Random(f"invented-{seed}")
    taken = {name for entity in real for name in entity.name.values()}
    taken |= {text for entity in real for both in entity.values.values() for text in both.values()}
    names = _new_names(taken, rng)
    countries = [entity for entity in real if entity.kind == "country"]
    invented = []
    for number in range(count):
        name, capital = next(names), next(names)
        values = {
            relation: rng.choice(countries).values[relation] for relation in countries[0].values
        }
        values["country_capital"] = capital
        invented.append(Entity(f"invented/{number}", "country", name, name, values))
    return invented


def _new_names(taken: set[str], rng: random.Random) -> Iterator[dict[Language, str]]:
    syllables = templates("corpus", "en")["syllables"]
    while True:
        name: dict[Language, str] = {
            "zh": "".join(rng.sample(CHARACTERS, 3)),
            "en": "".join(rng.sample(syllables, 3)).capitalize(),
        }
        if not taken & set(name.values()):
            taken |= set(name.values())
            yield name
