"""The config of a run, compared with its parent's and with presets."""

from __future__ import annotations

from typing import Any

from eva.config.files import load_config
from orchestrator.launch.forks import fork_run, forked_config
from orchestrator.launch.registration import register_run
from store.session import Store
from tests.support.played_run import playground_config
from tests.support.service_fixtures import Served


def config_of(served: Served, name: str, **params: Any) -> Any:
    answer = served.client.get(f"/v1/runs/{name}/config", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_run_is_compared_with_the_preset_that_it_comes_from(served: Served, store: Store) -> None:
    run = register_run(store, load_config("playground", ["seed=7", "name=mine", "training.beta=0.2"]))
    found = config_of(served, run.name)
    assert found["against"] == "playground" and "parent" not in found["choices"]
    assert found["changes"] == [{"key": "training.beta", "before": 0.1, "after": 0.2}]
    assert "beta: 0.2" in found["text"]


def test_a_fork_is_compared_with_its_parent(served: Served, store: Store) -> None:
    parent = register_run(store, playground_config("prompts.playground=16"))
    fork = fork_run(store, parent, 0, forked_config(parent, 0, ["training.beta=0.4"]))
    found = config_of(served, fork.name)
    assert (found["against"], found["choices"][0]) == ("parent", "parent")
    assert found["changes"] == [{"key": "training.beta", "before": 0.1, "after": 0.4}]
    against = config_of(served, fork.name, against="playground")["changes"]
    assert {"training.beta", "prompts.playground"} <= {change["key"] for change in against}


def test_an_unknown_config_to_compare_with_is_refused(served: Served, store: Store) -> None:
    run = register_run(store, playground_config("prompts.playground=16"))
    refused = served.client.get(f"/v1/runs/{run.name}/config", params={"against": "parent"})
    assert refused.status_code == 422 and "playground" in refused.json()["expected"]
