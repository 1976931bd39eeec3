"""The article's eight steps in plain calls, from top to bottom. Copy this file and change it.

    python -m tutorial_lib.tinyworld build --out runs/world      # the practice data, once
    python examples/finetune.py --out runs/plain                 # some three minutes on 2 cores

For work of your own give --model and --data; nothing of this course is imported here.
(``python -m tutorial_lib.train`` adds checks of the rows, checkpoints and figures by language.)
"""

# Step 1: imports.
import argparse
from pathlib import Path

import torch
from datasets import load_dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
    pipeline,
    set_seed,
)

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--out", required=True, help="folder for the fine-tuned model")
parser.add_argument("--model", default="tutorial_lib/tinyworld/base", help="a folder or a hub id")
parser.add_argument("--data", default="runs/world/train.jsonl", help="rows to learn from (.jsonl)")
parser.add_argument("--held-out", default="runs/world/held_out.jsonl", help="rows to test with")
parser.add_argument("--learning-rate", type=float, default=6e-4, help="5e-5 for a model of 0.8 B")
parser.add_argument("--rows", type=int, help="train on the first rows only")
parser.add_argument("--questions", type=int, default=200, help="held-out rows to ask about")
options = parser.parse_args()

MAX_LENGTH = 256  # tokens, as in the article
set_seed(42)

# Step 2: load the data. The columns are instruction, input and output.
for file in (options.data, options.held_out):
    if not Path(file).is_file():
        raise SystemExit(f"error: no file {file}; make it first (see the top of this script)")
rows = load_dataset("json", data_files={"train": options.data, "held_out": options.held_out})
train, held_out = rows["train"], rows["held_out"]
if options.rows:
    train = train.select(range(min(options.rows, len(train))))

# Step 3: preprocess. Prompt and response are tokenized apart; only the response is a target.
tokenizer = AutoTokenizer.from_pretrained(options.model)


def prompt_of(row: dict) -> str:
    return f"Human: {row['instruction']}\n{row['input']}".strip() + "\n\nAssistant: "


def encode(row: dict) -> dict:
    prompt = tokenizer(prompt_of(row), add_special_tokens=False)["input_ids"]
    response = tokenizer(row["output"], add_special_tokens=False)["input_ids"]
    response = [*response, tokenizer.eos_token_id]  # the model learns to stop
    ids = prompt + response
    labels = [-100] * len(prompt) + response  # -100: the loss ignores this position
    return {
        "input_ids": ids[:MAX_LENGTH],
        "attention_mask": [1] * len(ids[:MAX_LENGTH]),
        "labels": labels[:MAX_LENGTH],
    }


def has_target(example: dict) -> bool:
    return any(label != -100 for label in example["labels"])


examples = train.map(encode, remove_columns=train.column_names).filter(has_target)
print(f"{len(examples):,} examples; {len(train) - len(examples)} rows left no target")

# Step 4: create the model, in float32 whatever the checkpoint was saved in.
model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)

# Step 5: configure the training. 4 rows x 8 batches are 32 rows per optimizer step.
arguments = TrainingArguments(
    output_dir=f"{options.out}/checkpoints",
    per_device_train_batch_size=4,
    gradient_accumulation_steps=8,
    num_train_epochs=1,
    learning_rate=options.learning_rate,
    logging_steps=10,
    save_strategy="no",
    seed=42,
)

# Step 6: create the trainer. The collator pads input_ids with <pad> and labels with -100.
trainer = Trainer(
    model=model,
    args=arguments,
    train_dataset=examples,
    data_collator=DataCollatorForSeq2Seq(tokenizer=tokenizer, padding=True),
)

# Step 7: train, and save.
trainer.train()
model.save_pretrained(options.out)
tokenizer.save_pretrained(options.out)

# Step 8: ask questions about things that the training never mentioned.
pipe = pipeline("text-generation", model=model.eval(), tokenizer=tokenizer, device=model.device)
questions = held_out.select(range(min(options.questions, len(held_out)))).to_list()
generated = pipe(
    [prompt_of(row) for row in questions],
    max_new_tokens=64,
    do_sample=False,
    return_full_text=False,
    batch_size=32,
    add_special_tokens=False,
)
answers = [outputs[0]["generated_text"].strip() for outputs in generated]
right = sum(answer == row["output"] for answer, row in zip(answers, questions, strict=True))
for row, answer in list(zip(questions, answers, strict=True))[:5]:
    print(f"{row['instruction']} {row['input']}\n  {answer}")
print(f"{right} of {len(questions)} held-out rows answered exactly; model in {options.out}")
