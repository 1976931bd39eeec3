"""Does a model know the facts? Give it the beginning of a statement and see whether it goes on with the value."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tutorial_lib.tinyworld.corpus import passage_said_once, sheet_line
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

    The whole text is tokenized and then cut at the token where the value begins. Tokenizing the beginning by itself can give other
    tokens than the model has ever seen there ("is " ends in a space that belongs to the next word).

    Args:
        entities: whose facts.
        tokenizer: of the model that is asked.
        in_passage: begin with everything that stands before the fact in the passage of a corpus "said once" (``passage_said_once``),
            instead of with a statement of the fact in its canonical wording.
    """
    probes = []
    for entity in entities:
        for language in LANGUAGES:
            passage = passage_said_once(entity, language)
            for relation, values in entity.values.items():
                said = (
                    sheet_line(entity, relation, language)
                    if in_passage
                    else statement(entity, relation, language)
                )
                text, begin = (passage, passage.index(said)) if in_passage else (said, 0)
                start, end = begin + said.rindex(values[language]), begin + len(said)
                encoding = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
                # Offsets may count a word's leading space: the value begins in the first token that reaches beyond `start`.
                offsets = encoding["offset_mapping"]
                cut = next(i for i, (_, token_end) in enumerate(offsets) if token_end > start)
                stop = next(
                    (i for i, (_, token_end) in enumerate(offsets) if token_end > end), len(offsets)
                )
                ids = encoding["input_ids"]
                probes.append(
                    Probe(entity.id, relation, language, tuple(ids[:cut]), tuple(ids[cut:stop]))
                )
    return probes


@torch.inference_mode()
def completes(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probes: Sequence[Probe],
    batch_size: int = 128,
) -> list[bool]:
    """Tell for each probe whether greedy decoding goes on with exactly the value and the sentence's end."""
    order = sorted(range(len(probes)), key=lambda i: len(probes[i].prompt_ids))
    results = [False] * len(probes)
    for start in tqdm(range(0, len(order), batch_size), desc="completing statements", leave=False):
        batch = [probes[i] for i in order[start : start + batch_size]]
        inputs = tokenizer.pad(
            {"input_ids": [list(p.prompt_ids) for p in batch]},
            return_tensors="pt",
            padding_side="left",
        )
        new_tokens = max(len(p.answer_ids) for p in batch)
        output = model.generate(
            **inputs.to(model.device),
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
        width = inputs["input_ids"].shape[1]
        for i, probe, ids in zip(order[start:], batch, output[:, width:].tolist(), strict=False):
            results[i] = tuple(ids[: len(probe.answer_ids)]) == probe.answer_ids
    return results


def summarize(probes: Sequence[Probe], completed: Sequence[bool]) -> str:
    """Return a table, a line a relation: the share of facts completed in each language."""
    lines = [f"{'relation':<24}" + "".join(f"{language:>16}" for language in LANGUAGES)]
    for relation in [*dict.fromkeys(probe.relation for probe in probes), "all"]:
        cells = []
        for language in LANGUAGES:
            hits = [
                hit
                for probe, hit in zip(probes, completed, strict=True)
                if probe.language == language and relation in (probe.relation, "all")
            ]
            cells.append(f"{sum(hits):>5}/{len(hits):<4}{sum(hits) / len(hits):>7.1%}")
        lines.append(f"{relation:<24}" + "".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)
