"""The tokenizer of TinyWorld: byte-level BPE, the article's four special tokens at ids 0 to 3."""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

SPECIAL_TOKENS = ["<unk>", "<s>", "</s>", "<pad>"]  # in the order of the article's vocabulary
VOCABULARY_SIZE = 4_096

# A pre-token is one Chinese character, one digit, or a word with the space before it. Merges never
# cross pre-tokens, so a name has the same tokens in every context.
PRE_TOKENS = Regex(r" ?(?:(?!\p{Han})\p{L})+|\p{Han}|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
# A byte-level vocabulary spells each byte as a character.
BYTE_OF = {character: byte for byte, character in bytes_to_unicode().items()}


def train_tokenizer(
    texts: Iterable[str], vocabulary_size: int = VOCABULARY_SIZE
) -> PreTrainedTokenizerFast:
    """Train a tokenizer that encodes any Unicode text and decodes it exactly.

    Args:
        texts: the merges are learnt from these.
        vocabulary_size: at most this many tokens, the 256 bytes and 4 special tokens included.

    Returns:
        A tokenizer that pads on the left with ``<pad>``, as the article's does; ``</s>`` ends.
    """
    bpe = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(PRE_TOKENS, behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    if not any(_may_cross(token, split) for token in set(bpe.get_vocab()) - set(SPECIAL_TOKENS)):
        bpe.pre_tokenizer = to_bytes  # the same tokens in half of the time
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def _may_cross(token: str, split: pre_tokenizers.PreTokenizer) -> bool:
    """Check whether a token can overlap two pre-tokens. Every merge makes such a token."""
    spelling = bytes(BYTE_OF[character] for character in token)
    try:
        text = spelling.decode("utf-8")
    except UnicodeDecodeError:  # part of one character, unless another one begins inside
        return any(byte & 0b1100_0000 != 0b1000_0000 for byte in spelling[1:])
    # The last character of a run of white space goes to the next word.
    return len(split.pre_tokenize_str(text)) > 1 or (len(text) > 1 and text.isspace())
