"""The services of docker-compose.yml by their own commands and health checks, and runs on the cluster that they make.

Hosts and ports are this machine's; the database is the tests'. Everything else is as the file has it.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TINY = ["prompts.playground=12", "evaluation.playground=3", "iterations=1", "training.max_steps=1"]
TOKEN = "a" * 64


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens at."""
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


class Composed:
    """The compose file on one machine without Docker."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.services: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        gcs, dashboard, api, *self._agents = free_ports(5)
        self.address, self.url = f"http://127.0.0.1:{dashboard}", f"http://127.0.0.1:{api}"
        self._places = {
            "head:6379": f"127.0.0.1:{gcs}",
            "6379": str(gcs),
            "head:8265": f"127.0.0.1:{dashboard}",
            "8265": str(dashboard),
            "8377": str(api),
        }
        self._own = {
            "EVA_DATABASE_URL": database_url,
            "EVA_DATA_DIR": str(folder / "data"),
            "RAY_AUTH_TOKEN": TOKEN,
            "HF_HOME": str(folder / "hub"),
        }
        self.folder = folder

    def environment(self, service: str) -> dict[str, str]:
        """What the service finds, with this machine's places and the tests' secrets."""
        given = {
            key: self.here(value)
            for key, value in self.services[service]["environment"].items()
            if not value.startswith("${")
        }
        left = {key: value for key, value in os.environ.items() if not key.startswith(("EVA_", "RAY_"))}
        return {
            **left,
            **given,
            **self._own,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "RAY_TMPDIR": str(self.folder),
            "NO_PROXY": "127.0.0.1",
        }

    def here(self, word: str) -> str:
        """A word of the file, with this machine's place for the host or port at its end."""
        for place, ours in self._places.items():
            if word == place or word.endswith((f"={place}", f"//{place}")):
                return word.removesuffix(place) + ours
        return word

    def command(self, service: str) -> list[str]:
        """What the service runs."""
        words = [self.here(word) for word in self.services[service]["command"]]
        # two nodes on one machine cannot both have Ray's fixed port
        agent = [f"--dashboard-agent-listen-port={self._agents.pop()}", "--num-cpus=2"] if words[0] == "ray" else []
        return [*words, *agent]

    @contextmanager
    def up(self, service: str) -> Iterator[psutil.Process]:
        """The service, once its own health check says that it is healthy."""
        log = self.folder / f"{service}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                self.command(service),
                env=self.environment(service),
                stdout=file,
                stderr=file,
                cwd=self.folder,
                start_new_session=True,
            )
        try:
            if (check := self.services[service].get("healthcheck")) is not None:
                words = [
                    re.sub(r"(?<=127.0.0.1:)\d+", lambda port: self._places[port.group()], word)
                    for word in check["test"][1:]
                ]
                while subprocess.run(words, env=self.environment(service), capture_output=True, check=False).returncode:
                    assert process.poll() is None, log.read_text()
                    time.sleep(0.2)
            yield psutil.Process(process.pid)
        finally:
            begun = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()
            for left in begun:
                with suppress(psutil.NoSuchProcess):
                    left.kill()

    def client(self, key: str) -> httpx.Client:
        """Who asks the API with this key."""
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, headers={"Authorization": f"Bearer {key}"})

    def run(self, service: str, *words: str) -> str:
        """What a command says in a container of this service. Raises AssertionError when it fails."""
        done = subprocess.run(
            words,
            env={**self.environment(service), "RAY_ADDRESS": self.address},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def composed(database_url: str) -> Iterator[Composed]:
    # Ray's sockets lie below it, and their paths may have 107 characters
    with tempfile.TemporaryDirectory(prefix="compose-") as folder:
        yield Composed(Path(folder), database_url)


def wait(client: httpx.Client, name: str, *, stage: bool = False) -> dict[str, Any]:
    """The run when it has ended; with `stage`, as soon as it does something. The test's own time-out ends it."""
    while True:
        run: dict[str, Any] = client.get(f"/v1/runs/{name}").json()
        if run["status"] in ("finished", "cancelled", "failed") or (stage and run["stage"]):
            return run
        time.sleep(0.2)


@pytest.mark.timeout(600)
def test_services_come_up_by_their_commands_and_play_what_is_given_to_cluster_and_api(composed: Composed) -> None:
    with composed.up("head"):
        made = composed.run("api", "eva", "keys", "create", "me", "--scope", "admin")
        (key,) = re.findall(r"\beva_\S+", made)
        working = composed.folder / "run"
        working.mkdir()
        shutil.copy(ROOT / "eva" / "presets" / "playground.yaml", working / "run.yaml")
        composed.run(
            "head",
            "ray",
            "job",
            "submit",
            "--working-dir",
            str(working),
            "--",
            "eva",
            "drive",
            "--config",
            "run.yaml",
            "--name",
            "submitted",
            *(f"--set={one}" for one in TINY),
        )
        # Its working directory is safe from here on: nodes share Ray's folder here, and a second one fetches it anew.
        with composed.up("gpu"), composed.up("api"), composed.client(key) as client:
            assert httpx.get(f"{composed.url}/v1/runs", trust_env=False).status_code == 401
            (submitted,) = client.get("/v1/runs").json()["items"]
            assert submitted["name"].startswith("submitted-") and submitted["status"] == "finished"
            name = client.post("/v1/runs", json={"preset": "playground", "overrides": TINY}).json()["name"]
            assert wait(client, name, stage=True)["status"] == "running"
            assert client.post(f"/v1/runs/{name}:cancel").status_code == 202
            assert wait(client, name)["status"] == "cancelled"
