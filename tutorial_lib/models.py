"""Load a causal language model and its tokenizer, ready for full fine-tuning; count where its parameters are."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tutorial_lib.errors import ModelError
from tutorial_lib.hub import cut_off, looks_like_folder, require_reachable

TINYWORLD = "tinyworld"  # names the base model that ships with the kit
TINYWORLD_BASE = Path(__file__).parent / "tinyworld" / "base"
# … and the one of an experiment: it has read the same facts, each always in one wording and one order.
SAID_ONCE = "tinyworld-said-once"
SAID_ONCE_BASE = Path(__file__).parent / "tinyworld" / "base_said_once"
SHIPPED = {TINYWORLD: TINYWORLD_BASE, SAID_ONCE: SAID_ONCE_BASE}


def resolve_model(source: str | Path) -> str:
    """Return what ``from_pretrained`` takes for `source`: ``"tinyworld"``, ``"tinyworld-said-once"``, a local folder, or a hub id.

    Raises:
        ModelError: a folder that does not exist or holds no model.
        HubUnreachableError: a hub id that is not cached while the hub can't be reached.
    """
    source = str(source)
    if source in SHIPPED:
        return str(SHIPPED[source])
    if not looks_like_folder(source):
        require_reachable(source, "model")
        return source
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise ModelError(
            f"no model folder {source!r}: it does not exist; check the path (`pwd` tells where you are)"
        )
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{source!r} holds no model: config.json is missing; give a folder written by save_pretrained"
        )
    return str(folder)


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of `source` and make sure that it can end an answer and pad a batch.

    Raises:
        ModelError: no tokenizer there, or it has no end-of-sequence or no padding token.
        HubUnreachableError: the hub can't be reached, or the connection broke.
    """
    location = resolve_model(source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
    except Exception as error:
        trouble = f"{source!r} has no tokenizer that can be loaded: {_first_line(error)}"
        raise cut_off(error, str(source), "model") or ModelError(trouble) from error
    for token, meaning in [("eos_token", "end an answer"), ("pad_token", "pad a batch")]:
        if getattr(tokenizer, token) is None:
            raise ModelError(
                f"the tokenizer of {source!r} has no {token}, so nothing can {meaning}; set one that the vocabulary has "
                f"(tokenizer.{token} = …) and save_pretrained it; never pad with the end token"
            )
    return tokenizer


def load_model(source: str | Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Load the causal language model of `source` with weights of `dtype`, on the CPU.

    float32 is asked for by name because ``from_pretrained`` would take whatever dtype the checkpoint was saved in, and full fine-tuning in
    float16 diverges. Weights come from safetensors files only, and no code that comes with a model is run: a pickled checkpoint
    (``pytorch_model.bin``) could do anything while it is loaded.

    Raises:
        ModelError: not a causal language model, or its weights are missing or damaged.
        HubUnreachableError: the hub can't be reached, or the connection broke.
    """
    location = resolve_model(source)
    try:
        config = AutoConfig.from_pretrained(location, trust_remote_code=False)
    except Exception as error:
        trouble = f"the configuration of {source!r} can't be read: {_first_line(error)}"
        raise cut_off(error, str(source), "model") or ModelError(trouble) from error
    architectures = config.architectures or []
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or not all(
        map(_is_causal, architectures)
    ):
        found = ", ".join(architectures) or config.model_type
        raise ModelError(
            f"{source!r} is no causal language model but {found}; give one whose class ends in ForCausalLM"
        )
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
            f"the weights of {source!r} are damaged ({_first_line(error)}); copy or download them again"
        ) from error
    except Exception as error:
        trouble = f"the weights of {source!r} can't be loaded: {_first_line(error)}"
        raise cut_off(error, str(source), "model") or ModelError(trouble) from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ModelError(
            f"the weights of {source!r} are incomplete: {len(missing)} tensors are missing, {missing[0]!r} first"
        )
    return model


def count_parameters(model: torch.nn.Module) -> dict[str, int]:
    """Return the number of parameters of each top-level part, tied tensors counted once, and ``"total"``.

    For a Bloom: ``{"embeddings": …, "attention": …, "mlp": …, "layer norms": …, "total": …}``.
    """
    counts = {"embeddings": 0, "attention": 0, "mlp": 0, "layer norms": 0, "other": 0}
    for name, parameter in model.named_parameters():  # yields a tied tensor once
        counts[_part(name)] += parameter.numel()
    return {part: count for part, count in counts.items() if count} | {
        "total": sum(counts.values())
    }


def pick_device() -> torch.device:
    """Return the first accelerator that this machine has, else the CPU."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator or torch.device("cpu")


def _is_causal(architecture: str) -> bool:
    return architecture.endswith(("ForCausalLM", "LMHeadModel"))


def _part(parameter_name: str) -> str:
    lowered = parameter_name.lower()
    if "norm" in lowered or ".ln_" in lowered:
        return "layer norms"
    if "embed" in lowered or "lm_head" in lowered or ".wte" in lowered or ".wpe" in lowered:
        return "embeddings"
    if "attn" in lowered or "attention" in lowered:
        return "attention"
    return "mlp" if "mlp" in lowered else "other"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
