"""Writes the requested exports, one at a time, in a thread of the service.

Every request is a row, so the next service continues where this one ends. A writer that died is noticed when its claim
expires. A file gets its name only when it is complete.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection

from eva.errors import EvaError, StoreError
from eva.runtime.atomic_files import whole_file
from eva.settings import Settings
from store.runs import export_jobs
from store.runs.export_jobs import ExportRow
from store.session import Store, begin_snapshot
from store.views.exports import write_export

POLL_S = 10.0
RENEW_S = 15.0

log = logging.getLogger(__name__)


class StoppedError(Exception):
    """The service is ending during an export."""


class ExportWriter:
    """A thread that writes exports. `start` and `stop` it with the service, `wake` it when there is a new one."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._woken, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="exports", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stops the thread soon. The next service writes an unfinished export again."""
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def wake(self) -> None:
        """Tells the thread that there is a new export."""
        self._woken.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._tidy()
                while not self._stopping.is_set() and self._write_one():
                    pass
            except StoreError as error:
                log.warning("exports wait: %s", error)
            self._woken.wait(POLL_S)
            self._woken.clear()

    def _write_one(self) -> bool:
        with self._store.transaction() as conn:
            claimed = export_jobs.claim_export(conn)
        if claimed is None:
            return False
        try:
            rows, size = self._write(claimed)
        except StoppedError:
            self._tell(lambda conn: export_jobs.release_claim(conn, claimed.id))
        except StoreError:
            raise
        except EvaError as error:
            message = str(error)
            self._tell(lambda conn: export_jobs.finish_export(conn, claimed.id, error=message))
        except Exception:
            log.exception("export %d failed", claimed.id)
            self._tell(
                lambda conn: export_jobs.finish_export(
                    conn, claimed.id, error="the service failed to write this export; its log says why"
                )
            )
        else:
            self._tell(lambda conn: export_jobs.finish_export(conn, claimed.id, rows=rows, size=size))
        return True

    def _tell(self, change: Callable[[Connection], None]) -> None:
        with self._store.transaction() as conn:
            change(conn)

    def _tidy(self) -> None:
        with self._store.transaction() as conn:
            expired = export_jobs.delete_expired(conn)
        for export in expired:
            file_of(self._settings, export).unlink(missing_ok=True)

    def _write(self, export: ExportRow) -> tuple[int, int]:
        path = file_of(self._settings, export)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file, self._store.transaction() as conn:
            begin_snapshot(conn)
            rows = write_export(
                conn,
                export.run_id,
                export.kind,
                export.format,
                file,
                self._passing(export),
                runs_dir=self._settings.runs_dir,
            )
        return rows, path.stat().st_size

    def _passing(self, export: ExportRow) -> Callable[[], None]:
        """A function to call for every row: it stops with the service, and renews the claim."""
        renewed = time.monotonic()

        def passing() -> None:
            nonlocal renewed
            if self._stopping.is_set():
                raise StoppedError
            if time.monotonic() - renewed > RENEW_S:
                renewed = time.monotonic()
                self._tell(lambda conn: export_jobs.renew_claim(conn, export.id))

        return passing


def file_of(settings: Settings, export: ExportRow) -> Path:
    """The path of an export's file, on the machine of the service that wrote it."""
    return settings.data_dir / "exports" / f"{export.id}.{export.format}"
