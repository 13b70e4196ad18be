"""Ray's jobs as the launcher sees them. Ray is imported when the first of them is asked for, not before."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from eva.errors import InfrastructureError

JobState = Literal["pending", "running", "ended", "unknown"]

_STATES: dict[str, JobState] = {"PENDING": "pending", "RUNNING": "running", "STOPPED": "ended", "SUCCEEDED": "ended",
                                "FAILED": "ended"}


class RayJobs:
    """Jobs of the cluster whose dashboard is at `address()`; `environment` is what each process has besides its own.

    `python` is the interpreter there: it must find eva.
    """

    def __init__(self, address: Callable[[], str], python: str = "python", environment: Mapping[str, str] | None = None,
                 started: Callable[[], bool] = lambda: True) -> None:
        self._address, self._python, self._environment = address, python, dict(environment or {})
        self._started = started
        """Whether there is a cluster yet: to learn that it knows no job, none is started."""
        self._client: Any = None

    def submit(self, job: str, arguments: Sequence[str]) -> None:
        """Start `eva ARGUMENTS` as this job; harmless where there is one of that name."""
        def asked(client: Any) -> None:
            client.submit_job(
                entrypoint=shlex.join([self._python, "-m", "cli.main", *arguments]), submission_id=job,
                runtime_env={"env_vars": self._environment} if self._environment else None,
                metadata={"eva_run": arguments[1]})

        if self.state(job) == "unknown":
            self._ask(asked)

    def state(self, job: str) -> JobState:
        """What becomes of the job, as far as Ray knows."""
        if not self._started():
            return "unknown"

        def asked(client: Any) -> JobState:
            try:
                return _STATES.get(str(client.get_job_status(job).value), "running")
            except RuntimeError as error:
                if "404" in str(error):
                    return "unknown"
                raise

        return self._ask(asked)

    def stop(self, job: str) -> None:
        """Ask the job's process to end, as Ctrl-C does; harmless where it has."""
        if self.state(job) in ("pending", "running"):
            self._ask(lambda client: client.stop_job(job))

    def last_lines(self, job: str, most: int) -> str:
        """The end of what it printed."""
        if self.state(job) == "unknown":
            return ""
        lines = str(self._ask(lambda client: client.get_job_logs(job))).strip().splitlines()
        return "\n".join(line[:500] for line in lines[-most:])

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        address = self._address()
        try:
            if self._client is None:
                from ray.job_submission import JobSubmissionClient

                self._client = JobSubmissionClient(address)
            return question(self._client)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            self._client = None
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise InfrastructureError(
                f"Ray's job service at {address} does not do what is asked ({said[-1][:300] or said[0][:300]})",
                expected="a running cluster of ray[default]",
                next_move="Check RAY_ADDRESS with `ray status`; what is queued waits") from error
