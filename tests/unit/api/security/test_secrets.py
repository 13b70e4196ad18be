"""A run with secrets in its config and environment, whose parts fail and quote them: nothing that eva shows has one."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from api.main import bare_app
from api.service import Service
from cli.terminal.log_file import chatter_to
from eva.config import RunConfig
from eva.config.files import config_hash, validate
from eva.errors import EvolverError
from eva.runtime.redaction import secrets_of
from eva.settings import Settings
from eva.types import Mutation, Prompt, PromptResponses, Reply, Reward, RewardedResponses
from orchestrator.driver import drive
from orchestrator.launch.code_identity import code_identity
from orchestrator.watch.listener import NoListener
from store.game.prompts import insert_prompts
from store.runs import runs
from store.schema.tables import metadata
from store.session import Store
from tests.support.fakes import FakeEvolver, FakeRewarder, always, fake_config, fake_roles
from tests.support.service_fixtures import Served, serving

NAMED, GUESSED = "cAnArYnAmEd01", "cAnArYgUeSsEd02"
PASSWORD, IN_QUERY = "cAnArYpAsSwOrD03", "cAnArYqUeRy04"
BASE = f"https://eva:{PASSWORD}@judge.example/v1?key={IN_QUERY}"
QUOTED = f"POST {BASE} with Authorization: Bearer {NAMED} failed; tried {GUESSED}, {PASSWORD} and {IN_QUERY} too"


class TellingRewarder(FakeRewarder):
    """Gives no reward for the first prompt, and says why."""

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        for one in super().reward(prompts):
            telling = tuple(Reward(None, QUOTED) for _ in one.rewards)
            yield RewardedResponses(one.prompt, telling) if one.prompt.number == 0 else one


class TellingEvolver(FakeEvolver):
    def evolve(self, mutation: Mutation) -> Reply:
        logging.getLogger("client").error(QUOTED)
        raise EvolverError(QUOTED, next_move=f"Look at {BASE}")


@dataclass(frozen=True)
class Telling:
    served: Served
    name: str
    log: Path


@pytest.fixture
def telling(store: Store, store_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Telling]:
    """A failed run whose config names a variable, and whose api_base holds a password and a key."""
    monkeypatch.setenv("WHAT_THE_JUDGE_WANTS", NAMED)
    monkeypatch.setenv("SOME_API_KEY", GUESSED)
    config = _config()
    with store.transaction() as conn:
        run = runs.create_run(
            conn,
            stem="secret",
            config=config.model_dump(mode="json"),
            config_hash=config_hash(config),
            seed=1,
            code=code_identity(config),
        )
        insert_prompts(conn, run.id, [Prompt(number, f"prompt {number} of {number}") for number in range(24)])
    log = store_settings.logs_dir / run.name / "eva.log"
    roles = fake_roles(rewarder=TellingRewarder(), evolver=TellingEvolver())
    with chatter_to(log), pytest.raises(EvolverError):
        drive(store, store_settings, run, NoListener(), build=always(roles))
    with serving(Service(store, store_settings)) as started:
        yield Telling(started, run.name, log)


def _config() -> RunConfig:
    values = fake_config(iterations=2).model_dump(mode="json")
    values["evolving"]["evolver"] = {
        "kind": "evol_instruct",
        "model": "openai/x",
        "api_base": BASE,
        "api_key_env": "WHAT_THE_JUDGE_WANTS",
    }
    return validate(values)


def leaks(shown: str) -> list[str]:
    return [secret for secret in (NAMED, GUESSED, PASSWORD, IN_QUERY) if secret in shown]


def test_no_response_of_the_api_contains_a_secret(telling: Telling) -> None:
    client, answered = telling.served.client, 0
    for path, operations in bare_app().openapi()["paths"].items():
        if "get" not in operations:
            continue
        address = path.replace("{run}", telling.name).replace("{number}", "0").replace("{export}", "1")
        query = {"run": [telling.name, telling.name]} if path == "/v1/compare" else None
        answer = client.get(address, params=query)
        assert leaks(answer.text) == [], path
        answered += answer.status_code == 200
    assert answered > 18, "most paths answered"
    run = client.get(f"/v1/runs/{telling.name}").json()
    assert run["status"] == "failed" and "***" in run["error"]
    assert run["config"]["evolving"]["evolver"]["api_base"] == "https://***@judge.example/v1?key=***"
    assert run["config"]["evolving"]["evolver"]["api_key_env"] == "WHAT_THE_JUDGE_WANTS", "a name is no secret"


def test_a_refused_request_quotes_no_secret(telling: Telling) -> None:
    for query in ({"cursor": GUESSED}, {"limit": f"https://x:{PASSWORD}@y/"}, {"status": GUESSED}):
        answer = telling.served.client.get("/v1/runs", params=query)
        assert answer.status_code == 422 and leaks(answer.text) == []


def test_the_store_keeps_secrets_in_the_config_alone(telling: Telling) -> None:
    with telling.served.service.store.transaction() as conn:
        rows = {
            table: " ".join(conn.execute(text(f"SELECT t::text FROM {table} t")).scalars())  # noqa: S608 - ours
            for table in metadata.tables
        }
        config = runs.find_run(conn, telling.name).config
    assert leaks(rows.pop("runs")) == [PASSWORD, IN_QUERY]
    assert secrets_of(config, {}) == {PASSWORD, IN_QUERY}, "what the driver needs is whole"
    assert {table: leaks(found) for table, found in rows.items() if leaks(found)} == {}
    assert "judge.example" in rows["rewards"] and "judge.example" in rows["events"]


def test_the_log_holds_no_secret(telling: Telling) -> None:
    logged = telling.log.read_text()
    assert "judge.example" in logged
    assert json.dumps(leaks(logged)) == "[]"


def test_a_log_with_secrets_is_shown_without_them(telling: Telling) -> None:
    telling.log.write_text(f"printed by a library: {QUOTED}\nand the end\n")
    found = telling.served.client.get(f"/v1/runs/{telling.name}/logs").json()
    assert found["lines"][-1] == "and the end" and "***" in found["lines"][0]
    assert leaks(json.dumps(found)) == []
