"""The whole game with every real part: Ray, vLLM, TRL, Postgres, the loop, and a policy that learns."""

import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eva.config import RunConfig
from eva.config.files import load_config, validate
from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.game import checkpoints, prompts, responses
from store.game.pairs import read_pairs
from store.rows import RunRow
from store.runs import runs
from store.session import Store
from store.views import statistics
from store.views.report import heldout_scores
from tests.support import tiny_models
from tests.support.decisions import read_batch
from tests.support.fakes import Recorder
from tests.support.openai_server import OpenAIServer
from workers.models.embedding import LocalEmbedder
from workers.training.checkpoints import verify

pytestmark = pytest.mark.usefixtures("ray_cluster")

ALIKE = 0.99
SMALL = ["prompts.playground=96", "iterations=2", "evaluation.playground=40"]


def play(store: Store, folder: Path, config: RunConfig) -> RunRow:
    run = register_run(store, config)
    drive(store, Settings(folder, None, None), run, Recorder())
    return run


def correct(store: Store, run: RunRow) -> dict[tuple[str, str], list[int]]:
    """(split, mode): correct responses of each checkpoint in turn."""
    with store.transaction() as conn:
        rows = heldout_scores(conn, run.id, 1.0)
    return {
        (split, mode): [row.correct for row in rows if (row.split, row.mode) == (split, mode)]
        for split in ("easy", "medium", "hard")
        for mode in ("greedy", "sampled")
    }


def test_self_play_teaches_the_playgrounds_policy_and_every_checkpoint_is_proven(store: Store, tmp_path: Path) -> None:
    run = play(store, tmp_path, load_config("playground", SMALL))
    accuracy = correct(store, run)
    assert accuracy["easy", "greedy"][0] >= 36 and accuracy["hard", "greedy"][0] <= 10
    assert accuracy["medium", "greedy"][-1] >= accuracy["medium", "greedy"][0] + 8
    with store.transaction() as conn:
        policies = checkpoints.read_checkpoints(conn, run.id)
        steps = checkpoints.read_training_steps(conn, run.id, 1)
        children = prompts.read_numbers_born(conn, run.id, 1, 1)
        pairs = read_pairs(conn, run.id, 1)
        batch = read_batch(conn, run.id, 1)
    assert [policy.number for policy in policies] == [0, 1, 2] and len({policy.digest for policy in policies}) == 3
    for policy in policies:
        verify(tmp_path / "runs" / policy.path, policy.digest)
    assert steps[0].values["loss"] == pytest.approx(0.6931, abs=1e-3), "the policy starts as its own reference"
    assert steps[-1].values["rewards/margins"] > steps[0].values["rewards/margins"]
    assert len(children) > 60 and len(pairs) > 30 and len(batch) == 96


def test_without_the_training_stage_the_held_out_accuracy_stays_flat(store: Store, tmp_path: Path) -> None:
    run = play(store, tmp_path, load_config("playground", [*SMALL, "prompts.playground=32", "training.enabled=false"]))
    for key, counts in correct(store, run).items():
        assert len(counts) == 3 and len(set(counts)) == 1, key


def grade(prompt: str, response: str) -> float:
    """A user's verifier: the share of letters among the characters."""
    return sum(character.isalpha() for character in response) / max(1, len(response))


@pytest.fixture
def user_prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    rows = [{"instruction": f"Write {number} words about rain."} for number in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def evolver() -> Iterator[OpenAIServer]:
    def reply(body: dict[str, Any]) -> str:
        return f"Write of snow, {zlib.crc32(body['messages'][-1]['content'].encode())} lines, with care."

    with OpenAIServer(reply) as server:
        yield server


@pytest.fixture
def beside(tmp_path: Path) -> dict[str, Any]:
    """What a run may have beside the game itself: meanings, a baseline, a second rewarder that looks at both."""
    questions = [f"How many drops has cloud {number}?" for number in range(6)]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in questions))
    (tmp_path / "answers.json").write_text(
        json.dumps([{"instruction": text, "output": f"{place} 1/2"} for place, text in enumerate(questions)])
    )
    encoder = tiny_models.sentence_encoder(tmp_path / "encoder")
    return {
        "novelty": {"embedding_model": str(encoder), "semantic_similarity": ALIKE},
        "evaluation": {
            "sets": {"asked": str(tmp_path / "asked.jsonl")},
            "judges_own": ["asked"],
            "baseline": {"asked": str(tmp_path / "answers.json")},
        },
        "audit": {"reward": {"kind": "mock"}, "prompts": 4},
    }


def require_beside(store: Store, run: RunRow, folder: Path) -> None:
    """Every policy was compared, by both rewarders; no child means what an earlier prompt means."""
    with store.transaction() as conn:
        by_iteration = statistics.get_statistics(conn, run.id, "win_rates")
        audited = statistics.get_statistics(conn, run.id, "audit")
        members = prompts.read_prompts(conn, run.id)
    assert sorted(by_iteration) == [-1, 0, 1] and sorted(audited) == [0, 1]
    for figures in (by_set["asked"] for by_set in by_iteration.values()):
        assert figures["prompts"] == 6 and figures["self_preference"]["prompts"] == 6
        assert figures["baseline_length"] == 5 and figures["arena"]
    assert all(audit["second"]["prompts"] == 4 for audit in audited.values())
    vectors = LocalEmbedder(str(folder / "encoder")).embed([member.text for member in members])
    units = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    closest = np.tril(units @ units.T, -1).max(axis=1)
    assert all(closest[member.number] < ALIKE + 1e-3 for member in members if member.born >= 0)


@pytest.mark.parametrize(
    ("make", "chat_template"), [(tiny_models.llama, True), (tiny_models.qwen3, False), (tiny_models.gemma2, True)]
)
def test_a_users_model_prompts_verifier_and_evolving_service_play_together(
    store: Store,
    tmp_path: Path,
    user_prompts: Path,
    evolver: OpenAIServer,
    make: Callable[..., Path],
    chat_template: bool,
    beside: dict[str, Any],
) -> None:
    model = make(tmp_path / "model", chat_template=chat_template)
    more = beside if make is tiny_models.llama else {}
    config = validate(
        more
        | {
            "name": "mine",
            "iterations": 2,
            "prompts": {"path": str(user_prompts)},
            "model": {"path": str(model), "template": "chat" if chat_template else "none"},
            "generation": {"n": 3, "max_tokens": 12, "temperature": 1.0, "keep_cut": True},
            "reward": {"kind": "verifier", "function": "tests.integration.orchestrator.test_game:grade"},
            "evolving": {"evolver": {"kind": "evol_instruct", "model": "openai/any", "api_base": evolver.api_base}},
            "training": {"learning_rate": 1e-3, "batch": 4, "epochs": 1, "max_length": 200},
            "fleet": {"cpu_cache_gb": 0.5},
        }
    )
    run = play(store, tmp_path, config)
    with store.transaction() as conn:
        row = runs.get_run(conn, run.id)
        answered = responses.read_responses(conn, run.id, 1, list(range(row.prompt_count)))
        policies = checkpoints.read_checkpoints(conn, run.id)
        pairs = [read_pairs(conn, run.id, iteration) for iteration in (0, 1)]
    assert row.status == "finished" and row.prompt_count > (8 if more else 12)
    if more:
        require_beside(store, run, tmp_path)
    assert all(len(one.responses) == 3 for one in answered) and len(answered) >= 8
    assert len({policy.digest for policy in policies}) == 3 and all(len(found) >= 4 for found in pairs)
