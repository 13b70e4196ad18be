from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eva.settings import Settings
from store.game import batches, prompts
from store.session import Store
from tests.support.cli_fixtures import Command, Played
from tests.support.played_run import play_run, playground_config

ROOT = Path(__file__).parents[3]


def replayed(eva: Command, *arguments: object) -> dict[str, Any]:
    shown = eva("replay", *map(str, arguments), "--json")
    assert shown.exit_code == 0, shown.stderr
    return json.loads(shown.stdout)


def test_the_same_settings_give_the_stored_draw_bit_for_bit(played: Played) -> None:
    facts = replayed(played.eva, played.name)
    assert facts["stored"] == facts["replayed"]
    assert [one["iteration"] for one in facts["iterations"]] == [1, 2]
    for one in facts["iterations"]:
        assert one["identical"] and one["overlap"] == 1.0 and one["chosen"]["then"] == 12
        assert one["only_now"] == one["only_then"] == []
        assert one["regret_share"]["now"] == one["regret_share"]["then"]


@pytest.mark.parametrize(
    "changes",
    [
        ["info_from=reuse", "pool=archive", "sampling.staleness=0.3", "sampling.sampler=stratified"],
        [
            "informativeness.metric=mean",
            "sampling.weights=rank",
            "sampling.temperature=0.5",
            "pairs.choice=length_controlled",
            "pairs.length_ratio=2",
        ],
    ],
)
def test_a_run_with_other_settings_is_replayed_bit_for_bit_too(
    store: Store, store_settings: Settings, eva: Command, changes: list[str]
) -> None:
    play_run(store, store_settings, playground_config("prompts.playground=24", "evaluation.playground=4", *changes))
    facts = replayed(eva, "last")
    assert len(facts["iterations"]) == 2 and all(one["identical"] for one in facts["iterations"])
    other = replayed(eva, "last", "--seed", 8)
    assert not any(one["identical"] for one in other["iterations"])


def test_another_setting_is_compared_with_what_was_chosen(played: Played) -> None:
    (one,) = replayed(played.eva, played.name, "--iteration", 2, "--sampler", "greedy")["iterations"]
    with played.store.transaction() as conn:
        rows = batches.read_estimates(conn, played.run_id, 2)
        pool = {prompt.number: prompt for prompt in prompts.read_prompts(conn, played.run_id)}
    info = {row.prompt: row.info or 0.0 for row in rows}
    then = {row.prompt for row in rows if row.sampled}
    top = sum(sorted(info.values())[-12:])
    assert one["regret_share"]["now"] == pytest.approx(top / sum(info.values()))
    assert one["regret_share"]["then"] == pytest.approx(sum(info[number] for number in then) / sum(info.values()))
    assert one["regret_share"]["now"] > one["regret_share"]["then"]
    both = one["chosen"]["both"]
    assert one["overlap"] == both / 12 and len(one["only_now"]) == min(3, 12 - both)
    assert one["overlap_by_chance"] == 12 / len(rows)
    for counted in (one["operators"], one["topics"]):
        assert [sum(kind[name] for kind in counted.values()) for name in ("pool", "then", "now")] == [len(rows), 12, 12]
    for kind, counts in one["operators"].items():
        assert counts["then"] == sum((pool[number].operator or "seed") == kind for number in then)
    for prompt in one["only_now"]:
        assert prompt["number"] not in then and prompt["text"] == pool[prompt["number"]].text
        assert prompt["info"] == pytest.approx(info[prompt["number"]])


@pytest.mark.parametrize(
    "options",
    [
        ["--metric", "a_avg"],
        ["--metric", "learnability", "--threshold", "0.5"],
        ["--metric", "uniform"],
        ["--weights", "softmax", "--temperature", "0.1"],
        ["--fraction", "0.5"],
    ],
)
def test_every_option_changes_what_it_names_and_no_more(played: Played, options: list[str]) -> None:
    facts = replayed(played.eva, played.name, *options)
    changed = {name: value for name, value in facts["replayed"].items() if value != facts["stored"][name]}
    assert {f"--{name}": str(value) for name, value in changed.items()} == dict(
        zip(options[::2], options[1::2], strict=True)
    )
    assert all(np.isfinite(one["regret_share"]["now"]) for one in facts["iterations"])


def test_a_replay_reads_and_changes_nothing(played: Played) -> None:
    def stored() -> list[Any]:
        with played.store.transaction() as conn:
            return [batches.read_estimates(conn, played.run_id, iteration) for iteration in (1, 2)]

    before = stored()
    replayed(played.eva, played.name, "--metric", "variance", "--seed", 1)
    assert stored() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--iteration", "0"], "sampled no prompts in iteration 0"),
        (["--metric", "amin"], "did you mean 'a_min'"),
        (["--metric", "learnability"], "needs a threshold"),
        (["--temperature", "2"], "weights minmax do not use one"),
        (["--staleness", "0.2"], "info_from fresh"),
        (["--metric", "no_such_module:metric"], "no_such_module"),
    ],
)
def test_an_impossible_replay_is_refused_with_a_reason(played: Played, options: list[str], message: str) -> None:
    shown = played.eva("replay", played.name, *options)
    assert shown.exit_code not in (0, 1) and message in shown.stderr and "Traceback" not in shown.stderr


@pytest.mark.parametrize("width", [60, 100])
def test_the_view_says_what_changed_and_what_came_of_it(played: Played, width: int) -> None:
    shown = played.eva("replay", played.name, "--metric", "variance", env={"COLUMNS": str(width)})
    assert shown.exit_code == 0, shown.stderr
    for part in ("metric a_min -> variance", "Iteration 1", "Iteration 2", "overlap", "by chance", "operator"):
        assert part in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= width
    assert "bit for bit" in played.eva("replay", played.name).stdout


def test_a_replay_loads_no_heavy_package(played: Played) -> None:
    heavy = ("torch", "vllm", "trl", "litellm", "distilabel", "transformers", "ray")
    code = (
        f"import sys; from cli.main import eva; eva(['replay', {played.name!r}, '--json'], standalone_mode=False)\n"
        f"print('loaded', *(name for name in {heavy} if name in sys.modules), file=sys.stderr)"
    )
    environment = {
        **os.environ,
        "EVA_DATA_DIR": str(played.settings.data_dir),
        "EVA_DATABASE_URL": played.settings.database_url or "",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env=environment
    )
    assert json.loads(done.stdout)["run"] == played.name
    assert done.stderr.splitlines()[-1] == "loaded"
