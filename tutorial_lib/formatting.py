"""The heart of the article: a row becomes a prompt and a response, and only the response carries loss."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TypedDict

import numpy as np
from transformers import PreTrainedTokenizerBase

from tutorial_lib.errors import NoSupervisedTokenError, RowError

IGNORE_INDEX = -100  # the ignore_index of torch.nn.functional.cross_entropy
MAX_LENGTH = 256  # tokens, the article's
RESPONSE_PREFIX = "\n\nAssistant: "


class EncodedExample(TypedDict):
    """Three equally long lists of ints, ready for a collator."""

    input_ids: list[int]
    attention_mask: list[int]
    labels: list[int]


def format_prompt(instruction: str, input: str = "") -> str:
    """Return the article's prompt: ``Human: {instruction}\\n{input}``, stripped, then a blank line and ``Assistant: ``.

    >>> format_prompt("Reduce this fraction.", "6/8")
    'Human: Reduce this fraction.\\n6/8\\n\\nAssistant: '
    """
    return f"Human: {instruction}\n{input}".strip() + RESPONSE_PREFIX


def encode_prompt(instruction: str, input: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids of the prompt alone, exactly as training sees them, so that generation can start from the same ids."""
    return encode_text(format_prompt(instruction, input), tokenizer)


def encode_text(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids of a text that somebody wrote: no special token is added, and none comes in.

    A special token's name in it (``</s>``, ``<pad>``) becomes the tokens of its characters. So nobody can end a prompt or forge an answer
    by typing one; the only end-of-sequence token of a row is the one that ``encode_example`` puts there. (The tokenizer alone would turn
    a typed ``</s>`` into the end token.)
    """
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def encode_texts(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Return ``encode_text`` of each text; all in one call, which a fast tokenizer divides among the processor's cores.

    A fast tokenizer is asked directly for its ids alone: where each token stood in the text, which nobody here needs, takes longer to write
    down than the tokens take to find (``tokenizers.Tokenizer.encode_batch_fast``).
    """
    if not texts:
        return []
    if not tokenizer.is_fast:
        return tokenizer(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
        )["input_ids"]
    # As the call above would set it up; the next call through transformers sets what that one needs.
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = True
    return [
        encoding.ids
        for encoding in backend.encode_batch_fast(list(texts), add_special_tokens=False)
    ]


def encode_example(
    example: Mapping[str, str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int = MAX_LENGTH,
    *,
    keep_end: bool = False,
    prompt: str | None = None,
) -> EncodedExample:
    """Turn one instruction row into model inputs whose prompt carries no loss.

    Prompt and response (the output and the end-of-sequence token) are tokenized apart, joined, and cut at `max_length`, as in the
    article. No other special token is added.

    Args:
        example: the columns ``instruction``, ``output`` and, optionally, ``input``; further columns are ignored.
        tokenizer: must have an ``eos_token``.
        max_length: the longest result, in tokens.
        keep_end: when the answer is cut, put the end-of-sequence token in the last place instead of cutting it off, so that the
            model still learns to stop (the article's recipe cuts it off).
        prompt: the prompt of another template, in place of the article's.

    Returns:
        Three equally long lists (at most `max_length` ints): ``input_ids``, ``attention_mask`` (all 1) and ``labels``, where every
        prompt position is -100, the ``ignore_index`` of ``torch.nn.functional.cross_entropy``, and every response position its id.

    Raises:
        RowError: the row lacks a column, a value is no text, or the output is empty; names the column.
        NoSupervisedTokenError: the prompt leaves no room for a single token of the answer.
    """
    instruction, input, output = check_example(example)
    prompt = format_prompt(instruction, input) if prompt is None else prompt
    prompt_ids = encode_text(prompt, tokenizer)
    response_ids = respond(
        prompt_ids,
        encode_text(output, tokenizer),
        tokenizer.eos_token_id,
        max_length,
        keep_end=keep_end,
    )
    return EncodedExample(
        input_ids=prompt_ids + response_ids,
        attention_mask=[1] * (len(prompt_ids) + len(response_ids)),
        labels=[IGNORE_INDEX] * len(prompt_ids) + response_ids,
    )


def check_example(example: Mapping[str, str]) -> tuple[str, str, str]:
    """Return instruction, input and output of a row.

    Raises:
        RowError: the row lacks a column, a value is no text, or the output is empty; names the column.
    """
    instruction, input, output = (
        _text(example, column) for column in ("instruction", "input", "output")
    )
    if not output:
        raise RowError(
            "column 'output' is empty: there is nothing to learn from this row; fill it or drop the row"
        )
    return instruction, input, output


def respond(
    prompt_ids: Sequence[int],
    output_ids: Sequence[int],
    end_id: int,
    max_length: int,
    *,
    keep_end: bool = False,
) -> list[int]:
    """Return the ids that follow the prompt's in a row of at most `max_length`: the output's and the end, cut as ``encode_example`` says.

    Raises:
        NoSupervisedTokenError: the prompt leaves no room for a single token of the answer.
    """
    response_ids = [*output_ids, end_id]
    room = max_length - len(prompt_ids)
    if room < (2 if keep_end else 1):
        raise NoSupervisedTokenError(
            f"the prompt takes {len(prompt_ids)} tokens and max_length is {max_length}: no token of the answer is left to learn; "
            f"shorten the row or raise max_length"
        )
    if len(response_ids) > room:
        response_ids = [*response_ids[: room - 1], end_id] if keep_end else response_ids[:room]
    return response_ids


def join_rows(
    prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return what ``encode_example`` returns of each row, all rows behind each other.

    A data set keeps a column of lists as one long array and the places where its rows begin. Made so at once, the columns cost little; a
    Python list for each row of each column would take as long as the tokenizer itself.

    Returns:
        Where each row begins, and the end of the last (int64, one longer than there are rows), and ``input_ids``, ``attention_mask``,
        ``labels`` (int64, as long as all rows together).
    """
    prompt_lengths, response_lengths = (
        np.fromiter(map(len, part), dtype=np.int64, count=len(part))
        for part in (prompts, responses)
    )
    begins = np.concatenate(([0], np.cumsum(prompt_lengths + response_lengths)))
    ids = chain.from_iterable(chain.from_iterable(zip(prompts, responses, strict=True)))
    input_ids = np.fromiter(ids, dtype=np.int64, count=begins[-1])
    of_prompt = np.repeat(
        np.tile([True, False], len(prompts)),
        np.stack([prompt_lengths, response_lengths], axis=1).ravel(),
    )
    labels = np.where(of_prompt, IGNORE_INDEX, input_ids)
    return begins, {
        "input_ids": input_ids,
        "attention_mask": np.ones_like(input_ids),
        "labels": labels,
    }


def _text(example: Mapping[str, str], column: str) -> str:
    value = example.get(column, "" if column == "input" else None)
    if not isinstance(value, str):
        found = "it is missing" if column not in example else f"found {type(value).__name__}"
        raise RowError(f"column {column!r} must be text: {found}; fill it or drop the row")
    if not is_encodable(value):
        raise RowError(
            f"column {column!r} holds half a character (a lone surrogate), which is no text; mend it or drop the row"
        )
    return value


def is_encodable(text: str) -> bool:
    """Tell whether a text can be written as UTF-8; a lone surrogate, half of a character cut in two, can't."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
