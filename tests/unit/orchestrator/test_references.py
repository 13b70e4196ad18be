"""Reference answers in the whole game: from the file and from the creator, to the rewarders and to the pages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from eva.config import CopyEvolver
from eva.errors import PromptFileError
from eva.settings import Settings
from eva.types import Mutation, PromptResponses, Reply, RewardedResponses
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.game import prompts
from store.rows import RunRow
from store.runs import runs
from store.session import Store
from store.views.exports import iter_heldout, iter_prompts
from tests.support.decisions import fingerprint_of
from tests.support.fakes import (
    Died,
    FakeEvolver,
    FakeGenerator,
    FakeRewarder,
    Recorder,
    always,
    fake_config,
    fake_roles,
)
from tests.support.service_fixtures import Served
from workers.evolvers.mechanical import PromptCopier


class Knowing(FakeEvolver):
    """An evolver that knows the answer to every other child."""

    def evolve(self, mutation: Mutation) -> Reply:
        reply = super().evolve(mutation)
        return replace(reply, reference=f"answer {mutation.seed % 97}") if mutation.seed % 2 else reply


@dataclass
class Seeing(FakeRewarder):
    """Keeps the reference answer that it saw with each prompt."""

    seen: dict[str, str | None] = field(default_factory=dict)

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        for rewarded in super().reward(prompts):
            self.seen[rewarded.prompt.text] = rewarded.prompt.reference
            yield rewarded


def config(folder: Path, **changes: Any) -> Any:
    rows = [{"prompt": f"What is {n} and {n}?", "answer": 2 * n if n % 4 else None} for n in range(12)]
    for name in ("seeds", "held"):
        text = "".join(json.dumps(row | {"prompt": f"{name}: {row['prompt']}"}) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)
    return fake_config(
        iterations=2,
        prompts={"path": str(folder / "seeds.jsonl"), "reference_field": "answer"},
        evaluation={"sets": {"sums": str(folder / "held.jsonl")}, "reference_field": "answer"},
        **changes,
    )


def play(store: Store, folder: Path, run: RunRow, **roles: Any) -> None:
    with store.transaction() as conn:
        run = runs.get_run(conn, run.id)
    settings = Settings(data_dir=folder, database_url=None, ray_address=None)
    drive(store, settings, run, Recorder(), build=always(fake_roles(evolver=Knowing(), **roles)), ttl_s=2.0)


def test_rewarders_see_the_references_of_seeds_held_out_prompts_and_children(
    store: Store, tmp_path: Path, served: Served
) -> None:
    run = register_run(store, config(tmp_path))
    rewarder, evaluator = Seeing(), Seeing()
    play(store, tmp_path, run, rewarder=rewarder, evaluator=evaluator)
    with store.transaction() as conn:
        stored = prompts.read_prompts(conn, run.id)
    expected = {prompt.text: prompt.reference for prompt in stored}
    assert rewarder.seen and rewarder.seen == {text: expected[text] for text in rewarder.seen}
    assert [prompt.reference for prompt in stored[:6]] == [None, "2", "4", "6", None, "10"]
    children = [prompt for prompt in stored if prompt.parent is not None]
    assert {prompt.reference is None for prompt in children} == {True, False}
    assert {text: reference for text, reference in evaluator.seen.items() if "3 and 3" in text} == {
        "held: What is 3 and 3?": "6"
    }
    child = next(prompt for prompt in children if prompt.reference is not None)
    page = served.client.get(f"/v1/runs/{run.name}/prompts/{child.number}").json()
    assert page["reference"] == child.reference
    listed = served.client.get(f"/v1/runs/{run.name}/prompts", params={"born": -1}).json()["items"]
    assert [prompt["reference"] for prompt in listed] == [prompt.reference for prompt in stored[:12]]
    held = served.client.get(f"/v1/runs/{run.name}/heldout").json()["items"]
    assert [prompt["reference"] for prompt in held[:3]] == [None, "2", "4"]
    with store.transaction() as conn:
        exported = [row["reference"] for row in iter_prompts(conn, run.id)]
        answers = {row["prompt"]: row["reference"] for row in iter_heldout(conn, run.id)}
    assert exported == [prompt.reference for prompt in stored]
    assert answers["held: What is 3 and 3?"] == "6" and answers["held: What is 4 and 4?"] is None


def test_a_killed_run_gives_its_children_the_same_references(store: Store, tmp_path: Path) -> None:
    calm, killed = (register_run(store, config(tmp_path)) for _ in range(2))
    play(store, tmp_path, calm)
    with pytest.raises(Died):
        play(store, tmp_path, killed, generator=FakeGenerator(die_after=95))
    play(store, tmp_path, killed)
    assert fingerprint_of(store, calm).digest == fingerprint_of(store, killed).digest
    assert "references" in {part.part for part in fingerprint_of(store, calm).parts}


def test_copies_keep_the_reference_of_what_they_copy(store: Store, tmp_path: Path) -> None:
    run = register_run(store, config(tmp_path, evolving={"evolver": {"kind": "copy"}}))
    settings = Settings(data_dir=tmp_path, database_url=None, ray_address=None)
    drive(
        store,
        settings,
        run,
        Recorder(),
        build=always(fake_roles(evolver=PromptCopier(CopyEvolver(kind="copy")))),
        ttl_s=2.0,
    )
    with store.transaction() as conn:
        stored = {prompt.number: prompt for prompt in prompts.read_prompts(conn, run.id)}
    copies = [prompt for prompt in stored.values() if prompt.parent is not None]
    assert copies and all(copy.reference == stored[copy.root].reference for copy in copies)


@pytest.mark.parametrize("key", ["prompts", "evaluation"])
def test_a_field_that_no_row_has_is_refused_with_the_others(tmp_path: Path, store: Store, key: str) -> None:
    asked = config(tmp_path)
    section = getattr(asked, key).model_copy(update={"reference_field": "anwser"})
    with pytest.raises(PromptFileError, match=f"{key}.reference_field is 'anwser'.*'answer'"):
        register_run(store, asked.model_copy(update={key: section}))
