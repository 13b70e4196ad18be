"""A Ray cluster that is not there is reported at once; one without authentication is refused, unless accepted."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from eva.errors import ConfigError, DiskFullError
from workers.cluster.access import (
    closed_cluster_environment,
    host_of,
    require_guarded_ray,
    require_listener,
    token_file,
    why_unguarded,
)


@contextmanager
def head(mode: str) -> Iterator[str]:
    """Serves what a head's dashboard reports about its authentication."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert "Authorization" not in self.headers, "asked as a stranger"
            self.send_response(200 if self.path == "/api/authentication_mode" else 404)
            self.end_headers()
            self.wfile.write(f'{{"authentication_mode": "{mode}"}}'.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Nothing is printed."""

    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_head_that_asks_for_no_token_is_refused_and_one_that_does_is_not() -> None:
    with head("disabled") as address:
        with pytest.raises(ConfigError, match=r"does not ask for a token.*RAY_AUTH_MODE=token.*EVA_RAY_UNGUARDED=1"):
            require_guarded_ray(address, {})
        require_guarded_ray(address, {"EVA_RAY_UNGUARDED": "1"})
    with head("token") as address:
        require_guarded_ray(address, {})


def test_a_head_that_does_not_respond_is_not_refused_here() -> None:
    assert why_unguarded("http://127.0.0.1:9", {}) is None


@pytest.mark.parametrize(
    ("environment", "fine"),
    [
        ({}, False),
        ({"RAY_AUTH_MODE": "token"}, True),
        ({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "x"}, False),
        ({"RAY_AUTH_TOKEN": "x"}, True),
        ({"RAY_AUTH_TOKEN_PATH": "/token"}, True),
    ],
)
def test_a_cluster_is_joined_with_a_token(environment: dict[str, str], fine: bool, tmp_path: Path) -> None:
    assert (why_unguarded("ray.example:6379", {"HOME": str(tmp_path), **environment}) is None) is fine


def test_a_token_in_the_home_folder_counts(tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("x")
    assert why_unguarded("auto", {"HOME": str(tmp_path)}) is None


def test_the_token_of_local_clusters_is_nobody_elses(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path / "home"), "RAY_TMPDIR": str(tmp_path)}
    closed = closed_cluster_environment(home)
    token = token_file(home)
    first = token.read_text()
    assert closed == {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_TOKEN_PATH": str(token)}
    assert len(first) == 64 and token.stat().st_mode & 0o777 == 0o600 and token.parent.stat().st_mode & 0o077 == 0
    token.chmod(0o644)
    closed_cluster_environment(home)
    assert token.read_text() == first and token.stat().st_mode & 0o777 == 0o600
    elsewhere = {"HOME": str(tmp_path / "other"), "RAY_AUTH_TOKEN": "x", "RAY_TMPDIR": str(tmp_path)}
    assert "RAY_AUTH_TOKEN_PATH" not in closed_cluster_environment(elsewhere) and not token_file(elsewhere).exists()


def test_a_local_cluster_asks_for_a_token_unless_configured_otherwise() -> None:
    assert why_unguarded(None, {}) is None
    assert why_unguarded(None, {"RAY_AUTH_MODE": "token"}) is None
    assert "disabled" in (why_unguarded(None, {"RAY_AUTH_MODE": "disabled"}) or "")


def test_credentials_of_an_address_are_not_shown() -> None:
    assert "hunter2" not in (why_unguarded("ray://user:hunter2@ray.example:10001", {"HOME": "/nowhere"}) or "hunter2")


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "http://me:secret@127.0.0.1:{}"])
def test_an_address_at_which_nothing_listens_is_told_at_once(form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = form.format(listener.getsockname()[1])
        require_listener(address)
    with pytest.raises(OSError, match="refused"):
        require_listener(address)


@pytest.mark.parametrize("address", ["auto", "local", "head", "127.0.0.1", "http://head"])
def test_without_a_port_there_is_nothing_to_try(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []
    monkeypatch.setattr(socket, "create_connection", tried.append)
    require_listener(address)
    assert tried == []


def test_messages_name_a_host_without_its_credentials() -> None:
    assert host_of("http://me:secret@head:8265") == "head:8265"
    assert host_of("head:6379") == "head:6379" and host_of("auto") == "auto"


def test_a_full_disk_under_rays_sessions_is_told_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("workers.cluster.access.shutil.disk_usage", lambda _: usage._replace(free=10**6))
    environment = {"HOME": str(tmp_path), "RAY_TMPDIR": str(tmp_path / "ray")}
    with pytest.raises(DiskFullError, match=r"1 MB are free in .*ray, where Ray keeps.*RAY_TMPDIR"):
        closed_cluster_environment(environment)
