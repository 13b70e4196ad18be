"""Whose failure it is, and how it is told."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from eva.errors import ConfigError, DiskFullError, InfrastructureError, LibraryError, RayAwayError
from eva.library_failures import first_line, library_of, told_failure


def raised_by(code: Callable[[], object]) -> Exception:
    try:
        code()
    except Exception as error:  # noqa: BLE001 - that is what is looked at
        return error
    raise AssertionError("it raised nothing")


def within(name: str, source: str) -> Callable[[], object]:
    """A function of a module of this name."""
    space: dict[str, object] = {"__name__": name}
    exec(f"def code():\n    {source}\n", space)  # noqa: S102 - the module of a frame is what is tested
    code = space["code"]
    assert callable(code)
    return code


@pytest.mark.parametrize(
    ("code", "library"),
    [
        (lambda: yaml.safe_load("{"), "yaml"),
        (lambda: np.linalg.inv(np.zeros((2, 2))), "numpy"),
        (within("vllm.engine", "raise RuntimeError('CUDA')"), "vllm"),
        (within("transformers.auto", "import json; json.loads('{')"), "transformers"),
        (within("workers.fleet", "raise Exception('from rust')"), "a library"),
        (within("workers.fleet", "raise KeyError('a bug')"), None),
        (within("eva.config", "import json; json.loads('{')"), None),
        (lambda: json.loads("{"), None),
        (lambda: {}["a bug"], None),
    ],
)
def test_the_innermost_package_is_to_blame(code: Callable[[], object], library: str | None) -> None:
    assert library_of(raised_by(code)) == library


def test_a_librarys_failure_is_a_sentence_with_the_next_move() -> None:
    told = told_failure(raised_by(within("vllm.engine", "raise RuntimeError('no kernel\\nimage')")))
    assert isinstance(told, LibraryError)
    assert str(told).startswith("vllm failed with RuntimeError: no kernel. The log has the traceback")


def test_a_ray_that_fails_pauses_whatever_it_raises() -> None:
    error = raised_by(within("ray._private.node", "raise Exception('The current node timed out during startup.')"))
    assert isinstance(told_failure(error), RayAwayError)


def test_what_the_machine_refuses_is_told_with_the_place() -> None:
    told = told_failure(raised_by(lambda: Path("/no/such/file").read_text()))
    assert isinstance(told, InfrastructureError) and "no such file or directory (/no/such/file)" in str(told)
    assert isinstance(told_failure(OSError(errno.ENOSPC, "No space left on device")), DiskFullError)
    assert "no memory left" in str(told_failure(MemoryError()))


def test_eva_s_own_errors_and_bugs_stay_what_they_are() -> None:
    own = ConfigError("a mistake")
    assert told_failure(own) is own
    assert told_failure(ZeroDivisionError("a bug")) is None
    assert told_failure(KeyboardInterrupt()) is None


def test_a_message_is_one_line_of_bounded_length_even_if_it_cannot_be_printed() -> None:
    class Unprintable(Exception):  # noqa: N818 - as libraries name theirs
        def __str__(self) -> str:
            raise RuntimeError

    assert first_line(Unprintable()) == "Unprintable"
    assert first_line(ValueError("one\ntwo")) == "ValueError: one"
    assert len(first_line(ValueError("x" * 999))) == 300
