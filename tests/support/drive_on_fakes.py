"""A driver process that a test can kill: plays a run on fakes, slowly enough to be hit in the middle.

python -m tests.support.drive_on_fakes RUN FOLDER      (EVA_DATABASE_URL names the database)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from eva.settings import Settings, read_settings
from eva.types import PromptResponses, Request
from orchestrator.driver import drive
from orchestrator.watch.listener import NoListener
from store.runs import runs
from store.session import open_store
from tests.support.fakes import FakeGenerator, always, fake_roles


class SlowGenerator(FakeGenerator):
    def generate(self, requests: Iterable[Request]) -> Iterator[PromptResponses]:
        for answered in super().generate(requests):
            time.sleep(0.01)
            yield answered


def main(name: str, folder: str) -> None:
    store = open_store(read_settings(), migrate=False)
    with store.transaction() as conn:
        run = runs.find_run(conn, name)
    drive(
        store,
        Settings(Path(folder), None, None),
        run,
        NoListener(),
        build=always(fake_roles(generator=SlowGenerator())),
    )
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
