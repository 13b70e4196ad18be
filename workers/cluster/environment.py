"""The environment of every process that Ray starts for eva: import path, thread counts, what libraries may print.

A user's working directory never comes before eva or the standard library on an import path: see
`eva.runtime.import_path`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from eva.runtime import failpoints
from eva.runtime.import_path import EVA_FOLDER, FOLDERS, user_folders
from eva.settings import Settings

_QUIET = {"DO_NOT_TRACK": "1"}
SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""Keeps the working directory off the path of child processes: those of multiprocessing run `python -c`."""


def python_module(module: str, python: str = sys.executable) -> list[str]:
    """The command that runs a module. `-P` keeps Python from putting the working directory first on the path."""
    return [python, "-P", "-m", module]


def process_environment() -> dict[str, str]:
    """What every process needs: eva's folder on the import path, the user's folders, this process's failpoints."""
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    folders = user_folders()
    path = [str(EVA_FOLDER), *(entry for entry in inherited if entry and str(Path(entry).absolute()) not in folders)]
    return {
        **SAFE_PATH,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
        FOLDERS: os.pathsep.join(folders),
        **failpoints.environment(),
    }


def engine_environment(threads: int, *, compiles: bool = True) -> dict[str, str]:
    """Environment of an engine's process: no child processes, few messages, threads that sleep while they wait.

    Without `compiles`, torch compiles nothing. vLLM's `enforce_eager` alone does not see to that: an operation of its
    log-probabilities is compiled all the same, which takes seconds on a CPU and needs a C++ compiler.
    """
    return {
        **process_environment(),
        **_QUIET,
        **_thread_environment(threads),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "WARNING"),
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        **({} if compiles else {"TORCHDYNAMO_DISABLE": "1"}),
    }


def training_environment(*, gpu: bool) -> dict[str, str]:
    """Environment of the training process: all cores, few messages; without `gpu` no device, even if there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        **process_environment(),
        **_QUIET,
        **_thread_environment(cores),
        # Ray Train gives its processes their devices.
        **({} if gpu else {"CUDA_VISIBLE_DEVICES": ""}),
        # A process more per job, which would start a group anew by itself; eva does a lost machine's job again.
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        "TQDM_DISABLE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def cluster_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Environment of a Ray cluster that this process starts beside itself; its drivers and their actors inherit it."""
    return {**os.environ, **extra, **process_environment()}


def job_environment(settings: Settings, *, same_machine: bool) -> dict[str, str]:
    """What a driver that runs as a Ray job has besides the environment of its cluster.

    `same_machine`: the cluster runs here, so that the driver finds the data directory of this process.
    """
    folder = {"EVA_DATA_DIR": str(settings.data_dir)} if same_machine else {}
    log_format = {} if settings.log_format == "text" else {"EVA_LOG_FORMAT": settings.log_format}
    return folder | log_format


def _thread_environment(threads: int) -> dict[str, str]:
    return {
        "OMP_NUM_THREADS": str(threads),
        # Spinning threads stop each other when other processes share the cores: measured 5 to 10 times slower.
        "OMP_WAIT_POLICY": "passive",
        "TOKENIZERS_PARALLELISM": "false",
    }
