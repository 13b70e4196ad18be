from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from eva.errors import CheckpointError, EngineDiedError, InfrastructureError, ModelError
from eva.types import Checkpoint, Request, SamplingSettings
from tests.support import tiny_models
from tests.support.simulated_engines import SimulatedEngines
from workers.fleet.dispatch import Limits
from workers.fleet.fleet import Fleet
from workers.fleet.model_interface import model_interface
from workers.training.checkpoints import seal


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    base = tmp_path_factory.mktemp("models")
    made = [tiny_models.record_canary(tiny_models.llama(base / str(seed), seed=seed)) for seed in (0, 1)]
    return made[0], made[1]


def checkpoint(folder: Path, number: int = 0) -> Checkpoint:
    return Checkpoint(number, number, str(folder), seal(folder))


def fleet_of(engines: SimulatedEngines, tmp_path: Path, restarts: int = 3) -> Fleet:
    return Fleet(engines, Limits(8, restarts, 60), tmp_path / "views")


def test_a_policy_that_is_already_served_is_not_loaded_again(folders: tuple[Path, Path], tmp_path: Path) -> None:
    engines = SimulatedEngines(2)
    with fleet_of(engines, tmp_path) as fleet:
        for folder in (folders[0], folders[0], folders[1]):
            fleet.load(checkpoint(folder))
        assert len(engines.loaded) == 2
        assert [path.name for path in (tmp_path / "views").iterdir()] == [f"0-{seal(folders[1])[:16]}"]
    assert engines.closed and not (tmp_path / "views").exists()


def test_an_engine_whose_canary_differs_after_a_reload_is_replaced(folders: tuple[Path, Path], tmp_path: Path) -> None:
    engines = SimulatedEngines(2, offs=(False, True, False))
    fleet_of(engines, tmp_path).load(checkpoint(folders[0]))
    assert engines.replacements == [1] and engines.up == {0, 1}


def test_an_engine_that_never_starts_ends_the_load(folders: tuple[Path, Path], tmp_path: Path) -> None:
    engines = SimulatedEngines(1, offs=[True] * 99)
    with pytest.raises(EngineDiedError, match=r"its canary is off.*2 restarts"):
        fleet_of(engines, tmp_path, restarts=2).load(checkpoint(folders[0]))
    assert len(engines.replacements) == 2


def test_a_released_fleet_leaves_its_engines_running_for_the_next_one(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    engines = SimulatedEngines(1)
    with fleet_of(engines, tmp_path) as first:
        first.load(checkpoint(folders[0]))
        assert first.release() is engines
    assert not engines.closed
    with fleet_of(engines, tmp_path / "next") as second:
        second.load(checkpoint(folders[1]))
        assert len(engines.loaded) == 2, "the next fleet takes nothing for granted and has its own policy proven"
    assert engines.closed


def test_models_have_one_interface_if_only_their_weights_differ(folders: tuple[Path, Path], tmp_path: Path) -> None:
    assert model_interface(folders[0]) == model_interface(folders[1])
    for file, key in (("config.json", "transformers_version"), ("tokenizer_config.json", "model_max_length")):
        changed = tmp_path / key
        shutil.copytree(folders[0], changed)
        values = json.loads((changed / file).read_text())
        (changed / file).write_text(json.dumps(values | {key: 7}))
        same = model_interface(changed) == model_interface(folders[0])
        assert same == (key == "transformers_version"), "what wrote a file does not matter, its tokenizer does"


def test_responses_are_refused_before_a_policy_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="load"):
        next(fleet_of(SimulatedEngines(1), tmp_path).generate([]))


def test_an_engine_that_was_given_up_is_started_anew_for_the_next_stage(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    engines = SimulatedEngines(1, kills=lambda r: r.number == 0)
    fleet = fleet_of(engines, tmp_path, restarts=0)
    fleet.load(checkpoint(folders[0]))
    asked = [Request(number, "x", 1, 0, SamplingSettings(1, 1, 8)) for number in range(2)]
    with pytest.raises(EngineDiedError):
        list(fleet.generate(asked))
    assert [a.number for a in fleet.generate(asked[1:])] == [1]


def test_a_policy_of_another_shape_is_refused_with_the_difference(folders: tuple[Path, Path], tmp_path: Path) -> None:
    fleet = fleet_of(SimulatedEngines(1), tmp_path)
    fleet.load(checkpoint(folders[0]))
    other = tiny_models.record_canary(tiny_models.qwen3(tmp_path / "other"))
    with pytest.raises(ModelError, match=r"Qwen3ForCausalLM.*instead of.*LlamaForCausalLM"):
        fleet.load(checkpoint(other, 1))


def test_a_checkpoint_without_a_canary_is_refused(tmp_path: Path) -> None:
    folder = tiny_models.llama(tmp_path / "model")
    with pytest.raises(CheckpointError, match="canary"):
        fleet_of(SimulatedEngines(1), tmp_path).load(checkpoint(folder))
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is True


def test_engines_that_share_the_trainers_device_leave_it_until_the_next_policy(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    engines = SimulatedEngines(2)
    with Fleet(engines, Limits(8, 3, 60), tmp_path / "views", shares_device=True) as fleet:
        fleet.load(checkpoint(folders[0]))
        fleet.rest()
        assert engines.rests == 1 and not engines.up
        with pytest.raises(InfrastructureError, match="load"):
            next(fleet.generate([]))
        fleet.load(checkpoint(folders[0]))
        assert engines.up == {0, 1} and len(engines.loaded) == 2


def test_engines_with_their_own_device_stay_while_the_trainer_works(folders: tuple[Path, Path], tmp_path: Path) -> None:
    engines = SimulatedEngines(1)
    with fleet_of(engines, tmp_path) as fleet:
        fleet.load(checkpoint(folders[0]))
        fleet.rest()
        assert engines.rests == 0 and engines.up == {0}


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "added"])
def test_a_checkpoint_with_a_damaged_file_is_not_served(tmp_path: Path, damage: str) -> None:
    folder = tiny_models.record_canary(tiny_models.llama(tmp_path / "model"))
    policy = checkpoint(folder)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "canary.json", "tokenizer.json", "manifest.json"} <= set(whole)
    for name, content in whole.items():
        path = folder / ("adapter_config.json" if damage == "added" else name)
        match damage:
            case "truncated":
                path.write_bytes(content[:-1])
            case "flipped":
                path.write_bytes(bytes([*content[:-1], content[-1] ^ 1]))
            case "missing":
                path.unlink()
            case _:
                path.write_bytes(content)
        engines = SimulatedEngines(1)
        with pytest.raises(CheckpointError, match=r"not a valid checkpoint.*eva checkpoints repair"):
            fleet_of(engines, tmp_path).load(policy)
        assert engines.loaded == []
        path.unlink(missing_ok=True)
        (folder / name).write_bytes(content)
    fleet_of(SimulatedEngines(1), tmp_path).load(policy)
