"""Facts of model folders, without torch: what is missing is said with its remedy."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eva.config import Fleet, Model, RunConfig, Training
from eva.errors import ModelError
from workers.models import model_folder
from workers.models.model_folder import available_memory, inspect_model, require_memory, require_template, resolve_model


def safetensors(file: Path, tensors: dict[str, tuple[str, list[int], int]]) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    raw = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(raw)) + raw + b"\0" * end)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder in fp16, tied, with a chat template."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "tie_word_embeddings": True,
        "max_position_embeddings": 128,
        "vocab_size": 10,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    safetensors(
        tmp_path / "model.safetensors",
        {"model.embed_tokens.weight": ("F16", [10, 4], 80), "model.norm.weight": ("F32", [4], 16)},
    )
    return tmp_path


def shorten(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def run_config(model: Model | None = None, **sections: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "prompts": {"playground": 8},
            "reward": {"kind": "mock"},
            "evolving": {"evolver": {"kind": "playground"}},
            "model": model or Model(path="playground"),
            **sections,
        }
    )


def test_the_facts_of_a_folder_are_read_from_its_files(folder: Path) -> None:
    facts = inspect_model(folder)
    assert (facts.architecture, facts.model_type) == ("LlamaForCausalLM", "llama")
    assert (facts.dtype, facts.parameters) == ("float16", 44)
    assert facts.bytes == (folder / "model.safetensors").stat().st_size
    assert (facts.tied, facts.max_positions, facts.vocab_size) == (True, 128, 10)
    assert facts.has_chat_template
    assert facts.weight_files == ("model.safetensors",)


@pytest.mark.parametrize(("tensor", "tied"), [("model.norm.weight", True), ("lm_head.weight", False)])
def test_without_a_flag_in_the_config_the_weights_show_whether_embeddings_are_tied(
    folder: Path, tensor: str, tied: bool
) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma2"}))
    safetensors(folder / "model.safetensors", {"model.embed_tokens.weight": ("F32", [1], 4), tensor: ("F32", [1], 4)})
    assert inspect_model(folder).tied is tied


def test_sharded_weights_are_all_counted(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    safetensors(folder / "b.safetensors", {"lm_head.weight": ("F16", [10, 4], 80)})
    index = {"weight_map": {"model.norm.weight": "a.safetensors", "lm_head.weight": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert inspect_model(folder).weight_files == ("a.safetensors", "b.safetensors")
    assert inspect_model(folder).parameters == 84
    (folder / "b.safetensors").unlink()
    with pytest.raises(ModelError, match=r"lacks b\.safetensors"):
        inspect_model(folder)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model folder .*absent.*Correct model\.path"):
        inspect_model(tmp_path / "absent")
    with pytest.raises(ModelError, match=r"no model folder .*absent.*hub id"):
        resolve_model(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"has no config\.json.*save_pretrained"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json is not JSON"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"has no tokenizer.*AutoTokenizer"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"has no weights.*Expected model\.safetensors"),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
            r"weights in pytorch_model\.bin.*Convert them",
        ),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"short"), r"not a complete safetensors"),
        (
            lambda folder: shorten(folder / "model.safetensors"),
            r"not a complete safetensors file: it has \d+ bytes instead of",
        ),
    ],
)
def test_a_folder_that_lacks_something_is_an_error_with_its_remedy(
    folder: Path, break_it: Callable[[Path], object], message: str
) -> None:
    break_it(folder)
    with pytest.raises(ModelError, match=message):
        inspect_model(folder)


def test_without_a_chat_template_both_remedies_are_named(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("{}")
    facts = inspect_model(folder)
    with pytest.raises(ModelError, match=r"Set model\.template: none, or model\.chat_template: FILE"):
        require_template(facts, Model(path=str(folder)))
    require_template(facts, Model(path=str(folder), template="none"))
    jinja = folder / "mine.jinja"
    jinja.write_text("{{ messages }}")
    require_template(facts, Model(path=str(folder), chat_template=str(jinja)))
    jinja.rename(folder / "chat_template.jinja")
    require_template(inspect_model(folder), Model(path=str(folder)))


def test_a_missing_chat_template_file_is_an_error(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"names absent\.jinja, which is not a file"):
        require_template(inspect_model(folder), Model(path=str(folder), chat_template="absent.jinja"))


def test_a_system_prompt_needs_a_template(folder: Path) -> None:
    model = Model(path=str(folder), template="none", system_prompt="Be brief.")
    with pytest.raises(ModelError, match=r"Set model\.template: chat, or remove"):
        require_template(inspect_model(folder), model)


def test_too_little_memory_says_what_is_needed_and_what_is_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_folder, "available_memory", lambda: 1_000_000_000)
    with pytest.raises(ModelError, match=r"4\.4 GB .* \(engines 3\.2, training 1\.2\), 1\.0 GB are"):
        require_memory(inspect_model(folder), run_config(fleet=Fleet(cpu_cache_gb=2.0)))
    monkeypatch.setattr(model_folder, "available_memory", lambda: 5_000_000_000)
    require_memory(inspect_model(folder), run_config(fleet=Fleet(cpu_cache_gb=2.0)))


def test_training_and_every_engine_on_the_cpu_count_towards_the_memory(folder: Path) -> None:
    facts = inspect_model(folder)

    def need(**sections: Any) -> tuple[int, int]:
        found = model_folder.memory_need(facts, run_config(**sections))
        return found.engines, found.training

    engines, training = need()
    assert need(fleet=Fleet(engines=2))[0] == 2 * engines
    assert need(training=Training(enabled=False))[1] == training - 44 * 20
    assert need(model=Model(path="x", dtype="bfloat16"))[0] == engines - 44 * 2
    assert need(fleet=Fleet(gpus_per_engine=1))[0] < engines - 1e9


def test_the_memory_of_a_container_bounds_that_of_the_machine(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable:    4000 kB\n")
    assert available_memory(meminfo, tmp_path) == 4000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory(meminfo, tmp_path) == 4000 * 1024
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 200000\n")
    assert available_memory(meminfo, tmp_path) == 500_000


def test_a_folder_resolves_to_itself(folder: Path) -> None:
    assert resolve_model(str(folder)) == folder.resolve()


def test_playground_resolves_to_the_committed_model() -> None:
    assert resolve_model("playground").parent.name == "playground"


def test_a_hub_id_that_cannot_be_fetched_is_an_error_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"'nobody/nothing' cannot be fetched.*cannot be reached.*connect"):
        resolve_model("nobody/nothing", "main")


def test_a_fetched_hub_id_resolves_to_its_snapshot(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def fetched(hub_id: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.extend((hub_id, revision))
        assert "*.bin" not in allow_patterns
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    assert resolve_model("someone/some-model", "v1") == folder
    assert asked == ["someone/some-model", "v1"]


def test_inspecting_imports_neither_torch_nor_transformers(folder: Path) -> None:
    code = (
        "import sys, pathlib; from workers.models.model_folder import inspect_model;"
        "inspect_model(pathlib.Path(sys.argv[1]));"
        "print([name for name in ('torch', 'transformers', 'huggingface_hub') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code, str(folder)], check=True, capture_output=True, text=True)
    assert found.stdout == "[]\n"
