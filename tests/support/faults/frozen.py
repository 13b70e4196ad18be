"""A driver process that freezes itself at a failpoint, and wakes up after its lease was taken.

    python -m tests.support.faults.frozen RUN FOLDER BELIEF     (EVA_DATABASE_URL, and EVA_FAILPOINTS with a `stop`)

BELIEF says what tells the driver that it has lost its lease. `real`: the driver as it is. `deaf`: its lease's thread
never notices, so only the check in every write protects the run. `unfenced`: that check is off, too, so the damage that
this driver does shows what the check is worth.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from eva.errors import EvaError
from eva.settings import Settings, read_settings
from orchestrator.driver import drive
from orchestrator.watch.listener import NoListener
from store.runs import leases, runs
from store.session import open_store
from tests.support.drive_on_fakes import SlowGenerator
from tests.support.fakes import always, fake_roles


def believe(*anything: Any, **more: Any) -> bool:
    return True


def main(name: str, folder: str, belief: str) -> None:
    if belief in ("deaf", "unfenced"):
        leases.renew = believe
    if belief == "unfenced":
        leases.begin_write = believe
    store = open_store(read_settings(), migrate=False)
    with store.transaction() as conn:
        run = runs.find_run(conn, name)
    try:
        drive(
            store,
            Settings(Path(folder), None, None),
            run,
            NoListener(),
            ttl_s=1.5,
            build=always(fake_roles(generator=SlowGenerator())),
        )
    except EvaError as error:
        print(f"{type(error).__name__}: {error}")  # noqa: T201 - what the test reads
    finally:
        store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
