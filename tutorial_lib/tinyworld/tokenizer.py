"""The tokenizer of TinyWorld: byte-level BPE with the article's four special tokens at ids 0 to 3."""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

SPECIAL_TOKENS = ["<unk>", "<s>", "</s>", "<pad>"]  # ids 0, 1, 2, 3, as in the article's vocabulary
VOCABULARY_SIZE = 4_096

# One Chinese character is one piece, one digit is one piece, and a word keeps the space before it. Merges never cross pieces, so a name
# is cut the same way wherever it stands.
PIECES = Regex(r" ?(?:(?!\p{Han})\p{L})+|\p{Han}|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")

BYTE_OF = {
    character: byte for byte, character in bytes_to_unicode().items()
}  # how a byte-level vocabulary spells its bytes


def train_tokenizer(
    texts: Iterable[str], vocabulary_size: int = VOCABULARY_SIZE
) -> PreTrainedTokenizerFast:
    """Train a tokenizer that encodes any Unicode text and gives it back exactly.

    Args:
        texts: what to learn the merges from.
        vocabulary_size: at most this many tokens, the 256 bytes and 4 special tokens included.

    Returns:
        A tokenizer with ``padding_side="left"``, as the article's is; ``<pad>`` pads and ``</s>`` ends.
    """
    bpe = Tokenizer(models.BPE())
    pieces, to_bytes = (
        pre_tokenizers.Split(PIECES, behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    )
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pieces, to_bytes])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    if not any(_may_cross(token, pieces) for token in set(bpe.get_vocab()) - set(SPECIAL_TOKENS)):
        bpe.pre_tokenizer = to_bytes  # to look for pieces would change no token any more, and takes as long as the merges
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def _may_cross(token: str, pieces: pre_tokenizers.PreTokenizer) -> bool:
    """Tell whether a token, as the vocabulary spells it, could stand where two pieces meet; every merge makes a token of the vocabulary."""
    spelled = bytes(BYTE_OF[character] for character in token)
    try:
        text = spelled.decode("utf-8")
    except UnicodeDecodeError:  # a part of one character, unless another one begins inside
        return any(byte & 0b1100_0000 != 0b1000_0000 for byte in spelled[1:])
    return len(pieces.pre_tokenize_str(text)) > 1 or (
        len(text) > 1 and text.isspace()
    )  # a run of white space gives its last to a word
