"""The heart of the article: a row becomes prompt and response; only the response carries loss."""

from collections.abc import Mapping
from typing import TypedDict

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
    """Return the article's prompt: ``Human: {instruction}\\n{input}``, stripped, and the prefix.

    >>> format_prompt("Reduce this fraction.", "6/8")
    'Human: Reduce this fraction.\\n6/8\\n\\nAssistant: '
    """
    return f"Human: {instruction}\n{input}".strip() + RESPONSE_PREFIX


def encode_prompt(instruction: str, input: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids of the prompt alone, from which generation starts; the same as in training."""
    return encode_text(format_prompt(instruction, input), tokenizer)


def encode_text(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids of a text, without any special token.

    A special token's name in the text (``</s>``, ``<pad>``) becomes the tokens of its characters.
    So nobody can end a prompt or forge an answer by typing one; the only end-of-sequence token of
    an example is the one that ``encode_example`` adds. (The tokenizer's default would turn a typed
    ``</s>`` into the end token.)
    """
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def encode_example(
    example: Mapping[str, str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int = MAX_LENGTH,
    *,
    keep_end: bool = False,
    prompt: str | None = None,
) -> EncodedExample:
    """Turn one instruction row into model inputs whose prompt carries no loss.

    Prompt and response (the output and the end-of-sequence token) are tokenized apart, joined, and
    cut at `max_length` tokens, as in the article. No other special token is added.

    Args:
        example: the columns ``instruction``, ``output`` and, optionally, ``input``; further
            columns are ignored.
        tokenizer: must have an ``eos_token``.
        keep_end: if the answer is cut, make the last token the end-of-sequence token, so that the
            model still learns to stop (the article's recipe cuts it off).
        prompt: the prompt of another template, instead of the article's.

    Returns:
        Three equally long lists (at most `max_length` ints): ``input_ids``, ``attention_mask``
        (all 1) and ``labels``, where every prompt position is -100, the ``ignore_index`` of
        ``torch.nn.functional.cross_entropy``, and every response position its id.

    Raises:
        RowError: the row lacks a column, a value is not text, or the output is empty; names the
            column.
        NoSupervisedTokenError: the prompt leaves no room for a single token of the answer.
    """
    instruction, input, output = (
        _text(example, column) for column in ("instruction", "input", "output")
    )
    if not output:
        raise RowError(
            "column 'output' is empty: this row has no target to learn; fill it or drop the row"
        )
    if prompt is None:
        prompt = format_prompt(instruction, input)
    prompt_ids = encode_text(prompt, tokenizer)
    response_ids = [*encode_text(output, tokenizer), tokenizer.eos_token_id]
    room = max_length - len(prompt_ids)
    if room < (2 if keep_end else 1):
        raise NoSupervisedTokenError(
            f"the prompt takes {len(prompt_ids)} tokens and max_length is {max_length}: no token "
            f"of the answer is left to learn; shorten the row or raise max_length"
        )
    if len(response_ids) > room:
        response_ids = response_ids[:room]
        if keep_end:
            response_ids[-1] = tokenizer.eos_token_id
    return EncodedExample(
        input_ids=prompt_ids + response_ids,
        attention_mask=[1] * (len(prompt_ids) + len(response_ids)),
        labels=[IGNORE_INDEX] * len(prompt_ids) + response_ids,
    )


def is_encodable(text: str) -> bool:
    """Tell whether UTF-8 can encode `text`: not a lone surrogate (half a character cut in two)."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _text(example: Mapping[str, str], column: str) -> str:
    value = example.get(column, "" if column == "input" else None)
    if not isinstance(value, str):
        problem = "it is missing" if column not in example else f"found {type(value).__name__}"
        raise RowError(f"column {column!r} must be text: {problem}; fill it or drop the row")
    if not is_encodable(value):
        problem = "half a character (a lone surrogate), which is not text"
        raise RowError(f"column {column!r} holds {problem}; fix it or drop the row")
    return value
