"""The embedded server: wherever its folder lies, whoever starts it, however its users end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from eva.errors import DiskFullError, StoreError
from store.postgres import embedded, programs
from store.postgres.embedded import SUPERUSER, EmbeddedServer
from store.postgres.programs import ProgramError, Programs, _installed_programs

ROOT = os.geteuid() == 0
"""Root starts the server as another user; an ordinary user as itself."""


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A cluster made once and stopped; tests start copies of it."""
    folder = Path(tempfile.mkdtemp(prefix="eva-cluster-")) / "postgres"
    EmbeddedServer(folder).close()
    yield folder
    shutil.rmtree(folder.parent)


@pytest.fixture
def folder(made: Path) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="eva-embedded-")) / "postgres"
    _copy(made, place)
    yield place
    _kill_what_is_left(place)
    shutil.rmtree(place.parent)


def _copy(made: Path, place: Path) -> None:
    shutil.copytree(made, place)
    owner = made.stat()
    place.chmod(0o700)
    for path in (place, *place.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)


def _kill_what_is_left(place: Path) -> None:
    for line in _lines(place)[:1]:
        with suppress(psutil.NoSuchProcess):
            left = psutil.Process(int(line))
            if Path(left.cwd()) == place:
                left.kill()
                left.wait(10)


def _lines(folder: Path) -> list[str]:
    file = folder / "postmaster.pid"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def _answers(server: EmbeddedServer) -> bool:
    with psycopg.connect(host=server.socket_dir, user=SUPERUSER, dbname="eva") as conn:
        return conn.execute("SELECT 1").fetchone() == (1,)


def _in_another_process(folder: Path, then: str) -> subprocess.CompletedProcess[str]:
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom store.postgres.embedded import EmbeddedServer\n"
        f"server = EmbeddedServer(Path({str(folder)!r}))\n{then}\n"
    )
    root = str(Path(embedded.__file__).parents[2])
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=root)


def test_the_last_user_stops_the_server(folder: Path) -> None:
    first = EmbeddedServer(folder)
    second = EmbeddedServer(folder)
    assert first.socket_dir == second.socket_dir
    first.close()
    assert _answers(second)
    second.close()
    second.close()
    assert _lines(folder) == []


def test_a_process_that_ends_stops_the_server_and_one_beside_another_does_not(folder: Path) -> None:
    assert _in_another_process(folder, "").returncode == 0
    assert _lines(folder) == []
    server = EmbeddedServer(folder)
    assert _in_another_process(folder, "").returncode == 0
    assert _answers(server)
    server.close()


def test_the_server_of_a_killed_process_stays_in_use_and_is_stopped_in_the_end(folder: Path) -> None:
    killed = _in_another_process(folder, "os.kill(os.getpid(), signal.SIGKILL)")
    assert killed.returncode == -signal.SIGKILL
    before = _lines(folder)[0]
    server = EmbeddedServer(folder)
    assert _lines(folder)[0] == before
    assert _answers(server)
    server.close()
    assert _lines(folder) == []


def test_a_forked_child_that_ends_leaves_the_server_running(folder: Path) -> None:
    then = (
        "child = os.fork()\nif child == 0: sys.exit(0)\nos.waitpid(child, 0)\n"
        "print((server.folder / 'postmaster.pid').exists())"
    )
    assert _in_another_process(folder, then).stdout.strip() == "True"


def test_a_killed_server_is_started_again_with_its_data(folder: Path) -> None:
    server = EmbeddedServer(folder)
    with psycopg.connect(host=server.socket_dir, user=SUPERUSER, dbname="eva") as conn:
        conn.execute("CREATE TABLE kept AS SELECT 7 AS number")
    os.kill(int(_lines(folder)[0]), signal.SIGKILL)
    again = EmbeddedServer(folder)
    with psycopg.connect(host=again.socket_dir, user=SUPERUSER, dbname="eva") as conn:
        assert conn.execute("SELECT number FROM kept").fetchone() == (7,)
    server.close()
    again.close()
    assert _lines(folder) == []


def test_a_stale_pid_file_that_names_a_stranger_does_not_matter(folder: Path) -> None:
    server = EmbeddedServer(folder)
    lines = _lines(folder)
    server.close()
    for stranger in (os.getpid(), 1, 2**22 - 1):
        (folder / "postmaster.pid").write_text("\n".join([str(stranger), *lines[1:]]) + "\n", encoding="utf-8")
        os.chown(folder / "postmaster.pid", folder.stat().st_uid, folder.stat().st_gid)
        server = EmbeddedServer(folder)
        assert _answers(server)
        server.close()


def test_a_start_that_was_killed_halfway_is_made_anew(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path(tempfile.mkdtemp(prefix="eva-half-")) / "postgres"
    (place.with_name("postgres.new") / "base").mkdir(parents=True)

    def copied(self: Programs, program: str, folder: Path, *arguments: str) -> str:
        if program != "initdb":
            return run(self, program, folder, *arguments)
        new = place.with_name("postgres.new")
        assert list(new.iterdir()) == []
        new.rmdir()
        _copy(made, new)
        return ""

    run = Programs.run
    monkeypatch.setattr(Programs, "run", copied)
    server = EmbeddedServer(place)
    assert _answers(server)
    server.close()
    shutil.rmtree(place.parent)


def test_a_path_with_spaces_commas_and_quotes_and_a_very_long_one_work(made: Path) -> None:
    base = Path(tempfile.mkdtemp(prefix="eva-paths-"))
    base.chmod(0o711)
    for name in ("with space, comma 'quote' \"double\" $HOME `x` % ü", "x" * 200):
        place = base / name / "postgres"
        place.parent.mkdir()
        _copy(made, place)
        server = EmbeddedServer(place)
        socket_dir = Path(server.socket_dir)
        assert _answers(server)
        assert stat.S_IMODE(socket_dir.stat().st_mode) == 0o700
        server.close()
        assert not socket_dir.exists()
    shutil.rmtree(base)


@pytest.mark.skipif(not ROOT, reason="only root starts the server as another user")
def test_roots_server_may_enter_the_data_folder_and_a_closed_home_stays_closed(made: Path) -> None:
    home = Path(tempfile.mkdtemp(prefix="eva-home-"))
    place = home / "data" / "postgres"
    place.parent.mkdir(mode=0o700)
    _copy(made, place)
    with pytest.raises(StoreError, match=f"may not enter {home}.*EVA_DATA_DIR to a folder such as"):
        EmbeddedServer(place)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    home.chmod(0o711)
    server = EmbeddedServer(place)
    assert _answers(server)
    server.close()
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o710, "to be passed through by the server's group alone"
    assert place.parent.stat().st_gid == place.stat().st_gid
    shutil.rmtree(home)


@pytest.mark.skipif(not ROOT, reason="only root starts the server as another user")
def test_programs_that_are_installed_in_a_closed_folder_are_copied_once(
    made: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del made
    closed = Path(tempfile.mkdtemp(prefix="eva-closed-"))
    package = _installed_programs().parents[1]
    for name in (package.name, f"{package.name}.libs"):
        (closed / name).symlink_to(package.parent / name)
    monkeypatch.setattr(programs, "_installed_programs", lambda: closed / package.name / "pginstall18" / "bin")
    for _ in range(2):
        server = EmbeddedServer(folder)
        assert _answers(server)
        server.close()
    copies = list((folder.parent / "postgres.programs").iterdir())
    assert len(copies) == 1 and (copies[0] / package.name / "pginstall18" / "bin" / "postgres").exists()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    shutil.rmtree(closed)


def test_an_ordinary_user_needs_no_rights() -> None:
    home = Path(tempfile.mkdtemp(prefix="eva-user-"))
    user = pwd.getpwnam("nobody") if ROOT else pwd.getpwuid(os.geteuid())
    os.chown(home, user.pw_uid, user.pw_gid)
    become = f"os.setgroups([]); os.setgid({user.pw_gid}); os.setuid({user.pw_uid})\n" if ROOT else ""
    program = (
        f"import os\nfrom pathlib import Path\nimport psycopg\nimport store.postgres.embedded as embedded\n{become}"
        f"server = embedded.EmbeddedServer(Path({str(home)!r}) / 'postgres')\n"
        "with psycopg.connect(host=server.socket_dir, user='postgres', dbname='eva') as conn:\n"
        "    print(conn.execute('SELECT 1').fetchone())\n"
    )
    root = str(Path(embedded.__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=root)
    assert (done.stdout.strip(), done.stderr) == ("(1,)", "")
    assert (home / "postgres").stat().st_uid == user.pw_uid
    assert not (home / "postgres" / "postmaster.pid").exists()
    shutil.rmtree(home)


def test_a_server_of_another_machine_is_left_alone(folder: Path) -> None:
    server = EmbeddedServer(folder)
    lines = _lines(folder)
    (folder / "postmaster.pid").write_text("\n".join([str(2**22 - 1), *lines[1:]]) + "\n", encoding="utf-8")
    (folder.parent / "postgres.host").write_text("another machine", encoding="utf-8")
    try:
        with pytest.raises(StoreError, match=r"another container or machine.*EVA_DATABASE_URL"):
            EmbeddedServer(folder)
    finally:
        (folder / "postmaster.pid").write_text("\n".join(lines) + "\n", encoding="utf-8")
        server.close()


@pytest.mark.parametrize(
    ("said", "kind"),
    [("could not write: No space left on device", DiskFullError), ("shared memory is odd", StoreError)],
)
def test_a_server_that_does_not_start_says_why(
    folder: Path, monkeypatch: pytest.MonkeyPatch, said: str, kind: type[Exception]
) -> None:
    def broken(_self: Programs, program: str, _folder: Path, *_arguments: str) -> str:
        raise ProgramError(f"{program} failed: {said}")

    monkeypatch.setattr(Programs, "run", broken)
    with pytest.raises(kind, match="EVA_DATA_DIR"):
        EmbeddedServer(folder)


def test_a_data_directory_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="EVA_DATA_DIR"):
        EmbeddedServer(tmp_path / "data" / "postgres")


def test_processes_that_start_at_once_share_one_server(folder: Path) -> None:
    ready = "print((server.folder / 'postmaster.pid').read_text().split()[0], flush=True); sys.stdin.read()"
    program = (
        "import sys\nfrom pathlib import Path\nfrom store.postgres.embedded import EmbeddedServer\n"
        f"server = EmbeddedServer(Path({str(folder)!r}))\n{ready}\n"
    )
    root = str(Path(embedded.__file__).parents[2])
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
        )
        for _ in range(3)
    ]
    first_lines = [one.stdout.readline() for one in started if one.stdout]
    for one in started:
        one.communicate("")
    assert len(set(first_lines)) == 1 and first_lines[0].strip().isdigit()
    assert [one.returncode for one in started] == [0, 0, 0]
    assert _lines(folder) == []
