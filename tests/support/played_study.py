"""A study for tests: small playground runs with a fake solver, one of them failed, and two arms that are the same."""

from __future__ import annotations

from dataclasses import dataclass

from eva.config.files import load_config
from eva.settings import Settings
from store.rows import RunRow
from store.runs import runs, studies
from store.session import Store
from tests.support.played_run import play_run, playground_config

NAME, FIGURE = "iterations", "heldout.hard.sampled.accuracy"
ARMS = {"two": {}, "one": {"iterations": 1}, "again": {"generation.stream": 1}}
SEEDS = 3
CONFIG = {
    "name": NAME,
    "question": "Is a second iteration worth its responses?",
    "base": load_config("playground").model_dump(mode="json"),
    "arms": ARMS,
    "seeds": SEEDS,
    "models": ["playground"],
    "outcome": {"figure": FIGURE, "better": "higher", "equivalent_within": 0.01},
}


@dataclass(frozen=True)
class PlayedStudy:
    """The study's runs by arm and seed. The last one, arm again on seed 2, has failed."""

    runs: dict[tuple[str, int], RunRow]


def play_study_on_fakes(store: Store, settings: Settings) -> PlayedStudy:
    """Plays 3 arms on 3 seeds and stores them as a study."""
    with store.transaction() as conn:
        study = studies.create_study(conn, NAME, CONFIG, "hash")
    played: dict[tuple[str, int], RunRow] = {}
    for seed in range(SEEDS):
        for arm in ARMS:
            # the fakes know no streams: a repeated arm has other draws because its runs have another seed
            config = playground_config(
                "prompts.playground=12",
                "evaluation.playground=8",
                f"iterations={1 if arm == 'one' else 2}",
                f"seed={seed + (100 if arm == 'again' else 0)}",
                f"name={NAME}.{arm}.s{seed}",
            )
            run = play_run(store, settings, config)
            with store.transaction() as conn:
                studies.add_run(conn, study.id, seed=seed, model="playground", arm=arm, shared=False, run_id=run.id)
                if (arm, seed) == ("again", SEEDS - 1):
                    runs.set_status(conn, run.id, "failed", "an engine died")
                played[arm, seed] = runs.get_run(conn, run.id)
    return PlayedStudy(played)
