"""The base knows the facts and can't answer; fine-tuned, it answers held-out questions."""

import json

import pytest

from tutorial_lib.data import first_rows
from tutorial_lib.evaluation import exact_match
from tutorial_lib.inference import answer
from tutorial_lib.models import TINYWORLD_BASE
from tutorial_lib.tinyworld.facts import LANGUAGES, load_entities
from tutorial_lib.tinyworld.probe import completes, make_probes
from tutorial_lib.train import main


def test_base_is_small_enough_to_ship(model):
    assert model.num_parameters() <= 8_000_000
    assert sum(path.stat().st_size for path in TINYWORLD_BASE.iterdir()) <= 16_000_000


def test_base_completes_the_facts_in_both_languages(model, tokenizer):
    probes = make_probes(load_entities(), tokenizer)
    completed = completes(model, tokenizer, probes)
    for language in LANGUAGES:
        hits = [
            hit for probe, hit in zip(probes, completed, strict=True) if probe.language == language
        ]
        assert sum(hits) / len(hits) >= 0.97, language


def test_base_can_not_answer_held_out_questions(model, tokenizer, splits):
    questions = first_rows(splits["held_out"], "relation", 500)
    answers = answer(questions, model, tokenizer, max_new_tokens=40, progress=False)
    assert exact_match(questions, answers, by=())[()].share <= 0.02


@pytest.mark.slow
def test_it_learns_to_answer_whatever_the_split(tmp_path):
    """Another split and other wordings, from the same base, in the fast way, to the same end.

    (The article's recipe on the course's own split is notebook 07; test_lessons.py reads it.)
    """
    main(
        [
            "--profile",
            "fast",
            "--out",
            str(tmp_path / "run"),
            "--dataset",
            "tinyworld:7341",
            "--evaluation-rows",
            "400",
        ]
    )
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    before, after = metrics["before"]["exact_match"], metrics["after"]["exact_match"]
    for language in LANGUAGES:
        assert before["held_out"][language] <= 0.02
        assert after["held_out"][language] >= 0.88
        assert after["train"][language] >= 0.98
    assert metrics["after"]["stopping_rate"] >= 0.99
