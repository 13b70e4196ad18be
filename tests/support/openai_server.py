"""A small server that speaks OpenAI's chat completions on 127.0.0.1, with faults on demand.

with OpenAIServer(latency_s=0.05, slots=4, faults=[status(429, retry_after="1"), cut()]) as server:
    ...  # server.api_base, server.requests
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Body = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """What happens to one request instead of a good answer."""

    kind: str
    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def status(code: int, *, retry_after: str | None = None, message: str = "scripted", error: str = "") -> Fault:
    """An error status with OpenAI's error body; `error` is its code."""
    body = json.dumps({"error": {"message": message, "type": "scripted", "code": error or code}})
    return Fault("answer", code, body, {"Retry-After": retry_after} if retry_after else {})


def cut() -> Fault:
    """The connection ends in the middle of the answer."""
    return Fault("cut")


def hang() -> Fault:
    """No answer until the server stops."""
    return Fault("hang")


def malformed() -> Fault:
    """Status 200 and half a JSON text."""
    return Fault("answer", 200, '{"id": "x", "choi')


def completion(text: str | None, *, finish: str = "stop", model: str = "m", empty: bool = False) -> Fault:
    """A well-formed answer: with a text, with none (None), or with `empty` choices."""
    return Fault("answer", 200, _completion(text, finish, model, empty))


def _completion(text: str | None, finish: str, model: str, empty: bool = False) -> str:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [] if empty else [choice],
            "usage": usage,
        }
    )


@dataclass(frozen=True)
class Recorded:
    """One request as it arrived."""

    path: str
    body: Body
    authorization: str | None
    at: float

    @property
    def message(self) -> str:
        return self.body["messages"][-1]["content"]


class OpenAIServer:
    """Answers with `reply(body)` after `latency_s`, `slots` at a time (0: any number).

    Each of `faults` befalls one request, in order; None lets one through. It stops with the context.
    """

    def __init__(
        self,
        reply: Callable[[Body], str] = lambda _: "evolved",
        *,
        latency_s: float = 0.0,
        slots: int = 0,
        faults: Iterable[Fault | None] = (),
    ) -> None:
        self.reply, self.latency_s = reply, latency_s
        self.requests: list[Recorded] = []
        self.most_at_once = 0
        self.stopping = threading.Event()
        self.faults = deque(faults)
        self.lock = threading.Lock()
        self.slots = threading.Semaphore(slots or 10**9)
        self._at_once = 0
        self._connections: set[socket.socket] = set()
        self._http = _Http(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def api_base(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._thread.join()
        with self.lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._http.server_close()  # waits for the threads of the connections

    def opened(self, connection: socket.socket) -> None:
        with self.lock:
            self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self.lock:
            self._connections.discard(connection)

    def record(self, request: Recorded) -> Fault | None:
        with self.lock:
            self.requests.append(request)
            return self.faults.popleft() if self.faults else None

    def answer(self, body: Body) -> str:
        """The body of a good answer, when its slot has come and its time has passed."""
        with self.slots:
            with self.lock:
                self._at_once += 1
                self.most_at_once = max(self.most_at_once, self._at_once)
            self.stopping.wait(self.latency_s)
            with self.lock:
                self._at_once -= 1
            return _completion(self.reply(body), "stop", body["model"])


class _Http(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], script: OpenAIServer) -> None:
        self.script = script
        super().__init__(address, _Connection)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # The body follows the headers at once, and not when the client has acknowledged them, 40 ms later.
    disable_nagle_algorithm = True

    @property
    def script(self) -> OpenAIServer:
        assert isinstance(self.server, _Http)
        return self.server.script

    def setup(self) -> None:
        super().setup()
        self.script.opened(self.connection)

    def finish(self) -> None:
        self.script.closed(self.connection)
        with suppress(OSError):
            super().finish()

    def do_POST(self) -> None:
        script = self.script
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fault = script.record(Recorded(self.path, body, self.headers["Authorization"], time.monotonic()))
        with suppress(ConnectionError):
            if fault is None:
                self._send(200, script.answer(body), {})
            elif fault.kind == "answer":
                self._send(fault.status, fault.body, fault.headers)
            elif fault.kind == "cut":
                self._send(200, '{"id": "x"', {"Content-Length": "1000"})
                self.close_connection = True
            else:
                script.stopping.wait()
                self.close_connection = True

    def _send(self, code: int, body: str, headers: dict[str, str]) -> None:
        content = body.encode()
        self.send_response(code)
        standard = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        for name, value in (standard | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, the base class names it so
        """Say nothing."""
