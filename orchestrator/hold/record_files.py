"""The files of a run's token records: written before their responses are stored, deleted when nothing needs them.

A file has its driver's fence in its name. The manifest names it in the transaction that stores the texts of its
responses, so a file that it does not name was left by a driver that ended in between. Only newer drivers remove it.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from sqlalchemy import Connection

from eva.config import RunConfig
from eva.runtime.atomic_files import sync_to_disk, whole_file
from eva.runtime.failpoints import reach
from eva.runtime.full_disk import full_disk_errors
from eva.solver.token_record import FOLDER, RecordFile, TokenRecord, encode_records
from eva.types import Player
from orchestrator.hold.claimed_run import ClaimedRun
from store.runs import runs, token_files

_NAME = re.compile(r"\.?([0-9]+)-[0-9]+\.parquet.*")
"""A file's name, or its temporary name."""

log = logging.getLogger(__name__)


def write_record_file(
    run: ClaimedRun,
    iteration: int,
    records: Sequence[TokenRecord],
    *,
    total_s: float | None = None,
    player: Player = "solver",
    hurry: threading.Event | None = None,
) -> RecordFile:
    """Writes token records as one file, which is complete and on the disk when this returns.

    Raises DiskFullError when the disk is still full after `total_s` seconds (None: as long as for the database), or
    seconds after `hurry` was set.
    """
    raw = encode_records(records)
    fence, serial = run.lease.fence.fence, next(run.serials)
    digest = hashlib.sha256(raw).hexdigest()
    file = RecordFile(iteration, fence, serial, len(records), len(raw), digest, player=player)
    path = run.folder / file.path

    def write() -> None:
        with full_disk_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as opened:
                opened.write(raw)
                reach("tokens.file_unnamed")
            sync_to_disk(path.parent)

    replace(run.retry, hurry=hurry).call(write, total_s=total_s)
    reach("tokens.file_written")
    return file


def tidy_record_files(run: ClaimedRun) -> None:
    """Deletes the records of iterations that no longer need them, and files that no manifest names.

    Call it while no stage is open. A file that cannot be deleted is tried again the next time.
    """
    folder = run.folder / FOLDER
    if not folder.is_dir():
        return

    def mark(conn: Connection) -> None:
        unneeded = unneeded_iterations(run.config, runs.get_run(conn, run.id).iteration)
        token_files.mark_token_files_pruned(conn, run.id, unneeded)
        reach("tokens.prune.before_commit")

    run.write(mark)
    reach("tokens.prune.after_commit")
    files = run.read(lambda conn: token_files.read_token_files(conn, run.id, player=None))
    kept = {run.folder / file.path for file in files if not file.pruned}
    for path in folder.glob("*/*"):
        match = _NAME.fullmatch(path.name)
        if match is not None and int(match[1]) <= run.lease.fence.fence and path not in kept:
            try:
                path.unlink()
            except OSError as error:
                run.listener.on_message(f"a file of token records that nothing needs could not be deleted: {error}")
    for iteration in folder.iterdir():
        with suppress(OSError):  # it is not empty
            iteration.rmdir()


def unneeded_iterations(config: RunConfig, iteration: int) -> range:
    """Returns the finished iterations whose token records are to be deleted; `iteration` is the first unfinished."""
    keep = config.rollouts.keep
    if keep == "all":
        return range(0)
    return range(max(0, iteration - (0 if keep == "needed" else keep)))
