from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from tutorial_lib.errors import ProfileError
from tutorial_lib.profiles import PROFILES, get_profile, runs_dir


def test_the_default_profile_needs_nothing(monkeypatch):
    assert get_profile() == PROFILES["tiny"]
    assert (get_profile().model, get_profile().dataset) == ("tinyworld", "tinyworld")


def test_the_article_profile_has_the_articles_model_data_and_arguments(monkeypatch):
    monkeypatch.setenv("TUTORIAL_PROFILE", "article")
    profile = get_profile()
    assert (profile.model, profile.dataset) == (
        "Langboat/bloom-800m-zh",
        "c-s-ale/alpaca-gpt4-data-zh",
    )
    assert (
        profile.per_device_train_batch_size,
        profile.gradient_accumulation_steps,
        profile.effective_batch_size,
    ) == (4, 8, 32)
    assert (profile.logging_steps, profile.num_train_epochs, profile.max_length) == (10, 1, 256)


def test_both_profiles_differ_in_the_learning_rate_but_not_in_the_recipe():
    tiny, article = PROFILES["tiny"], PROFILES["article"]
    for name in (
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "logging_steps",
        "num_train_epochs",
        "max_length",
    ):
        assert getattr(tiny, name) == getattr(article, name)
    assert tiny.learning_rate != article.learning_rate


def test_a_given_name_goes_before_the_setting(monkeypatch):
    monkeypatch.setenv("TUTORIAL_PROFILE", "article")
    assert get_profile("tiny").name == "tiny"


def test_an_unknown_profile_names_the_known_ones():
    with pytest.raises(ProfileError, match="no profile 'gpu': choose one of tiny, fast, article"):
        get_profile("gpu")


def test_any_model_and_data_set_may_stand_in_with_a_folder_of_its_own(monkeypatch):
    own = PROFILES["tiny"].folder
    monkeypatch.setenv("TUTORIAL_MODEL", "/models/mine")
    with_model = get_profile()
    monkeypatch.setenv("TUTORIAL_DATASET", "/data/mine")
    with_both = get_profile()
    assert (with_both.model, with_both.dataset) == ("/models/mine", "/data/mine")
    assert len({own, with_model.folder, with_both.folder}) == 3
    assert get_profile().folder == with_both.folder


def test_an_empty_setting_is_none(monkeypatch):
    for variable in ("TUTORIAL_PROFILE", "TUTORIAL_MODEL", "TUTORIAL_DATASET"):
        monkeypatch.setenv(variable, "")
    assert get_profile() == PROFILES["tiny"]


def test_a_profile_can_not_be_changed_by_accident():
    with pytest.raises(FrozenInstanceError):
        PROFILES["tiny"].learning_rate = 1.0
    assert replace(PROFILES["tiny"], learning_rate=1.0).name == "tiny"


def test_runs_go_beside_the_library_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("TUTORIAL_RUNS")
    checkout = Path(__file__).parent.parent
    monkeypatch.chdir(tmp_path)
    assert runs_dir() == checkout / "runs"
    monkeypatch.setenv("TUTORIAL_RUNS", "elsewhere")
    assert runs_dir() == tmp_path / "elsewhere"
    monkeypatch.setenv("TUTORIAL_RUNS", "~/elsewhere")
    assert runs_dir() == Path.home() / "elsewhere"
