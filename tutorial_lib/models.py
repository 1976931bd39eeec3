"""Load a causal language model and its tokenizer for full fine-tuning; count its parameters."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tutorial_lib.errors import ModelError
from tutorial_lib.hub import explaining, locate
from tutorial_lib.profiles import TINYWORLD

TINYWORLD_BASE = Path(__file__).parent / "tinyworld" / "base"
SHIPPED = {
    TINYWORLD: TINYWORLD_BASE,
    # For an experiment: pretrained on the same facts, each in one wording and one order only.
    "tinyworld-said-once": TINYWORLD_BASE.with_name("base_said_once"),
}


def resolve_model(source: str | Path) -> str:
    """Return what ``from_pretrained`` takes for a shipped model, a local folder, or a hub id.

    Raises:
        ModelError: there is no such model, or the folder holds none.
        HubUnreachableError: a hub id that is not cached while the hub can't be reached.
    """
    source = str(source)
    if source in SHIPPED:
        return str(SHIPPED[source])
    location = locate(source, "model")
    if isinstance(location, Path) and not (location / "config.json").is_file():
        raise ModelError(
            f"{source!r} is not a model folder: config.json is missing; give a folder written by "
            f"save_pretrained"
        )
    return str(location)


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of `source` and make sure that it can end an answer and pad a batch.

    Raises:
        ModelError: there is no tokenizer, or it has no end-of-sequence or no padding token.
        HubUnreachableError: the hub can't be reached, or the connection broke.
    """
    location = resolve_model(source)
    with explaining(str(source), "model", "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
    for token, purpose in [("eos_token", "end an answer"), ("pad_token", "pad a batch")]:
        if getattr(tokenizer, token) is None:
            raise ModelError(
                f"the tokenizer of {str(source)!r} has no {token}, so nothing can {purpose}; set "
                f"one that the vocabulary has (tokenizer.{token} = …) and save_pretrained it; "
                f"never pad with the end token"
            )
    return tokenizer


def load_model(source: str | Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Load the causal language model of `source` with weights of `dtype`, on the CPU.

    The default is float32 because ``from_pretrained`` would take the dtype of the checkpoint, and
    full fine-tuning in float16 diverges. Only safetensors files are read, and no code of a model
    is run: loading a pickled checkpoint (``pytorch_model.bin``) could execute anything.

    Raises:
        ModelError: not a causal language model, or its weights are missing or damaged.
        HubUnreachableError: the hub can't be reached, or the connection broke.
    """
    location, name = resolve_model(source), repr(str(source))
    with explaining(str(source), "model", "configuration"):
        config = AutoConfig.from_pretrained(location, trust_remote_code=False)
    architectures = config.architectures or []
    causal = [name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures]
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or not all(causal):
        kind = ", ".join(architectures) or config.model_type
        raise ModelError(
            f"{name} is not a causal language model but {kind}; give one whose class ends in "
            f"ForCausalLM"
        )
    with explaining(str(source), "model", "weights"):
        try:
            model, report = AutoModelForCausalLM.from_pretrained(
                location,
                dtype=dtype,
                output_loading_info=True,
                use_safetensors=True,
                trust_remote_code=False,
            )
        except SafetensorError as error:
            raise ModelError(
                f"the weights of {name} are damaged ({error}); copy or download them again"
            ) from error
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"the weights of {name} are incomplete: {len(missing)} tensors are missing, "
            f"{missing[0]!r} first"
        )
    return model


def count_parameters(model: torch.nn.Module) -> dict[str, int]:
    """Return the number of parameters of each part and the ``"total"``, tied tensors counted once.

    For a Bloom the parts are ``"embeddings"``, ``"attention"``, ``"mlp"`` and ``"layer norms"``.
    """
    counts = dict.fromkeys(("embeddings", "attention", "mlp", "layer norms", "other"), 0)
    for name, parameter in model.named_parameters():  # yields a tied tensor once
        counts[_part(name)] += parameter.numel()
    parts = {part: count for part, count in counts.items() if count}
    return {**parts, "total": sum(counts.values())}


def pick_device() -> torch.device:
    """Return the first accelerator that this machine has, else the CPU."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator or torch.device("cpu")


def multiplies_bfloat16() -> bool:
    """Tell whether the GPU, or else this processor, multiplies bfloat16 matrices in hardware.

    Emulation is slower than float32.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(feature) for feature in ("avx512_bf16", "amx_bf16"))


def _part(parameter_name: str) -> str:
    lowered = parameter_name.lower()
    if "norm" in lowered or ".ln_" in lowered:
        return "layer norms"
    if any(name in lowered for name in ("embed", "lm_head", ".wte", ".wpe")):
        return "embeddings"
    if "attn" in lowered or "attention" in lowered:
        return "attention"
    return "mlp" if "mlp" in lowered else "other"
