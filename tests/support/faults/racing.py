"""A process that claims and releases a run on command.

python -m tests.support.faults.racing RUN     (needs EVA_DATABASE_URL; each line on standard input is a command)
"""

from __future__ import annotations

import sys
from contextlib import ExitStack

from eva.errors import LeaseTakenError
from eva.settings import read_settings
from orchestrator.hold.lease import claim
from store.runs import runs
from store.session import open_store


def main(name: str) -> None:
    store = open_store(read_settings(), migrate=False)
    with store.transaction() as conn:
        run = runs.find_run(conn, name)
    print("ready", flush=True)  # noqa: T201 - what the test reads
    with ExitStack() as held:
        for step in sys.stdin:
            if step.strip() == "release":
                held.close()
                print("released", flush=True)  # noqa: T201 - what the test reads
                continue
            try:
                lease = held.enter_context(claim(store, run))
                print(lease.fence.fence, flush=True)  # noqa: T201 - what the test reads
            except LeaseTakenError:
                print("taken", flush=True)  # noqa: T201 - what the test reads
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
