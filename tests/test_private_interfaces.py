"""What to look at when a dependency moves: every private interface that the library uses.

A private name may change with any release. Each entry says who uses it and what for; the tests
say which one is gone (`make test-latest`), and that the list is whole.
"""

import ast
import importlib
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parent.parent / "tutorial_lib"

# (module of ours, where the name lives, the name, what for)
PRIVATE = [
    ("scaling/step_memory", "torch._subclasses.fake_tensor", "FakeTensorMode", "no memory"),
    ("scaling/step_memory", "torch.distributed._tools.mem_tracker", "MemTracker", "the peak"),
    ("fast", "transformers:Trainer", "_get_train_sampler", "rows of similar length in a batch"),
    ("scaling/fsdp", "transformers:BloomForCausalLM", "_no_split_modules", "units to shard"),
    ("show/dashboard", "ipykernel.comm.comm:BaseComm", "", "_reply_subshell_for: the stop button"),
]
# Public by name, but internal by place: no deprecation protects them.
INTERNAL = [
    ("fast", "transformers.models.bloom.modeling_bloom", "BloomGelu", "ten operations into one"),
    (
        "models",
        "transformers.models.auto.modeling_auto",
        "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
        "which kinds of model are causal",
    ),
    ("show/views", "transformers.trainer_pt_utils", "get_length_grouped_indices", "its own order"),
    ("tinyworld/tokenizer", "transformers.convert_slow_tokenizer", "bytes_to_unicode", "spelling"),
    ("checkpoints", "transformers.trainer", "TRAINER_STATE_NAME", "which file is written last"),
    ("checkpoints", "transformers.trainer_utils", "PREFIX_CHECKPOINT_DIR", "checkpoint folders"),
]


@pytest.mark.parametrize(("user", "place", "name", "purpose"), PRIVATE + INTERNAL)
def test_it_is_still_there(user, place, name, purpose):
    module, _, holder = place.partition(":")
    owner = importlib.import_module(module)
    owner = getattr(owner, holder) if holder else owner
    assert not name or hasattr(owner, name), f"{place}.{name} is gone: look at {user} ({purpose})"


def private_names(path: Path) -> set[str]:
    """Private modules that a file imports, and private attributes of objects not its own."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and "._" in node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if not own and not node.attr.endswith("_"):
                names.add(node.attr)
        elif isinstance(node, ast.FunctionDef) and node.name == "_get_train_sampler":
            names.add(node.name)
    return names


def test_no_other_private_name_is_used():
    listed = {(user, f"{place}.{name}") for user, place, name, _ in PRIVATE}
    listed |= {(user, name or purpose.split(":")[0]) for user, _, name, purpose in PRIVATE}
    used = {
        (path.relative_to(LIBRARY).with_suffix("").as_posix(), name)
        for path in LIBRARY.rglob("*.py")
        for name in private_names(path)
    }
    assert used - listed == set()
    assert {user for user, *_ in PRIVATE} == {user for user, _ in used}
