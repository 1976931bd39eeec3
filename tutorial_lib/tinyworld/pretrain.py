"""Pre-train the base model on TinyWorld's statements, from random weights, with ``Trainer``."""

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
from tutorial_lib.models import multiplies_bfloat16
from tutorial_lib.run_folder import write_json
from tutorial_lib.tinyworld.build import CORPUS_FOLDER, TOKENIZER_FOLDER

RECORD_FILE = "training.json"  # written last: a folder that has it holds a finished model


@dataclass(frozen=True)
class PretrainConfig:
    """Shape and schedule of the base model."""

    hidden_size: int = 256
    n_layer: int = 6
    n_head: int = 8
    context: int = 128  # tokens per row: the corpus is one stream, cut into rows
    batch_size: int = 16  # rows per step
    max_steps: int = 4_500
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    weight_decay: float = 0.1
    seed: int = 0

    def shortened(self, max_steps: int) -> "PretrainConfig":
        """Return the same with another number of steps, of which at most a tenth is warm-up."""
        warmup_steps = min(self.warmup_steps, max_steps // 10)
        return replace(self, max_steps=max_steps, warmup_steps=warmup_steps)


def pack(corpus: Dataset, tokenizer: PreTrainedTokenizerBase, context: int) -> Dataset:
    """Join all passages, each ended by ``</s>``, and cut the stream into rows of `context` tokens.

    Returns the columns ``input_ids`` and ``labels``, which are equal.
    """
    ids = tokenizer(corpus["text"][:], add_special_tokens=False)["input_ids"]
    stream = list(chain.from_iterable([*passage, tokenizer.eos_token_id] for passage in ids))
    rows = [stream[i : i + context] for i in range(0, len(stream) - context + 1, context)]
    return Dataset.from_dict({"input_ids": rows, "labels": rows})


def pretrain(data: Path, out: Path, config: PretrainConfig | None = None) -> Path:
    """Train the base on the corpus in `data`; continue from the last checkpoint in `out`, if any.

    Returns:
        The folder of the finished model: tokenizer; ``training.json`` with the loss curve; weights
        in float16, with ``dtype: float32`` in the configuration, so that a plain
        ``from_pretrained`` gives float32 weights from half of the bytes.

    Raises:
        DataError: `data` is not a folder written by ``build``.
    """
    config = config or PretrainConfig()
    missing = [part for part in (CORPUS_FOLDER, TOKENIZER_FOLDER) if not (data / part).is_dir()]
    if missing:
        remedy = f"make it with python -m tutorial_lib.tinyworld build --out {data}"
        raise DataError(f"{data} has no {' and no '.join(missing)}: {remedy}")
    record = out / "final" / RECORD_FILE
    if record.is_file() and json.loads(record.read_text("utf-8"))["steps"] == config.max_steps:
        return record.parent
    set_seed(config.seed)
    tokenizer = AutoTokenizer.from_pretrained(data / TOKENIZER_FOLDER)
    rows = pack(load_from_disk(str(data / CORPUS_FOLDER)), tokenizer, config.context)
    shape = BloomConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        n_layer=config.n_layer,
        n_head=config.n_head,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    trainer = Trainer(
        model=BloomForCausalLM(shape),
        args=_arguments(config, out),
        train_dataset=rows,
        data_collator=default_data_collator,
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(out))
    return _save(trainer, tokenizer, config)


def _arguments(config: PretrainConfig, out: Path) -> TrainingArguments:
    return TrainingArguments(
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
        bf16=multiplies_bfloat16(),
        use_cpu=not torch.cuda.is_available(),
        logging_steps=min(50, config.max_steps),
        save_steps=500,
        save_total_limit=1,
        seed=config.seed,
    )


def _save(trainer: Trainer, tokenizer: PreTrainedTokenizerBase, config: PretrainConfig) -> Path:
    model, folder = trainer.model.half(), Path(trainer.args.output_dir) / "final"
    model.save_pretrained(folder)
    config_file = folder / "config.json"
    write_json(config_file, json.loads(config_file.read_text("utf-8")) | {"dtype": "float32"})
    tokenizer.save_pretrained(folder)
    curve = [
        {"step": entry["step"], "loss": round(entry["loss"], 4)}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    tokens_per_step = config.batch_size * config.context
    corpus_tokens = len(trainer.train_dataset) * config.context
    record = {
        "parameters": model.num_parameters(),
        "steps": config.max_steps,
        "tokens_per_step": tokens_per_step,
        "corpus_tokens": corpus_tokens,
        "epochs": round(config.max_steps * tokens_per_step / corpus_tokens, 2),
        "final_perplexity": round(math.exp(curve[-1]["loss"]), 3),
        "loss": curve,
    }
    write_json(folder / RECORD_FILE, record)
    return folder
