import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, TrainerCallback

from tutorial_lib import recipe as training
from tutorial_lib.checkpoints import last_checkpoint
from tutorial_lib.data import encode_dataset
from tutorial_lib.errors import ModelError, OutputError
from tutorial_lib.formatting import IGNORE_INDEX, format_prompt
from tutorial_lib.models import count_parameters, load_model, load_tokenizer
from tutorial_lib.profiles import PROFILES, Profile
from tutorial_lib.recipe import build_trainer, training_arguments
from tutorial_lib.run_folder import (
    CHECKPOINTS_FOLDER,
    METRICS_FILE,
    SETTINGS_FILE,
    prepare_output,
    save_model,
    write_json,
)
from tutorial_lib.tuned import COURSE_MODEL, tuned_model

TINY = PROFILES["tiny"]


def rows(count: int) -> list[dict]:
    """Rows whose prompts and answers all differ in length."""
    return [
        {
            "instruction": f"Repeat {number}." + " Please." * (number % 4),
            "input": "",
            "output": "一二三四五六七"[: 1 + 3 * number % 7] * (1 + number % 3),
        }
        for number in range(count)
    ]


@pytest.fixture
def encoded(tokenizer) -> Dataset:
    return encode_dataset(Dataset.from_list(rows(40)), tokenizer).dataset


@pytest.fixture
def make_trainer(encoded, tokenizer, tmp_path):
    """Build the course's Trainer, on the CPU and without files, in batches of 3 x 2 rows."""

    def make(model, callbacks=(), **overrides):
        options = {
            "per_device_train_batch_size": 3,
            "gradient_accumulation_steps": 2,
            "max_steps": 3,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
        }
        arguments = training_arguments(
            TINY, tmp_path / CHECKPOINTS_FOLDER, **{**options, **overrides}
        )
        return build_trainer(model, tokenizer, encoded, arguments, callbacks)

    return make


def masked_cross_entropy(model, batch) -> tuple[float, int]:
    """By hand: the sum of -log p(token) over the supervised tokens of a batch, row by row and token by token, and their number."""
    with torch.no_grad():
        logits = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits.double()
    total, count = 0.0, 0
    for row, labels in enumerate(batch["labels"].tolist()):
        for position in range(1, len(labels)):
            if labels[position] == IGNORE_INDEX:
                continue
            scores = logits[row, position - 1]  # what stands before a token predicts it
            total += (torch.logsumexp(scores, dim=0) - scores[labels[position]]).item()
            count += 1
    return total, count


# --- what the Trainer is fed with ------------------------------------------------------------------------------------------------------


def test_first_batch_carries_no_loss_on_prompts_and_padding(
    tiny_model, tokenizer, encoded, make_trainer
):
    batch = next(iter(make_trainer(tiny_model).get_train_dataloader()))
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    known = {tuple(row["input_ids"]): row for row in encoded}
    assert (batch["attention_mask"] == 0).any()  # else the batch says nothing about padding
    for ids, mask, labels in zip(
        batch["input_ids"], batch["attention_mask"].bool(), batch["labels"], strict=True
    ):
        row = known[tuple(ids[mask].tolist())]
        assert labels[mask].tolist() == row["labels"]
        assert set(ids[~mask].tolist()) <= {tokenizer.pad_token_id}
        assert set(labels[~mask].tolist()) <= {IGNORE_INDEX}
        asked = tokenizer.decode(ids[mask & (labels == IGNORE_INDEX)])
        told = tokenizer.decode(labels[labels != IGNORE_INDEX])
        [source] = [row for row in rows(40) if format_prompt(row["instruction"]) == asked]
        assert told == source["output"] + tokenizer.eos_token


def test_padding_goes_to_the_tokenizers_own_side(tiny_model, tokenizer, encoded, make_trainer):
    batch = next(iter(make_trainer(tiny_model).get_train_dataloader()))
    assert tokenizer.padding_side == "left"
    assert (batch["attention_mask"][:, -1] == 1).all()
    assert (batch["labels"][:, -1] == tokenizer.eos_token_id).all()


def test_every_row_is_seen_once_an_epoch(tiny_model, encoded, make_trainer):
    seen = []
    for batch in make_trainer(tiny_model).get_train_dataloader():
        seen += [
            tuple(ids[mask].tolist())
            for ids, mask in zip(batch["input_ids"], batch["attention_mask"].bool(), strict=True)
        ]
    assert sorted(seen) == sorted(tuple(ids) for ids in encoded["input_ids"])


# --- what it computes ------------------------------------------------------------------------------------------------------------------


def test_loss_of_a_batch_is_the_masked_cross_entropy(tiny_model, make_trainer):
    trainer = make_trainer(tiny_model)
    batches = list(trainer.get_train_dataloader())[:4]
    losses = [trainer.compute_loss(tiny_model.eval(), dict(batch)).item() for batch in batches]
    for loss, batch in zip(losses, batches, strict=True):
        total, count = masked_cross_entropy(tiny_model, batch)
        assert loss == pytest.approx(total / count, rel=1e-5)
        unmasked, tokens = masked_cross_entropy(tiny_model, {**batch, "labels": batch["input_ids"]})
        assert loss != pytest.approx(
            unmasked / tokens, rel=1e-5
        )  # the mask makes a difference here


class SeenBatches(TrainerCallback):
    """Collects what `compute_loss` is given."""

    def __init__(self):
        self.batches = []

    def attach(self, trainer):
        compute_loss = trainer.compute_loss

        def spy(model, inputs, *args, **kwargs):
            self.batches.append({name: value.clone() for name, value in inputs.items()})
            return compute_loss(model, inputs, *args, **kwargs)

        trainer.compute_loss = spy


def test_logged_loss_of_a_step_counts_every_supervised_token_of_its_batches_alike(
    tiny_model, tiny_model_folder, make_trainer
):
    """Accumulated batches with many and with few supervised tokens: the mean is over tokens, not over batches."""
    trainer, seen = make_trainer(tiny_model, max_steps=1), SeenBatches()
    seen.attach(trainer)
    trainer.train()
    assert len(seen.batches) == 2
    untrained = load_model(tiny_model_folder)
    sums = [masked_cross_entropy(untrained, batch) for batch in seen.batches]
    assert sums[0][1] != sums[1][1]
    by_token = sum(total for total, _ in sums) / sum(count for _, count in sums)
    by_batch = sum(total / count for total, count in sums) / 2
    assert trainer.state.log_history[0]["loss"] == pytest.approx(by_token, rel=1e-5)
    assert trainer.state.log_history[0]["loss"] != pytest.approx(by_batch, rel=1e-5)


def test_first_step_is_adams_on_the_hand_made_gradient(tiny_model, tiny_model_folder, make_trainer):
    """After one step, each weight has moved by the learning rate against the sign of its gradient: Adam's first step."""
    trainer, seen = make_trainer(tiny_model, max_steps=1), SeenBatches()
    seen.attach(trainer)
    trainer.train()
    reference = load_model(tiny_model_folder)
    total, count = 0.0, 0
    for batch in seen.batches:
        logits = reference(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits[:, :-1]
        targets = batch["labels"][:, 1:]
        supervised = targets != IGNORE_INDEX
        total = (
            total
            - torch.log_softmax(logits, dim=-1)[supervised]
            .gather(1, targets[supervised][:, None])
            .sum()
        )
        count += int(supervised.sum())
    (total / count).backward()
    norm = torch.sqrt(
        sum(parameter.grad.double().square().sum() for parameter in reference.parameters())
    ).item()
    assert trainer.state.log_history[0]["grad_norm"] == pytest.approx(norm, rel=1e-4)
    for (name, before), after in zip(
        reference.named_parameters(), tiny_model.parameters(), strict=True
    ):
        clear = before.grad.abs() > 1e-5  # elsewhere Adam's epsilon and rounding decide
        moved = (after - before)[clear]
        assert clear.any(), name
        assert torch.allclose(
            moved, -TINY.learning_rate * before.grad[clear].sign(), rtol=0.02, atol=1e-6
        ), name


def test_two_runs_of_a_seed_are_the_same_to_the_last_digit(tiny_model_folder, make_trainer):
    def run(seed: int, process_state: int):
        torch.manual_seed(process_state)  # what ran before in this process
        model = load_model(tiny_model_folder)
        trainer = make_trainer(model, seed=seed, max_steps=4)
        trainer.train()
        return [
            (step["loss"], step["grad_norm"])
            for step in trainer.state.log_history
            if "loss" in step
        ], model.state_dict()

    curve, weights = run(seed=1, process_state=5)
    again, weights_again = run(seed=1, process_state=6)
    other, _ = run(seed=2, process_state=5)
    assert len(curve) == 4
    assert curve == again
    assert other != curve
    assert all(torch.equal(weights[name], weights_again[name]) for name in weights)
    untrained = load_model(tiny_model_folder).state_dict()
    assert not any(
        torch.equal(weights[name], untrained[name]) for name in weights if name.endswith("weight")
    )  # all of it was trained


def test_arguments_are_the_articles_with_the_profiles_numbers(tmp_path):
    arguments = training_arguments(TINY, tmp_path / "out")
    assert (
        arguments.per_device_train_batch_size,
        arguments.gradient_accumulation_steps,
        arguments.logging_steps,
    ) == (4, 8, 10)
    assert (arguments.num_train_epochs, arguments.learning_rate, arguments.seed) == (
        1,
        TINY.learning_rate,
        TINY.seed,
    )
    assert arguments.lr_scheduler_type == "linear"
    assert arguments.output_dir == str(tmp_path / "out")
    assert (
        training_arguments(
            TINY, tmp_path / "out", num_train_epochs=3, warmup_steps=7
        ).num_train_epochs
        == 3
    )


def test_further_callbacks_are_called(tiny_model, make_trainer):
    steps = []

    class Note(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            steps.append(state.global_step)

    make_trainer(tiny_model, callbacks=[Note()]).train()
    assert steps == [1, 2, 3]


def test_newest_checkpoint_is_found(tmp_path, tiny_model, make_trainer):
    assert last_checkpoint(tmp_path / "missing") is None
    assert last_checkpoint(tmp_path) is None
    make_trainer(tiny_model, save_strategy="steps", save_steps=1, max_steps=2).train()
    assert last_checkpoint(tmp_path / CHECKPOINTS_FOLDER) == str(
        tmp_path / CHECKPOINTS_FOLDER / "checkpoint-2"
    )


# --- the output folder -----------------------------------------------------------------------------------------------------------------

SETTINGS = {"learning_rate": 1e-3, "model": "模型", "limit_rows": None}


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def unfinished_run(folder: Path) -> None:
    prepare_output(folder, SETTINGS, parameters=1_000)
    (folder / CHECKPOINTS_FOLDER / "checkpoint-100").mkdir(parents=True)
    (folder / CHECKPOINTS_FOLDER / "checkpoint-100" / "model.safetensors").write_bytes(b"weights")


def finished_run(folder: Path) -> None:
    unfinished_run(folder)
    write_json(folder / METRICS_FILE, {"before": 0})


def other_run(folder: Path) -> None:
    prepare_output(folder, SETTINGS | {"learning_rate": 2e-3}, parameters=1_000)


def other_files(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work", encoding="utf-8")


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("exists", [False, True])
def test_new_or_empty_folder_is_made_and_notes_the_settings(tmp_path, resume, exists):
    out = tmp_path / "deep" / "er"
    if exists:
        out.mkdir(parents=True)
    prepare_output(out, SETTINGS, parameters=1_000, resume=resume)
    assert list(content(out)) == [SETTINGS_FILE]
    assert json.loads((out / SETTINGS_FILE).read_text(encoding="utf-8")) == SETTINGS


def test_unfinished_run_of_the_same_settings_is_resumed(tmp_path):
    unfinished_run(tmp_path / "out")
    before = content(tmp_path / "out")
    prepare_output(
        tmp_path / "out", dict(reversed(SETTINGS.items())), parameters=1_000, resume=True
    )  # the order does not matter
    assert set(content(tmp_path / "out")) == set(before)
    assert json.loads((tmp_path / "out" / SETTINGS_FILE).read_text(encoding="utf-8")) == SETTINGS


@pytest.mark.parametrize(
    ("make", "resume", "message"),
    [
        (unfinished_run, False, "is not empty: .* --resume"),
        (finished_run, False, "is not empty"),
        (other_run, False, "is not empty"),
        (other_files, False, "is not empty"),
        (finished_run, True, "holds a finished run"),
        (other_run, True, "no run with these settings"),
        (other_files, True, "no run with these settings"),
    ],
)
def test_folder_of_something_else_is_refused_and_left_alone(tmp_path, make, resume, message):
    out = tmp_path / "out"
    make(out)
    before = content(out)
    with pytest.raises(OutputError, match=message) as raised:
        prepare_output(out, SETTINGS, parameters=1_000, resume=resume)
    assert str(out) in str(raised.value)
    assert content(out) == before


@pytest.mark.parametrize("resume", [False, True])
def test_file_in_the_place_of_the_folder_is_refused(tmp_path, resume):
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="is a file"):
        prepare_output(tmp_path / "out", SETTINGS, parameters=1_000, resume=resume)
    with pytest.raises(OutputError, match="can't be made: Not a directory"):
        prepare_output(tmp_path / "out" / "inside", SETTINGS, parameters=1_000, resume=resume)
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_folder_that_may_not_be_made_is_refused(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(OutputError, match="can't be made: Permission denied"):
        prepare_output(tmp_path / "out", SETTINGS, parameters=1_000)


def test_disk_that_is_too_small_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 28_000_000 - 1})
    monkeypatch.setattr(training.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(
        OutputError, match=r"no space left .* 28 MB free, weights and checkpoints take 28 MB"
    ):
        prepare_output(tmp_path / "out", SETTINGS, parameters=1_000_000)
    assert content(tmp_path / "out") == {}
    usage.free += 1
    prepare_output(tmp_path / "out", SETTINGS, parameters=1_000_000)


def test_promised_room_is_enough_for_a_run(tmp_path, tiny_model, make_trainer):
    """Weights and two checkpoints (the newest and its successor) really take about what is asked for."""
    make_trainer(tiny_model, save_strategy="steps", save_steps=1, max_steps=2).train()
    written = sum(len(data) for data in content(tmp_path).values()) - 2 * len(
        (tmp_path / CHECKPOINTS_FOLDER / "checkpoint-1" / "tokenizer.json").read_bytes()
    )
    weights = 4 * tiny_model.num_parameters()
    assert 6 * weights < written < 6 * weights * 1.3
    assert training.BYTES_PER_PARAMETER * tiny_model.num_parameters() == 7 * weights


def test_damaged_settings_are_refused(tmp_path):
    (tmp_path / SETTINGS_FILE).write_text('{"learning', encoding="utf-8")
    with pytest.raises(OutputError):
        prepare_output(tmp_path, SETTINGS, parameters=1_000, resume=True)


def test_settings_may_be_anything_that_json_can_hold(tmp_path):
    settings = SETTINGS | {"languages": ("zh", "en")}
    prepare_output(tmp_path / "out", settings, parameters=1_000)
    prepare_output(tmp_path / "out", settings, parameters=1_000, resume=True)


# --- write_json ------------------------------------------------------------------------------------------------------------------------


def test_json_is_readable_by_people_and_machines(tmp_path):
    write_json(tmp_path / "a.json", {"name": "模型", "share": 0.5})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"name": "模型", "share": 0.5}
    assert "模型" in text
    assert text.endswith("}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def full_disk(self: Path, text: str, **kwargs) -> int:
    with self.open("w", encoding="utf-8") as file:
        file.write(text[: len(text) // 2])
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("existing", [None, '{"old": true}'])
def test_json_is_whole_or_as_it_was(tmp_path, monkeypatch, existing):
    path = tmp_path / "a.json"
    if existing:
        path.write_text(existing, encoding="utf-8")
    with pytest.raises(TypeError):
        write_json(path, {"new": object()})
    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"new": True})
    assert (path.read_bytes().decode() if path.exists() else None) == existing


# --- save_model ------------------------------------------------------------------------------------------------------------------------


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


def change(model: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    return model


def test_saved_model_is_the_same_when_loaded(tmp_path, tiny_model, tokenizer):
    save_model(change(tiny_model), tokenizer, tmp_path / "new" / "folder")
    assert same_weights(load_model(tmp_path / "new" / "folder"), tiny_model)
    assert load_tokenizer(tmp_path / "new" / "folder").get_vocab() == tokenizer.get_vocab()
    assert not list(
        (tmp_path / "new" / "folder").glob(".*")
    )  # nothing is left of the temporary folder


def test_model_is_saved_beside_what_is_there(tmp_path, tiny_model, tokenizer):
    unfinished_run(tmp_path / "out")
    before = content(tmp_path / "out")
    save_model(tiny_model, tokenizer, tmp_path / "out")
    assert content(tmp_path / "out").items() >= before.items()


def test_newer_model_takes_the_place_of_the_older(tmp_path, tiny_model, tokenizer):
    save_model(tiny_model, tokenizer, tmp_path)
    save_model(change(tiny_model), tokenizer, tmp_path)
    assert same_weights(load_model(tmp_path), tiny_model)


class PowerCut(Exception):
    pass


@pytest.fixture(params=["weights", "tokenizer"])
def cut_power(request, monkeypatch, tiny_model, tokenizer):
    """`save_pretrained` of the model or of the tokenizer writes half of its files, then nothing goes on."""
    target = tiny_model if request.param == "weights" else tokenizer

    def write_half(folder, **kwargs):
        folder = Path(folder)
        (folder / "config.json").write_text('{"model_type": "bloom"', encoding="utf-8")
        (folder / "model.safetensors").write_bytes(b"half of the weights")
        raise PowerCut

    monkeypatch.setattr(target, "save_pretrained", write_half, raising=True)
    return monkeypatch


def test_model_that_was_not_written_to_the_end_is_no_model(
    tmp_path, tiny_model, tokenizer, cut_power
):
    with pytest.raises(PowerCut):
        save_model(tiny_model, tokenizer, tmp_path / "out")
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        load_model(tmp_path / "out")
    cut_power.undo()
    save_model(
        tiny_model, tokenizer, tmp_path / "out"
    )  # what is left of the first try is not in the way
    assert same_weights(load_model(tmp_path / "out"), tiny_model)
    assert not list((tmp_path / "out").glob(".*"))


def test_older_model_stays_whole_when_the_newer_is_not_written_to_the_end(
    tmp_path, tiny_model, tiny_model_folder, tokenizer, cut_power
):
    older = load_model(tiny_model_folder)
    cut_power.undo()
    save_model(older, tokenizer, tmp_path)
    before = content(tmp_path)
    cut_power.setattr(
        tiny_model, "save_pretrained", lambda folder, **kwargs: (_ for _ in ()).throw(PowerCut)
    )
    with pytest.raises(PowerCut):
        save_model(change(tiny_model), tokenizer, tmp_path)
    assert {
        name: data for name, data in content(tmp_path).items() if not name.startswith(".model")
    } == before
    assert same_weights(load_model(tmp_path), older)


def stop_after_renames(monkeypatch, renames: int) -> None:
    """Let `renames` files be moved to their place, then cut the power."""
    replace_file, done = Path.replace, []

    def count(self: Path, target):
        if len(done) == renames:
            raise PowerCut
        done.append(target)
        return replace_file(self, target)

    monkeypatch.setattr(Path, "replace", count)


def test_new_folder_is_no_model_until_the_last_file_is_in_its_place(
    tmp_path, tiny_model, tokenizer
):
    save_model(tiny_model, tokenizer, tmp_path / "whole")
    files = len(content(tmp_path / "whole"))
    assert files >= 4
    for renames in range(files):
        out = tmp_path / f"after {renames}"
        with pytest.MonkeyPatch.context() as patch:
            stop_after_renames(patch, renames)
            with pytest.raises(PowerCut):
                save_model(tiny_model, tokenizer, out)
        with pytest.raises(ModelError, match=r"config\.json is missing"):
            load_model(out)


def test_older_and_newer_files_are_never_mixed_in_a_model(tmp_path, tiny_model, tokenizer):
    save_model(tiny_model, tokenizer, tmp_path / "older")
    older = content(tmp_path / "older")
    newer_tokenizer = load_tokenizer(tmp_path / "older")
    newer_tokenizer.padding_side = "right"
    save_model(change(tiny_model), newer_tokenizer, tmp_path / "newer")
    newer = content(tmp_path / "newer")
    for renames in range(len(newer)):
        out = tmp_path / f"after {renames}"
        save_model(load_model(tmp_path / "older"), load_tokenizer(tmp_path / "older"), out)
        with pytest.MonkeyPatch.context() as patch:
            stop_after_renames(patch, renames)
            with pytest.raises(PowerCut):
                save_model(tiny_model, newer_tokenizer, out)
        found = {name: data for name, data in content(out).items() if not name.startswith(".model")}
        assert found in (older, newer) or "config.json" not in found, renames


# --- tuned_model ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["tiny", "fast", "article"])
def small_profile(request, tiny_model_folder, tmp_path, monkeypatch) -> Profile:
    """A profile with the random model, 40 rows of data and a runs folder of its own."""
    monkeypatch.setenv("TUTORIAL_RUNS", str(tmp_path / "runs"))
    Dataset.from_list(rows(40)).save_to_disk(str(tmp_path / "data"))
    return replace(
        PROFILES[request.param],
        model=str(tiny_model_folder),
        dataset=str(tmp_path / "data"),
        quick_rows=32,
    )


def test_course_model_is_the_one_of_notebook_07(small_profile, tiny_model, tokenizer, capsys):
    made = small_profile.folder / COURSE_MODEL
    save_model(tiny_model, tokenizer, made)
    assert tuned_model(small_profile) == made
    assert capsys.readouterr().out == ""  # nothing was trained


def test_course_model_is_made_once_where_notebook_07_has_not_been_run(
    small_profile, tiny_model, capsys, monkeypatch
):
    folder = tuned_model(small_profile)
    assert "fine-tuning on 32 rows" in capsys.readouterr().out
    assert not same_weights(load_model(folder), tiny_model)
    monkeypatch.setattr(
        training, "_train_quick_model", lambda *arguments: pytest.fail("trained again")
    )
    assert tuned_model(small_profile) == folder


# --- count_parameters ------------------------------------------------------------------------------------------------------------------


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
