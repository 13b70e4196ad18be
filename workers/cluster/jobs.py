"""Drivers as Ray jobs. Ray is imported on the first call."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from eva.errors import InfrastructureError
from eva.settings import DRIVERS_CLUSTER
from workers.cluster.access import require_guarded_ray
from workers.cluster.environment import python_module

JobState = Literal["pending", "running", "ended", "unknown"]

_STATES: dict[str, JobState] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "STOPPED": "ended",
    "SUCCEEDED": "ended",
    "FAILED": "ended",
}


class RayJobs:
    """The jobs of the Ray cluster whose dashboard is at `address()`.

    Args:
        address: returns the dashboard's URL, and may start the cluster.
        python: the interpreter on the cluster, which must have eva installed.
        environment: extra environment variables of each job.
        started: whether the cluster runs; while it does not, jobs are not looked up.
        gcs_address: HOST:PORT of the cluster that drivers join. Without it they join the one that Ray tells them, which
            on a machine with several clusters may be another one.
    """

    def __init__(
        self,
        address: Callable[[], str],
        python: str = "python",
        environment: Mapping[str, str] | None = None,
        started: Callable[[], bool] = lambda: True,
        gcs_address: Callable[[], str] | None = None,
    ) -> None:
        self._address, self._python, self._environment = address, python, dict(environment or {})
        self._started, self._gcs_address = started, gcs_address
        self._client: Any = None

    def submit(self, job: str, arguments: Sequence[str]) -> None:
        """Starts `eva ARGUMENTS` under the name `job`. Does nothing if that job exists."""

        def request(client: Any) -> None:
            joined = {} if self._gcs_address is None else {DRIVERS_CLUSTER: self._gcs_address()}
            environment = {**self._environment, **joined}
            client.submit_job(
                entrypoint=shlex.join([*python_module("cli.main", self._python), *arguments]),
                submission_id=job,
                runtime_env={"env_vars": environment} if environment else None,
                metadata={"eva_run": arguments[1]},
            )

        if self.state(job) == "unknown":
            self._ask(request)

    def state(self, job: str) -> JobState:
        """Returns the state of the job as Ray reports it."""
        if not self._started():
            return "unknown"

        def request(client: Any) -> JobState:
            try:
                return _STATES.get(str(client.get_job_status(job).value), "running")
            except RuntimeError as error:
                if "404" in str(error):
                    return "unknown"
                raise

        return self._ask(request)

    def stop(self, job: str) -> None:
        """Asks the job's process to end, as Ctrl-C does. Does nothing if it has ended."""
        if self.state(job) in ("pending", "running"):
            self._ask(lambda client: client.stop_job(job))

    def last_lines(self, job: str, most: int) -> str:
        """Returns the last lines of the job's output, `most` at most."""
        if self.state(job) == "unknown":
            return ""
        lines = str(self._ask(lambda client: client.get_job_logs(job))).strip().splitlines()
        return "\n".join(line[:500] for line in lines[-most:])

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        address = self._address()
        from ray.exceptions import RayError
        from ray.job_submission import JobSubmissionClient

        try:
            if self._client is None:
                require_guarded_ray(address, error=InfrastructureError)
                self._client = JobSubmissionClient(address)
            return question(self._client)
        except (RayError, ConnectionError, OSError, RuntimeError, ValueError) as error:
            self._client = None
            raise InfrastructureError(
                f"Ray's job service at {address} refused the request ({_one_line(error)})",
                expected="a running cluster of ray[default], and its token where it asks for one (RAY_AUTH_MODE=token)",
                next_move="Check RAY_ADDRESS with `ray status`; queued runs stay queued",
            ) from error


def _one_line(error: BaseException) -> str:
    """One line of an error: the last line of a traceback, otherwise the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" .")] or [type(error).__name__]
    return (lines[-1] if "Traceback" in str(error) else lines[0])[:300]
