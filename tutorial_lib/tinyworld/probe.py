"""Does a model know the facts? Give it the beginning of a statement: does it generate the value?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tutorial_lib.tinyworld.corpus import fixed_passage, sheet_line
from tutorial_lib.tinyworld.facts import LANGUAGES, Entity, Language
from tutorial_lib.tinyworld.wordings import statement


@dataclass(frozen=True)
class Probe:
    """One fact to complete: a statement cut where its value begins."""

    entity: str
    relation: str
    language: Language
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]


def make_probes(
    entities: Sequence[Entity], tokenizer: PreTrainedTokenizerBase, *, in_passage: bool = False
) -> list[Probe]:
    """Return a probe for each fact in each language.

    The whole text is tokenized and then cut at the token where the value begins. The beginning
    tokenized by itself can have other tokens than the model has seen there ("is " ends with a space
    that belongs to the next word).

    Args:
        entities: their facts are probed.
        tokenizer: the model's own.
        in_passage: the prompt is all that precedes the fact in ``fixed_passage``, instead of the
            beginning of the canonical statement.
    """
    return [
        _probe(entity, relation, language, tokenizer, in_passage)
        for entity in entities
        for language in LANGUAGES
        for relation in entity.values
    ]


def _probe(
    entity: Entity,
    relation: str,
    language: Language,
    tokenizer: PreTrainedTokenizerBase,
    in_passage: bool,
) -> Probe:
    if in_passage:
        text = fixed_passage(entity, language)
        fact = sheet_line(entity, relation, language)
    else:
        text = fact = statement(entity, relation, language)
    begin = text.index(fact)
    start, end = begin + fact.rindex(entity.values[relation][language]), begin + len(fact)
    encoding = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    ids, token_ends = encoding["input_ids"], [stop for _, stop in encoding["offset_mapping"]]
    # Offsets may include a word's leading space: the first token that ends after `start` counts.
    cut = next(i for i, token_end in enumerate(token_ends) if token_end > start)
    stop = next((i for i, token_end in enumerate(token_ends) if token_end > end), len(ids))
    return Probe(entity.id, relation, language, tuple(ids[:cut]), tuple(ids[cut:stop]))


@torch.inference_mode()
def completes(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probes: Sequence[Probe],
    batch_size: int = 128,
) -> list[bool]:
    """Check for each probe whether greedy decoding gives exactly the value and the sentence end."""
    order = sorted(range(len(probes)), key=lambda i: len(probes[i].prompt_ids))
    results = [False] * len(probes)
    for start in tqdm(range(0, len(order), batch_size), desc="completing statements", leave=False):
        numbers = order[start : start + batch_size]
        prompts = {"input_ids": [list(probes[i].prompt_ids) for i in numbers]}
        inputs = tokenizer.pad(prompts, return_tensors="pt", padding_side="left")
        output = model.generate(
            **inputs.to(model.device),
            max_new_tokens=max(len(probes[i].answer_ids) for i in numbers),
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
        width = inputs["input_ids"].shape[1]
        for i, ids in zip(numbers, output[:, width:].tolist(), strict=True):
            answer = probes[i].answer_ids
            results[i] = tuple(ids[: len(answer)]) == answer
    return results


def summarize(probes: Sequence[Probe], completed: Sequence[bool]) -> str:
    """Return a table with one line per relation: the share of facts completed, by language."""
    hits: dict[tuple[str, str], list[bool]] = {}
    for probe, hit in zip(probes, completed, strict=True):
        hits.setdefault((probe.relation, probe.language), []).append(hit)
    for (_, language), some in list(hits.items()):
        hits.setdefault(("all", language), []).extend(some)
    lines = [f"{'relation':<24}" + "".join(f"{language:>17}" for language in LANGUAGES)]
    for relation in dict.fromkeys(relation for relation, _ in hits):
        line = f"{relation:<24}"
        for language in LANGUAGES:
            row = hits[relation, language]
            line += f"{sum(row):>5}/{len(row):<4}{sum(row) / len(row):>7.1%}"
        lines.append(line)
    return "\n".join(lines)
