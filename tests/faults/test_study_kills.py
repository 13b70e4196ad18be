"""A study that is killed at random ends with the runs that an undisturbed one has."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from sqlalchemy import make_url

from eva.runtime.failpoints import VARIABLE
from store.postgres.embedded import EmbeddedServer
from store.runs import runs, studies
from store.session import Store
from tests.support.decisions import fingerprint_of
from tests.support.store_fixtures import fresh_database
from tests.support.structure import ROOT
from tests.support.study_on_fakes import fake_study, play_on_fakes

KILLS = 5
REACHED = 120
"""Fewer points than a study of the fakes reaches, so that a kill at one of them hits it in the middle."""


def fingerprints(store: Store) -> dict[tuple[int, str, bool], object]:
    with store.transaction() as conn:
        rows = studies.study_runs_of(conn, studies.find_study(conn, "fakes").id)
        found = {(row.seed, row.arm, row.shared): runs.get_run(conn, row.run_id) for row in rows}
    return {place: fingerprint_of(store, run) for place, run in found.items()}


def test_a_study_killed_at_random_five_times_ends_with_the_same_fingerprints(
    store: Store, postgres: EmbeddedServer, tmp_path: Path
) -> None:
    play_on_fakes(store, fake_study(), tmp_path / "undisturbed")
    rng, codes = random.Random(14), list[int]()
    with fresh_database(postgres) as url:
        command = [sys.executable, "-m", "tests.support.study_on_fakes", str(tmp_path / "killed")]
        for kill in [*(rng.randrange(1, REACHED) for _ in range(KILLS)), None]:
            environment = os.environ | {"EVA_DATABASE_URL": url}
            if kill is not None:
                environment[VARIABLE] = f"*=kill@{kill}"
            codes.append(subprocess.run(command, env=environment, cwd=ROOT, timeout=300).returncode)
        killed = Store(make_url(url).set(drivername="postgresql+psycopg"))
        try:
            assert codes == [-signal.SIGKILL] * KILLS + [0]
            assert fingerprints(killed) == fingerprints(store)
            assert len(fingerprints(killed)) == 6
        finally:
            killed.close()
