"""Ask a model questions through transformers' own text-generation pipeline, many at a time."""

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

MOST_ROWS, MOST_TOKENS = 256, 16_384  # of a batch of questions


@dataclass(frozen=True)
class Answer:
    """What a model said.

    Attributes:
        text: the answer without the prompt and without special tokens, not stripped.
        stopped: whether the model ended it itself with the end-of-sequence token, within the limit.
    """

    text: str
    stopped: bool


def build_pipeline(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> TextGenerationPipeline:
    """Return ``pipeline("text-generation")`` on the model's own device, with a tokenizer of its own.

    The pipeline sets ``padding_side`` in place; a copy keeps the caller's tokenizer as it was. Special tokens that somebody typed into a
    question are read as ordinary text, as ``formatting.encode_text`` does.
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
    """Answer each question with the prompt that training used.

    Args:
        questions: texts, or rows with ``instruction`` and, optionally, ``input``.
        model: a causal language model; it is put in evaluation mode for the time of the call.
        tokenizer: its tokenizer.
        max_new_tokens: the longest answer, in tokens; the prompt does not count.
        batch_size: questions a forward pass, sorted by length, so that little of a batch is padding; None: up to 256, with together at
            most 16,384 tokens, prompts and answers (of which a model of 0.8 B remembers keys and values in 5 GB of float32).
        progress: show a progress bar.
        **generate_options: for ``model.generate``; greedy decoding unless ``do_sample=True`` is among them.

    Returns:
        One Answer a question, in the order of `questions`.
    """
    rows = [
        {"instruction": question} if isinstance(question, str) else question
        for question in questions
    ]
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
                    return_tensors=True,  # the ids: only they tell the end token from the same characters as text
                    **options,
                )
            prompt_width = max(lengths[i] for i in chunk)  # shorter prompts are filled up to it
            for i, output in zip(chunk, outputs, strict=True):
                answers[i] = _read(output[0]["generated_token_ids"][prompt_width:], tokenizer)
    finally:
        model.train(was_training)
    return [answers[i] for i in range(len(prompts))]


def _chunks(order: Sequence[int], tokens: Sequence[int], size: int | None) -> list[list[int]]:
    """Split `order` into chunks of `size`, or else of what fits; `tokens` of each, ascending."""
    chunks: list[list[int]] = [[]]
    for i, width in zip(order, tokens, strict=True):
        rows = len(chunks[-1]) + 1
        if chunks[-1] and (rows > size if size else rows > MOST_ROWS or rows * width > MOST_TOKENS):
            chunks.append([])
        chunks[-1].append(i)
    return chunks if order else []


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
    """Return the probability of each token of the vocabulary to be drawn next.

    Changed by transformers' own processors in the order in which ``generate`` applies them: temperature, top-k, top-p.

    Args:
        model: a causal language model, in evaluation mode.
        tokenizer: its tokenizer; no special token is added to the prompt.
        prompt: what has been said so far; at least one token.
        temperature: above 0; below 1 sharpens, above 1 flattens.
        top_k: keep only the so many likeliest tokens; 0 keeps all.
        top_p: keep the likeliest tokens that together have at least this probability (0 to 1); 1 keeps all.

    Returns:
        float32, shape (vocabulary size,); sums to 1.
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


def _read(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> Answer:
    ids = list(ids)
    stopped = tokenizer.eos_token_id in ids
    said = ids[: ids.index(tokenizer.eos_token_id)] if stopped else ids
    return Answer(tokenizer.decode(said, skip_special_tokens=True), stopped)
