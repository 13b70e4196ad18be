"""Workers of Ray that are forked from a process which has imported their libraries: imports are most of what they cost.

    python warm_python.py SCRIPT ARGUMENT…     what Ray runs for each worker, in place of its own setup_worker.py
    python warm_python.py serve FOLDER         passes what it asks on to the process with its imports
    python warm_python.py import SOCKET        imports, and forks for each worker

A worker runs the same script in the same environment as one that Ray starts anew. What libraries read while they are
imported is the same, too: each set of those variables has a process of its own that imports.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

FOLDER = "EVA_TESTS_WARM_PYTHON"
"""The variable with the folder of the server's socket."""
READ_AT_IMPORT = ("CUDA_", "HF_", "MKL_", "OMP_", "PYTHON", "RAY_TRAIN_", "TOKENIZERS_", "TORCH", "TQDM_", "VLLM_")
IMPORTS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": (
        "workers.fleet.engine",
        "vllm.engine.arg_utils",
        "vllm.usage.usage_lib",
        "vllm.v1.engine.llm_engine",
        "vllm.v1.worker.cpu_worker",
    ),
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": (
        "workers.training.trainer",
        "workers.training.job",
        "workers.training.stored.stored_job",
    ),
}
"""What engines and training processes import anyway, by a variable that they alone have."""
_SOCKET = "socket"
_LENGTH = 8


@contextmanager
def warm_workers() -> Generator[None]:
    """Forks the workers of every cluster that this process starts meanwhile, as long as the context lasts."""
    import pytest
    from ray._private import ray_constants

    with tempfile.TemporaryDirectory(prefix="eva-warm-") as folder, pytest.MonkeyPatch.context() as patch:
        command = [sys.executable, __file__, "serve", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as server:
            assert server.stdout is not None and server.stdout.readline() == "ready\n"
            patch.setenv(FOLDER, folder)
            patch.setattr(ray_constants, "SETUP_WORKER_FILENAME", __file__)
            try:
                yield
            finally:
                server.kill()


def ask(script: str, *arguments: str) -> None:
    """Has a worker's script run in the environment that Ray wants for it, with this process's standard streams."""
    context: dict[str, Any] = {}
    kept: list[str] = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "--serialized-runtime-env-context":
            context = json.loads(value)
        elif name != "--language":
            kept.append(argument)
    if context.get("command_prefix") or context.get("py_executable", sys.executable) != sys.executable:
        original = str(Path(script).with_name("setup_worker.py"))
        os.execv(sys.executable, [sys.executable, original, script, *arguments])  # noqa: S606 - no shell is needed
    environment = {**os.environ, **context.get("env_vars", {})}
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(f"{os.environ[FOLDER]}/{_SOCKET}")
        _send(server, {"script": [script, *kept], "environment": environment, "folder": os.getcwd()}, [0, 1, 2])


def serve(folder: str) -> NoReturn:
    """Passes orders on. A worker that was killed while it asked, or an importer that was, is no reason to end."""
    _end_with_parent()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{folder}/{_SOCKET}")
    listener.listen(64)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    importers: dict[str, socket.socket] = {}
    while True:
        connection, _ = listener.accept()
        with connection:
            try:
                order, streams = _receive(connection)
            except EOFError:
                continue
        key = json.dumps(sorted(item for item in order["environment"].items() if item[0].startswith(READ_AT_IMPORT)))
        try:
            _send(importers[key], order, streams)
        except (KeyError, BrokenPipeError):
            importers[key] = _start_importer(order["environment"])
            _send(importers[key], order, streams)
        for stream in streams:
            os.close(stream)


def _start_importer(environment: Mapping[str, str]) -> socket.socket:
    ours, theirs = socket.socketpair()
    with theirs:
        subprocess.Popen(
            [sys.executable, __file__, "import", str(theirs.fileno())], env=environment, pass_fds=[theirs.fileno()]
        )
    return ours


def import_and_fork(descriptor: str) -> None:
    """Returns in the forked processes only."""
    import gc
    from importlib import import_module

    _end_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    orders = socket.socket(fileno=int(descriptor))
    import_module("ray._private.worker")
    for variable in IMPORTS.keys() & os.environ.keys():
        for module in IMPORTS[variable]:
            with suppress(ImportError):  # a test's own vLLM has other modules
                import_module(module)
    gc.collect()
    gc.freeze()
    while True:
        try:
            order, streams = _receive(orders)
        except EOFError:
            sys.exit()
        if os.fork() == 0:
            orders.close()
            return _become(order, streams)
        for stream in streams:
            os.close(stream)


def _become(order: Mapping[str, Any], streams: list[int]) -> None:
    import random

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # as Ray has it, which ends the group of a worker that was lost
    os.setpgid(0, 0)
    for standard, stream in enumerate(streams):
        os.dup2(stream, standard)
        os.close(stream)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    random.seed()
    sys.argv = order["script"]


def _end_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


def _send(to: socket.socket, order: Mapping[str, Any], streams: list[int]) -> None:
    body = json.dumps(order).encode()
    socket.send_fds(to, [len(body).to_bytes(_LENGTH, "big")], streams)
    to.sendall(body)


def _receive(source: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Raises EOFError when the other side has ended."""
    length, streams, _, _ = socket.recv_fds(source, _LENGTH, 3)
    # the next order may already wait behind this one
    body, left = b"", int.from_bytes(length, "big")
    while not body or left:
        if not (part := source.recv(left)):
            raise EOFError
        body, left = body + part, left - len(part)
    return json.loads(body), streams


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    if sys.argv[1] != "import":
        ask(*sys.argv[1:])
    else:
        import_and_fork(sys.argv[2])
        import runpy

        runpy.run_path(sys.argv[0], run_name="__main__")
