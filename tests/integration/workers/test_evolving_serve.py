"""A real `vllm serve` writes children: the evolver's requests are what an OpenAI-compatible server takes."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from eva.config import Evolving
from eva.creator.evolution import EvolutionPlan, evolve_all
from eva.creator.operators import FAMILIES
from eva.types import Prompt
from tests.support import tiny_models
from tests.support.parent_death import end_with_parent
from workers.evolvers import build_evolver

CONTEXT, START_S = 4096, 240
SERVER = "vllm.entrypoints.openai.api_server"
"""What `vllm serve` runs. The command itself asks for the version of a package `vllm`, which the CPU build is not."""


@pytest.fixture(scope="module")
def api_base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the tiny Llama, which ends with the module."""
    folder = tiny_models.llama(tmp_path_factory.mktemp("served") / "tiny", tied=False)
    for name, key in (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")):
        facts = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(facts | {key: CONTEXT}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder.parent / "serve.log"
    # On a CPU a seeded request whose prefill is cut into chunks kills vLLM 0.32: prompts are prefilled whole.
    command = [
        sys.executable,
        "-m",
        SERVER,
        "--model",
        str(folder),
        "--served-model-name",
        "tiny",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--dtype",
        "float32",
        "--enforce-eager",
        "--max-model-len",
        str(CONTEXT),
        "--max-num-seqs",
        "16",
        "--no-enable-chunked-prefill",
        "--max-num-batched-tokens",
        str(CONTEXT),
    ]
    quiet = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "2",
    }
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | quiet,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
    try:
        _await_ready(server, port, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    """Its own session: the group holds the server and what it started, nothing else."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            server.wait(20)
            return


def _await_ready(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(START_S * 4):
        assert server.poll() is None, log.read_text()[-3000:]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.25)
        finally:
            connection.close()
    raise AssertionError(f"not ready after {START_S} s: {log.read_text()[-3000:]}")


@pytest.mark.timeout(START_S + 120)
@pytest.mark.usefixtures("event_loop")
def test_a_real_server_answers_every_operator_and_its_tokens_are_counted(api_base: str) -> None:
    evolver = build_evolver(
        Evolving.model_validate(
            {
                "evolver": {
                    "kind": "evol_instruct",
                    "model": "openai/tiny",
                    "api_base": api_base,
                    "max_tokens": 24,
                    "temperature": 1.0,
                }
            }
        )
    )
    sources = [Prompt(number, f"Describe river number {number}.") for number in range(6)]
    plan = EvolutionPlan(
        seed=3,
        iteration=1,
        per_prompt=2,
        attempts=1,
        mode="chain",
        max_chars=2000,
        similarity=0.95,
        known=frozenset(),
        protected=frozenset(),
        operators=tuple(FAMILIES),
        partners=sources,
    )
    chains = sorted(evolve_all(sources, evolver, plan, 6), key=lambda chain: chain.source)
    attempts = [attempt for chain in chains for attempt in chain.attempts]
    assert [chain.source for chain in chains] == list(range(6)) and len(attempts) == 12
    assert len({attempt.operator for attempt in attempts} & {*FAMILIES}) > 5
    # Bytes drawn at random: nearly all replies fill their 24 tokens, and are refused for that.
    assert {attempt.reason for attempt in attempts} >= {"cut"}
    assert all(attempt.reply.text and 0 < attempt.reply.reply_tokens <= 24 for attempt in attempts)
    # The byte-level tokenizer counts what was sent: a template is longer than 500 characters.
    assert all(attempt.reply.prompt_tokens > 500 for attempt in attempts)
