"""A config sent through the API cannot reach files, other machines, secrets or code, except by allowed names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from eva.config import RunConfig
from eva.config.admission import GUARDED, NotAllowedError, admit, guard_of
from eva.config.allowlist import Allowlist, read_allowlist
from eva.config.files import config_from_values, preset_values, presets, validate
from eva.errors import ConfigError
from eva.settings import read_settings

ALLOWED = read_allowlist(
    {
        "EVA_MODELS": "tiny=/models/tiny, judge=openai/gpt-4o-mini",
        "EVA_DATASETS": "mine=/data/mine.jsonl",
        "EVA_ENDPOINTS": "local=http://10.0.0.1:8000/v1",
        "EVA_FUNCTIONS": "mine.rules:check",
        "EVA_SECRETS": "JUDGE_KEY",
        "EVA_STORES": "team=s3://bucket/eva",
    }
)

FREE = {
    "name",
    "prompts.split",
    "prompts.field",
    "prompts.system_field",
    "prompts.topic_field",
    "prompts.reference_field",
    "evaluation.reference_field",
    "environment.args",
    "reward.args",
    "model.system_prompt",
    "reward.system_prompt",
    "evolver.options",
    "evolving.operators",
    "categories.names",
    "categories.hypothesis",
    "collapse.warn",
    "collapse.pause",
    "collapse.steer",
    "lora.targets",
    "evaluation.judges_own",
    "tracking.run_name",
    "tracking.experiment",
    "tracking.project",
    "webhooks",
}
"""Keys with harmless text; `options` and `args` go to a function that is allowed."""


def texts(section: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yields the path of every key that accepts any text."""
    for name, field in section.model_fields.items():
        yield from _texts(field.annotation, (*path, name))


def _texts(annotation: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if path.count("members") < 2:
            yield from texts(annotation, path)
    elif annotation is str or annotation is Any:
        yield path
    else:
        for inner in get_args(annotation):
            if not isinstance(inner, str):
                yield from _texts(inner, path)


def test_every_key_that_accepts_any_text_is_guarded_or_known_to_be_harmless() -> None:
    found = {".".join(path[-2:]) for path in texts(RunConfig)}
    assert {*GUARDED} - {"reward.trust_remote_code"} <= found and not {*GUARDED} & FREE
    assert found <= {*GUARDED} | FREE, "classify the new key in eva/config/admission.py, or here"
    assert guard_of(("reward", "members", "0", "reward", "api_base")) == "endpoint"
    assert guard_of(("evaluation", "sets", "2024")) == "dataset"


BASE: dict[str, Any] = {
    "prompts": {"playground": 8},
    "model": {"path": "playground"},
    "reward": {"kind": "mock"},
    "evolving": {"evolver": {"kind": "playground"}},
}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"prompts": {"path": "/etc/passwd"}}, "EVA_DATASETS allows mine"),
        ({"prompts": {"path": "/data/mine.jsonl"}}, "prompts.path"),
        ({"prompts": {"dataset": "someone/else"}}, "prompts.dataset"),
        ({"evaluation": {"sets": {"a": "../secret.txt"}}}, "evaluation.sets.a"),
        ({"novelty": {"protected": ["/etc/shadow"]}}, "novelty.protected.0"),
        ({"novelty": {"checks": ["os:system"]}}, "EVA_FUNCTIONS allows mine.rules:check"),
        ({"model": {"path": "/models/tiny"}}, "model.path"),
        ({"model": {"path": "tiny", "revision": "refs/pr/1"}}, "model.revision 'refs/pr/1' (cannot be set"),
        ({"model": {"path": "playground", "chat_template": "/etc/passwd"}}, "model.chat_template"),
        ({"reward": {"kind": "verifier", "function": "os:system"}}, "reward.function"),
        ({"reward": {"kind": "pointwise", "model": "https://evil"}}, "reward.model"),
        ({"reward": {"kind": "pointwise", "model": "tiny", "trust_remote_code": True}}, "reward.trust_remote_code"),
        (
            {
                "evolving": {
                    "evolver": {"kind": "evol_instruct", "model": "judge", "api_base": "http://169.254.169.254"}
                }
            },
            "evolver.api_base",
        ),
        (
            {
                "evolving": {
                    "evolver": {"kind": "evol_instruct", "model": "judge", "api_key_env": "AWS_SECRET_ACCESS_KEY"}
                }
            },
            "EVA_SECRETS allows JUDGE_KEY",
        ),
        ({"informativeness": {"metric": "os:getcwd"}}, "informativeness.metric"),
        ({"checkpoints": {"store": "s3://other/place"}}, "EVA_STORES allows team"),
        ({"checkpoints": {"store": "/etc"}}, "checkpoints.store"),
    ],
)
def test_a_value_that_is_not_on_the_allowlist_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(NotAllowedError, match=r"docs/security\.md") as refused:
        admit(validate(BASE | changes), ALLOWED)
    assert told in str(refused.value) and refused.value.status == 403


def test_names_are_replaced_by_the_values_they_stand_for() -> None:
    config = admit(
        validate(
            BASE
            | {
                "prompts": {"path": "mine"},
                "model": {"path": "tiny"},
                "reward": {"kind": "verifier", "function": "mine.rules:check"},
                "evolving": {
                    "evolver": {
                        "kind": "evol_instruct",
                        "model": "judge",
                        "api_base": "local",
                        "api_key_env": "JUDGE_KEY",
                    }
                },
                "evaluation": {"sets": {"held": "mine"}, "baseline": {"held": "initial"}},
            }
        ),
        ALLOWED,
    )
    values = config.model_dump()
    assert (values["prompts"]["path"], values["model"]["path"]) == ("/data/mine.jsonl", "/models/tiny")
    assert values["evaluation"]["sets"] == {"held": "/data/mine.jsonl"}
    assert values["evolving"]["evolver"]["model"] == "openai/gpt-4o-mini"
    assert values["evolving"]["evolver"]["api_base"] == "http://10.0.0.1:8000/v1"


@pytest.mark.parametrize("name", presets())
def test_a_preset_is_admitted_with_its_own_values_and_no_others(name: str) -> None:
    preset = validate(preset_values(name))
    assert admit(preset, Allowlist(), preset) == preset
    with pytest.raises(NotAllowedError):
        admit(config_from_values(preset_values(name), ["model.path=/elsewhere"]), Allowlist(), preset)


@pytest.mark.parametrize("given", ["tiny", "=x", "tiny=", "a/b=/c"])
def test_a_malformed_allowlist_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="EVA_MODELS"):
        read_allowlist({"EVA_MODELS": given})


@pytest.mark.parametrize("given", ["0", "-1", "many", "1.5"])
def test_an_invalid_limit_of_runs_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVA_CONCURRENT_RUNS", given)
    with pytest.raises(ConfigError, match="EVA_CONCURRENT_RUNS"):
        read_settings()
