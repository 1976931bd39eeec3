"""Ask a model questions through transformers' text-generation pipeline, many at a time."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from tqdm.auto import tqdm
from transformers import (
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TemperatureLogitsWarper,
    TextGenerationPipeline,
    TopKLogitsWarper,
    TopPLogitsWarper,
    pipeline,
)

from tutorial_lib.formatting import encode_text, format_prompt

MAX_BATCH_ROWS, MAX_BATCH_TOKENS = 256, 16_384


@dataclass(frozen=True)
class Answer:
    """A generated answer.

    Attributes:
        text: without the prompt and without special tokens, not stripped.
        stopped: whether the model ended it with the end-of-sequence token, within the limit.
    """

    text: str
    stopped: bool


def build_pipeline(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> TextGenerationPipeline:
    """Return ``pipeline("text-generation")`` on the model's own device.

    It gets a copy of the tokenizer, since it sets ``padding_side`` in place. Special tokens that
    somebody typed into a question are ordinary text, as for ``formatting.encode_text``.
    """
    own = copy.deepcopy(tokenizer)
    own.split_special_tokens = True
    return pipeline("text-generation", model=model, tokenizer=own, device=model.device)


def answer(
    questions: Sequence[str | Mapping[str, str]],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_new_tokens: int = 64,
    batch_size: int | None = None,
    progress: bool = True,
    **generate_options: object,
) -> list[Answer]:
    """Answer each question, in their order, with the prompt that training used.

    Args:
        questions: texts, or rows with ``instruction`` and, optionally, ``input``.
        model: a causal language model; in evaluation mode during the call.
        tokenizer: the model's.
        max_new_tokens: the longest answer, without the prompt.
        batch_size: questions per forward pass, sorted by length to save padding; None: up to
            256 with at most 16,384 tokens of prompts and answers (for a model of 0.8 B, 5 GB
            of float32 keys and values).
        progress: show a progress bar.
        **generate_options: for ``model.generate``; greedy unless ``do_sample=True`` is given.
    """
    rows = [{"instruction": q} if isinstance(q, str) else q for q in questions]
    prompts = [format_prompt(row["instruction"], row.get("input") or "") for row in rows]
    lengths = [len(encode_text(prompt, tokenizer)) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lengths.__getitem__)
    options = {"do_sample": False, "pad_token_id": tokenizer.pad_token_id, **generate_options}
    answers: dict[int, Answer] = {}
    was_training = model.training
    model.eval()
    try:
        pipe = build_pipeline(model, tokenizer)
        chunks = _chunks(order, [lengths[i] + max_new_tokens for i in order], batch_size)
        for chunk in tqdm(chunks, desc="answering", leave=False, disable=not progress):
            with torch.inference_mode():
                outputs = pipe(
                    [prompts[i] for i in chunk],
                    batch_size=len(chunk),
                    add_special_tokens=False,
                    max_new_tokens=max_new_tokens,
                    return_tensors=True,  # only ids tell the end token from its name as text
                    **options,
                )
            prompt_width = max(lengths[i] for i in chunk)  # shorter prompts are padded to it
            for i, output in zip(chunk, outputs, strict=True):
                generated = output[0]["generated_token_ids"][prompt_width:]
                answers[i] = _decode(list(generated), tokenizer)
    finally:
        model.train(was_training)
    return [answers[i] for i in range(len(prompts))]


def _chunks(order: Sequence[int], tokens: Sequence[int], size: int | None) -> list[list[int]]:
    """Split `order` into chunks of `size`, or of what fits; `tokens` of each, ascending."""
    chunks: list[list[int]] = []
    for i, width in zip(order, tokens, strict=True):
        rows = len(chunks[-1]) + 1 if chunks else 1
        too_large = rows > MAX_BATCH_ROWS or rows * width > MAX_BATCH_TOKENS
        if rows == 1 or (rows > size if size else too_large):
            chunks.append([])
        chunks[-1].append(i)
    return chunks


@torch.inference_mode()
def next_token_probabilities(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> torch.Tensor:
    """Return the probability of each token to come next: float32, shape (vocabulary size,).

    transformers' own processors change it, in the order in which ``generate`` applies them.

    Args:
        model: a causal language model, in evaluation mode.
        tokenizer: adds no special token to the prompt.
        prompt: at least one token.
        temperature: above 0; below 1 sharpens, above 1 flattens.
        top_k: keep only the k most likely tokens; 0 keeps all.
        top_p: keep the most likely tokens that together have at least this probability (0 to 1).
    """
    inputs = tokenizer(
        prompt, add_special_tokens=False, split_special_tokens=True, return_tensors="pt"
    ).to(model.device)
    scores = model(**inputs).logits[:, -1].float()
    processors = LogitsProcessorList([TemperatureLogitsWarper(float(temperature))])
    if top_k:
        processors.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        processors.append(TopPLogitsWarper(top_p))
    return processors(inputs["input_ids"], scores).softmax(-1)[0]


def _decode(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> Answer:
    stopped = tokenizer.eos_token_id in ids
    if stopped:
        ids = ids[: ids.index(tokenizer.eos_token_id)]
    return Answer(tokenizer.decode(ids, skip_special_tokens=True), stopped)
