"""The average of checkpoints is the mean of every weight, whatever files these stand in, and loads like any model."""

from pathlib import Path

import pytest
import torch

from eva.config import Model, Training
from eva.errors import ConflictError
from tests.support import tiny_models
from workers.training.averaging import publish_average
from workers.training.checkpoint_files import load_policy
from workers.training.checkpoints import seal, verify
from workers.training.job import publish_model


def checkpoint(folder: Path, name: str, model: Path) -> Path:
    made = publish_model(Model(path=str(model)), Training(), folder / name)
    return Path(made.path)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llama(tmp_path_factory.mktemp("given"))


def test_every_weight_is_the_mean_of_three_checkpoints(given: Path, tmp_path: Path) -> None:
    nudged = [tiny_models.nudge(given, tmp_path / f"model{seed}", 0.01, seed=seed) for seed in range(3)]
    sources = {folder.name: checkpoint(tmp_path, f"run-{folder.name}", folder) for folder in nudged}
    divided = sources["model2"]
    load_policy(divided).save_pretrained(divided, max_shard_size="100KB")
    (divided / "model.safetensors").unlink()
    (divided / "manifest.json").unlink()
    seal(divided)
    assert len([*divided.glob("*.safetensors")]) > 1

    digest = publish_average(sources, tmp_path / "mean", Training(), Model(path=str(given)))
    verify(tmp_path / "mean", digest)
    mean = load_policy(tmp_path / "mean").state_dict()
    parts = [load_policy(folder).state_dict() for folder in nudged]
    assert {*mean} == {*parts[0]}
    for name, value in mean.items():
        torch.testing.assert_close(value, sum(part[name] for part in parts) / 3, rtol=0, atol=1e-7)
    again = publish_average(sources, tmp_path / "again", Training(), Model(path=str(given)))
    assert again == digest


def test_checkpoints_of_different_shapes_or_tokenizers_are_refused(given: Path, tmp_path: Path) -> None:
    own = checkpoint(tmp_path, "own", given)
    wider = checkpoint(tmp_path, "wider", tiny_models.qwen2(tmp_path / "qwen"))
    with pytest.raises(ConflictError, match=r"own and wider differ in .*bias"):
        publish_average({"own": own, "wider": wider}, tmp_path / "mean", Training(), Model(path=str(given)))
    words = tiny_models.nudge(given, tmp_path / "words", 0.0)
    (words / "tokenizer.json").write_text((words / "tokenizer.json").read_text() + "\n")
    other = checkpoint(tmp_path, "other", words)
    with pytest.raises(ConflictError, match=r"own and other differ in tokenizer\.json"):
        publish_average({"own": own, "other": other}, tmp_path / "mean", Training(), Model(path=str(given)))
    assert not (tmp_path / "mean").exists()
