import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from tutorial_lib.models import count_parameters


def test_parameters_of_a_bloom_are_those_counted_by_hand(tiny_model, tokenizer):
    vocabulary, width, layers = len(tokenizer), 32, 2
    assert count_parameters(tiny_model) == {
        "embeddings": vocabulary * width,  # the output layer is the same tensor
        "attention": layers * ((3 * width * width + 3 * width) + (width * width + width)),
        "mlp": layers * ((4 * width * width + 4 * width) + (4 * width * width + width)),
        "layer norms": (2 * layers + 2) * 2 * width,
        "total": tiny_model.num_parameters(),
    }


@pytest.mark.parametrize(
    "build",
    [
        lambda: GPT2LMHeadModel(
            GPT2Config(vocab_size=50, n_embd=8, n_layer=2, n_head=2, n_positions=16)
        ),
        lambda: LlamaForCausalLM(
            LlamaConfig(
                vocab_size=50,
                hidden_size=8,
                intermediate_size=12,
                num_hidden_layers=2,
                num_attention_heads=2,
                tie_word_embeddings=False,
            )
        ),
        lambda: torch.nn.Linear(3, 2),
    ],
    ids=["gpt2", "llama with an output layer of its own", "no language model"],
)
def test_parts_add_up_to_the_total_of_any_model(build):
    model = build()
    counts = count_parameters(model)
    assert counts["total"] == sum(parameter.numel() for parameter in model.parameters())
    assert sum(counts.values()) == 2 * counts["total"]


def test_shipped_model_counts_its_tied_embeddings_once(model):
    counts = count_parameters(model)
    assert (
        counts["total"]
        == model.num_parameters()
        == sum(parameter.numel() for parameter in model.parameters())
    )
    assert counts["embeddings"] == model.config.vocab_size * model.config.hidden_size
