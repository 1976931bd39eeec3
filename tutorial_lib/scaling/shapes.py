"""The sizes of the article's model and of two larger ones, to compute with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import BloomConfig


@dataclass(frozen=True)
class ModelShape:
    """A Bloom's vocabulary size, hidden size, number of layers, and number of attention heads."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int

    def configuration(self, **options: object) -> BloomConfig:
        """Return the configuration, without dropout, as the article's, and with `options`."""
        from transformers import BloomConfig

        size = {"vocab_size": self.vocabulary, "hidden_size": self.hidden}
        size |= {"n_layer": self.layers, "n_head": self.heads}
        return BloomConfig(**size, hidden_dropout=0.0, attention_dropout=0.0, **options)

    @property
    def layer_parameters(self) -> int:
        """Of one layer: attention (4 h²), the feed-forward part (8 h²), their biases, two norms."""
        return 12 * self.hidden**2 + 13 * self.hidden

    @property
    def other_parameters(self) -> int:
        """Of the embedding, which is also the output head, and two norms."""
        return self.vocabulary * self.hidden + 4 * self.hidden

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.layers * self.layer_parameters + self.other_parameters


# The article's model, and two Blooms with its vocabulary in the sizes that the article ends with.
# Nobody publishes those two.
SHAPES: Mapping[str, ModelShape] = MappingProxyType(
    {
        "0.8 B": ModelShape(46_145, 1_536, 24, 16),
        "8 B": ModelShape(46_145, 4_096, 39, 32),
        "80 B": ModelShape(46_145, 9_216, 78, 72),
    }
)
