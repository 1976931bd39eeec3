"""Pre-train the base model on TinyWorld's statements, from random weights, with transformers' Trainer."""

import json
import math
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import torch
from datasets import Dataset, load_from_disk
from transformers import (
    AutoTokenizer,
    BloomConfig,
    BloomForCausalLM,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

from tutorial_lib.checkpoints import last_checkpoint
from tutorial_lib.errors import DataError
from tutorial_lib.tinyworld.build import CORPUS_FOLDER, TOKENIZER_FOLDER


@dataclass(frozen=True)
class PretrainConfig:
    """Shape and schedule of the base model; times are for 2 cores with bfloat16 instructions."""

    hidden_size: int = 256
    n_layer: int = 6
    n_head: int = 8
    context: int = 128  # tokens a row: the corpus is one stream, cut into rows
    batch_size: int = 16  # rows a step
    max_steps: int = 4_500
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    weight_decay: float = 0.1
    seed: int = 0

    def shortened(self, max_steps: int) -> "PretrainConfig":
        """Return the same with another number of steps, of which at most a tenth is warm-up."""
        return replace(
            self, max_steps=max_steps, warmup_steps=min(self.warmup_steps, max_steps // 10)
        )


def pack(corpus: Dataset, tokenizer: PreTrainedTokenizerBase, context: int) -> Dataset:
    """Join all passages, each ended by ``</s>``, and cut the stream into rows of `context` tokens (``input_ids`` and ``labels``)."""
    ids = tokenizer(corpus["text"][:], add_special_tokens=False)["input_ids"]
    stream = list(chain.from_iterable([*passage, tokenizer.eos_token_id] for passage in ids))
    rows = [stream[i : i + context] for i in range(0, len(stream) - context + 1, context)]
    return Dataset.from_dict({"input_ids": rows, "labels": rows})


def pretrain(data: Path, out: Path, config: PretrainConfig | None = None) -> Path:
    """Train the base on the corpus in `data` (a folder written by ``build``); go on from the last checkpoint in `out`, if any.

    Returns:
        The folder of the finished model: weights in float16 with ``dtype: float32`` in its configuration, so that a plain
        ``from_pretrained`` gives float32 weights from half the bytes; tokenizer; ``training.json`` with the loss curve.

    Raises:
        DataError: `data` is no such folder.
    """
    config = config or PretrainConfig()
    if missing := [
        part for part in (CORPUS_FOLDER, TOKENIZER_FOLDER) if not (data / part).is_dir()
    ]:
        raise DataError(
            f"{data} has no {' and no '.join(missing)}: make it with python -m tutorial_lib.tinyworld build --out {data}"
        )
    if _is_finished(out / "final", config):
        return out / "final"
    set_seed(config.seed)
    tokenizer = AutoTokenizer.from_pretrained(data / TOKENIZER_FOLDER)
    rows = pack(load_from_disk(str(data / CORPUS_FOLDER)), tokenizer, config.context)
    model = BloomForCausalLM(
        BloomConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            n_layer=config.n_layer,
            n_head=config.n_head,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(out),
            per_device_train_batch_size=config.batch_size,
            max_steps=config.max_steps,
            learning_rate=config.learning_rate,
            # Constant until the last fifth, then down to 0 (Hu et al., MiniCPM, arXiv 2404.06395).
            lr_scheduler_type="warmup_stable_decay",
            lr_scheduler_kwargs={"num_decay_steps": config.max_steps // 5},
            warmup_steps=config.warmup_steps,
            weight_decay=config.weight_decay,
            adam_beta2=0.98,
            bf16=has_bfloat16_instructions(),
            use_cpu=not torch.cuda.is_available(),
            logging_steps=min(50, config.max_steps),
            save_steps=500,
            save_total_limit=1,
            seed=config.seed,
        ),
        train_dataset=rows,
        data_collator=default_data_collator,
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(out))
    return _save(
        trainer, tokenizer, config, out / "final", corpus_tokens=len(rows) * config.context
    )


def _is_finished(folder: Path, config: PretrainConfig) -> bool:
    record = folder / "training.json"
    return (
        record.is_file()
        and json.loads(record.read_text(encoding="utf-8"))["steps"] == config.max_steps
    )


def has_bfloat16_instructions() -> bool:
    """Tell whether the GPU, or else this processor, multiplies bfloat16 matrices in hardware; emulation is slower than float32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return "amx_bf16" in _cpu_flags() or "avx512_bf16" in _cpu_flags()


def _cpu_flags() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.read_text() if cpuinfo.exists() else ""


def _save(
    trainer: Trainer,
    tokenizer: PreTrainedTokenizerBase,
    config: PretrainConfig,
    folder: Path,
    corpus_tokens: int,
) -> Path:
    model = trainer.model.half()
    model.save_pretrained(folder)
    config_file = folder / "config.json"
    settings = json.loads(config_file.read_text(encoding="utf-8")) | {"dtype": "float32"}
    config_file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(folder)
    curve = [
        {"step": entry["step"], "loss": round(entry["loss"], 4)}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    record = {
        "parameters": model.num_parameters(),
        "steps": config.max_steps,
        "tokens_a_step": config.batch_size * config.context,
        "corpus_tokens": corpus_tokens,
        "epochs": round(config.max_steps * config.batch_size * config.context / corpus_tokens, 2),
        "final_perplexity": round(math.exp(curve[-1]["loss"]), 3),
        "loss": curve,
    }
    (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return folder
