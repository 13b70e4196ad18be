"""Which secrets an actor gets: those that its part of the config needs, and no others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from eva.config import RewardConfig
from workers.cluster.secrets import Secrets, hub_secrets
from workers.models.model_folder import is_hub_id
from workers.rewards.secrets import rewarder_secrets

ENVIRONMENT = {
    "HF_TOKEN": "hub",
    "OPENAI_API_KEY": "openai",
    "ANTHROPIC_API_KEY": "anthropic",
    "JUDGE_KEY": "judge",
    "EVA_DATABASE_URL": "postgresql://database",
}
NETWORK: dict[str, Any] = {"kind": "pointwise", "model": "owner/reward"}
JUDGE: dict[str, Any] = {"kind": "judge", "model": "anthropic/some", "api_key_env": "JUDGE_KEY"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (NETWORK, {"HF_TOKEN"}),
        ({"kind": "mock"}, set[str]()),
        ({"kind": "verifier", "function": "tasks:grade"}, set[str]()),
        (JUDGE, {"JUDGE_KEY"}),
        ({"kind": "judge", "model": "anthropic/some"}, {"ANTHROPIC_API_KEY"}),
        ({"kind": "judge", "model": "some"}, {"OPENAI_API_KEY"}),
        ({"kind": "judge", "model": "openai/mine", "api_base": "http://server"}, set[str]()),
        (
            {"kind": "ensemble", "members": [{"reward": NETWORK, "scale": 1}, {"reward": JUDGE, "scale": 1}]},
            {"HF_TOKEN", "JUDGE_KEY"},
        ),
    ],
)
def test_a_rewarder_gets_the_keys_of_its_judges_and_the_token_for_its_models(
    config: dict[str, Any], names: set[str]
) -> None:
    adapter: TypeAdapter[RewardConfig] = TypeAdapter(RewardConfig)
    secrets = rewarder_secrets(adapter.validate_python(config))
    assert secrets.values == {name: ENVIRONMENT[name] for name in names}


def test_a_model_in_a_folder_needs_no_token(tmp_path: Path) -> None:
    assert hub_secrets(needed=is_hub_id("owner/model")).values == {"HF_TOKEN": "hub"}
    assert not is_hub_id(str(tmp_path)) and not is_hub_id("playground")
    assert hub_secrets(needed=False).values == {}


def test_secrets_are_not_shown_and_what_a_machine_sets_itself_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = Secrets({"HF_TOKEN": "of the driver", "NEW_KEY": "of the driver"})
    assert "of the driver" not in repr(secrets)
    monkeypatch.setenv("NEW_KEY", "")
    monkeypatch.delenv("NEW_KEY")
    secrets.install()
    assert (os.environ["HF_TOKEN"], os.environ["NEW_KEY"]) == ("hub", "of the driver")
