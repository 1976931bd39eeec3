"""The way to the hub: a stand-in on localhost, a cache and no network, a hub that fails."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import huggingface_hub
import pytest
from hub_stand_in import Hub, serve
from transformers import BloomConfig, BloomForCausalLM

from tutorial_lib.errors import DataError, HubUnreachableError, ModelError
from tutorial_lib.hub import explaining, locate
from tutorial_lib.profiles import PROFILES

ARTICLE = PROFILES["article"]
PATIENCE = 15  # seconds until a learner without a network must know what to do
WAYS_ON = ("HF_ENDPOINT", "local folder", "TUTORIAL_PROFILE=tiny")
ROWS = [
    {"instruction": f"第{number}题", "input": "", "output": f"答{number}"} for number in range(40)
]


@pytest.fixture(scope="module")
def hub(tiny_model_folder, tmp_path_factory):
    """A hub with the article's model and data set, small ones."""
    folder = tmp_path_factory.mktemp("hub")
    shutil.copytree(tiny_model_folder, folder / "model")
    (folder / "data").mkdir()
    (folder / "data" / "README.md").write_text("# A data set\n", encoding="utf-8")
    (folder / "data" / "train.json").write_text(
        json.dumps(ROWS, ensure_ascii=False), encoding="utf-8"
    )
    with serve(
        {
            f"models/{ARTICLE.model}": folder / "model",
            f"datasets/{ARTICLE.dataset}": folder / "data",
        }
    ) as running:
        yield running


def train(out: Path, cache: Path, **settings: str) -> subprocess.CompletedProcess:
    """Run the article's profile on a few rows, in a new process, which reads the settings."""
    few = ["--limit-rows", "8", "--evaluation-rows", "4", "--max-new-tokens", "2"]
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "tutorial_lib.train",
            "--profile",
            "article",
            "--out",
            str(out),
            *few,
        ],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "HF_HOME": str(cache),
            **settings,
        },
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


def test_article_profile_runs_from_a_mirror_and_then_from_the_cache_without_a_network(
    hub: Hub, tmp_path
):
    first = train(tmp_path / "first", tmp_path / "cache", HF_ENDPOINT=hub.address)
    assert first.returncode == 0, first.stderr
    assert any(request.endswith("/model.safetensors") for request in hub.requests)
    assert any(request.endswith("/train.json") for request in hub.requests)
    count = len(hub.requests)
    second = train(
        tmp_path / "second", tmp_path / "cache", HF_ENDPOINT=hub.address, HF_HUB_OFFLINE="1"
    )
    assert second.returncode == 0, second.stderr
    assert len(hub.requests) == count, "offline means: not one request"
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second")]
    assert weights[0] == weights[1]


@pytest.fixture(scope="module")
def large_hub(tokenizer, hub, tmp_path_factory):
    """The same with a model of 26 MB: the library keeps a broken download in pieces of 10 MB."""
    folder = tmp_path_factory.mktemp("large")
    BloomForCausalLM(
        BloomConfig(vocab_size=100_000, hidden_size=64, n_layer=1, n_head=2)
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with serve({**hub.repositories, f"models/{ARTICLE.model}": folder}) as running:
        yield running


def test_broken_download_goes_on_where_it_stopped(large_hub: Hub, tmp_path):
    large_hub.cuts, large_hub.cut_file, large_hub.cut_after = 1, "model.safetensors", 15_000_000
    done = train(tmp_path / "out", tmp_path / "cache", HF_ENDPOINT=large_hub.address)
    assert done.returncode == 0, done.stderr
    assert large_hub.cuts == 0
    assert 10_000_000 <= large_hub.ranges[-1] < 15_000_000


@pytest.mark.parametrize(
    ("file", "bytes_sent"), [("model.safetensors", 5_000_000), ("train.json", 50)]
)
def test_hub_that_breaks_a_download_off_is_named_and_the_next_run_goes_on(
    large_hub: Hub, tmp_path, file, bytes_sent
):
    large_hub.cuts, large_hub.cut_file, large_hub.cut_after = 1_000, file, bytes_sent
    failed = train(tmp_path / "out", tmp_path / "cache", HF_ENDPOINT=large_hub.address)
    large_hub.cuts = 0
    assert failed.returncode == 1, failed.stderr
    error = failed.stderr.strip().splitlines()[-1]
    assert error.startswith("error: ")
    for part in ("the connection to", "broke", *WAYS_ON):
        assert part in error
    assert not (tmp_path / "out").exists()
    done = train(tmp_path / "out", tmp_path / "cache", HF_ENDPOINT=large_hub.address)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def endpoint(monkeypatch, tmp_path):
    """Point the libraries in this process at an address, with an empty cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)

    def point_at(address: str) -> None:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)

    return point_at


def test_repository_that_the_hub_has_is_reachable(hub, endpoint):
    endpoint(hub.address)
    assert locate(ARTICLE.model, "model") == ARTICLE.model
    assert locate(ARTICLE.dataset, "dataset") == ARTICLE.dataset


@pytest.mark.parametrize(
    ("kind", "error", "word"),
    [("model", ModelError, "no model"), ("dataset", DataError, "no data set")],
)
def test_missing_repository_is_told_apart_from_no_network(hub, endpoint, kind, error, word):
    endpoint(hub.address)
    with pytest.raises(error, match=rf"{word} 'somebody/something'.*check the spelling") as raised:
        locate("somebody/something", kind)
    assert not isinstance(raised.value, HubUnreachableError)


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_hub_that_refuses_says_its_status_and_the_ways_on(hub, endpoint, monkeypatch, status):
    endpoint(hub.address)
    monkeypatch.setattr(hub, "failure", status)
    with pytest.raises(HubUnreachableError, match=rf"answered {status}.*HF_ENDPOINT"):
        locate(ARTICLE.model, "model")


@pytest.fixture(params=["silent", "black hole", "no such name", "closed port", "not http"])
def dead_address(request):
    """Addresses that a learner without a network, or behind a wall, meets."""
    if request.param == "black hole":
        yield "http://192.0.2.1"  # reserved for documentation, RFC 5737: packets to it vanish
    elif request.param == "no such name":
        yield "http://hub.invalid"  # RFC 2606: never resolves
    else:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{listener.getsockname()[1]}"
            if request.param == "silent":
                listener.listen()  # connections are taken and never answered
            elif request.param == "not http":
                address = address.replace("http://", "ftp://")
            yield address


def test_hub_that_can_not_be_reached_is_an_error_within_seconds(endpoint, dead_address):
    endpoint(dead_address)
    start = time.perf_counter()
    with pytest.raises(HubUnreachableError) as raised:
        locate(ARTICLE.model, "model")
    assert time.perf_counter() - start < PATIENCE
    for part in (ARTICLE.model, dead_address, *WAYS_ON):
        assert part in str(raised.value)


@pytest.mark.parametrize(
    "source", ["./model", "../model", "/data/model", "~/model", "a/b/c", "C:\\models\\x"]
)
def test_path_is_not_a_hub_id(source, endpoint):
    endpoint("http://127.0.0.1:9")  # a closed port: the hub is not asked
    with pytest.raises(ModelError, match="no such file or folder; check the path") as raised:
        locate(source, "model")
    assert repr(source) in str(raised.value)


def test_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert locate("~/model", "model") == tmp_path / "model"


@pytest.mark.parametrize("source", ["gpt2", "Langboat/bloom-800m-zh"])
def test_name_and_owner_slash_name_are_hub_ids(source, endpoint, tmp_path, monkeypatch):
    endpoint("http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HubUnreachableError):
        locate(source, "model")
    Path(source).mkdir(parents=True)
    assert locate(source, "model") == Path(source), "a folder comes first, as in transformers"


def chained(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("kind", "part", "error", "message"),
    [
        ("model", "weights", OSError("no file\nof it"), "the weights of 'x' .*: OSError: no file"),
        (
            "dataset",
            None,
            ValueError(""),
            "'x' can't be read as a data set: ValueError: no message",
        ),
        ("dataset", None, chained(OSError("wrapped"), KeyError("a")), "data set: KeyError: 'a'"),
    ],
)
def test_what_the_libraries_raise_is_explained_in_one_line(kind, part, error, message):
    with (
        pytest.raises({"model": ModelError, "dataset": DataError}[kind], match=message) as raised,
        explaining("x", kind, part),
    ):
        raise error
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_broken_connection_is_found_behind_what_the_libraries_raise(kind):
    error = chained(OSError("a file is missing"), ConnectionResetError())
    ways_on = rf"broke \(ConnectionResetError\).*--{kind} DIR, or TUTORIAL_{kind.upper()}=DIR"
    with pytest.raises(HubUnreachableError, match=ways_on), explaining("x", kind):
        raise error


def test_our_own_errors_need_no_explanation():
    with pytest.raises(ModelError, match=r"^as it is$"), explaining("x", "dataset"):
        raise ModelError("as it is")
