"""`eva serve` as a user starts and ends it: a real process, its own embedded database."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import psutil
import pytest
from click.testing import CliRunner

from cli.main import eva as command
from tests.support.processes import alive, server


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_starts_with_nothing_configured_and_leaves_nothing_behind(data_folder: Path, stop: signal.Signals) -> None:
    with server(data_folder) as (process, url):
        me, postmaster = psutil.Process(process.pid), data_folder / "postgres/postmaster.pid"
        database = psutil.Process(int(postmaster.read_text().split()[0]))
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            assert client.get("/readyz").json()["status"] == "ok"
            assert client.get("/v1/runs").json() == {"total": 0, "items": [], "next": None}
            loaded = {Path(one.path).name for one in me.memory_maps()}
            assert not [name for name in loaded if "torch" in name or "raylet" in name]
        process.send_signal(stop)
        assert process.wait(60) == 0
    assert not postmaster.exists()
    assert not alive(database)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "example.org"])  # noqa: S104 - what must be refused
def test_it_refuses_to_listen_where_others_could_reach_it_without_a_key(host: str, tmp_path: Path) -> None:
    refused = CliRunner(env={"EVA_DATA_DIR": str(tmp_path)}).invoke(command, ["serve", "--host", host])
    assert refused.exit_code == 2
    assert "127.0.0.1" in refused.stderr and "ssh -L" in refused.stderr
    assert not (tmp_path / "postgres").exists(), "refused before anything started"


def test_a_port_in_use_is_reported_with_a_remedy(data_folder: Path) -> None:
    with server(data_folder) as (_, url):
        port = url.rpartition(":")[2]
        refused = CliRunner(env={"EVA_DATA_DIR": str(data_folder)}).invoke(command, ["serve", "--port", port])
    assert refused.exit_code == 2
    assert "--port" in refused.stderr
