"""Functions of the user's own, named in the config as `module:function`."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from eva.errors import ConfigError, InputError

CORRECT = "Correct the function, then continue the run with `eva run --resume`"


def load_function(spec: str, *, what: str, expected: str, arguments: int) -> Callable[..., Any]:
    """The function that `module:function` names, callable with so many positional arguments.

    The working directory is put at the end of the import path. Raises ConfigError.
    """
    module_path, _, name = spec.partition(":")
    if not (module_path and name):
        raise ConfigError(
            f"no {what} is called {spec!r}",
            expected=f"`module:function`, {expected}",
            next_move="Write the module's import path, a colon, the function's name",
        )
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    importlib.invalidate_caches()
    try:
        function = getattr(importlib.import_module(module_path), name, None)
    except Exception as error:  # the user's module raises anything
        raise ConfigError(
            f"{what} {spec!r}: importing {module_path!r} failed with {type(error).__name__}: {error}",
            expected=expected,
            next_move=f"Try `python -c 'import {module_path}'` in {os.getcwd()}",
        ) from error
    if not callable(function):
        raise ConfigError(
            f"{what} {spec!r}: module {module_path!r} has no function {name!r}",
            expected=expected,
            next_move="Correct the name after the colon",
        )
    _require_arguments(spec, function, what, expected, arguments)
    return function


def ask(spec: str, function: Callable[..., Any], *arguments: Any, what: str, expected: str) -> Any:
    """What the user's function returns. Raises InputError when it raises anything."""
    try:
        return function(*arguments)
    except Exception as error:  # the user's code raises anything
        raise InputError(
            f"{what} {spec!r} failed with {type(error).__name__}: {error}", expected=expected, next_move=CORRECT
        ) from error


def wrong(spec: str, given: str, *, what: str, expected: str) -> InputError:
    """The error for a return value that is not what it has to be."""
    return InputError(f"{what} {spec!r} gave {given}", expected=expected, next_move=CORRECT)


def keys(spec: str, given: Any, count: int, *, what: str, expected: str) -> npt.NDArray[np.float64]:
    """A figure per prompt, none of them NaN or infinite; -inf is allowed. Raises InputError."""
    try:
        found = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise wrong(
            spec, f"a {type(given).__name__} that is no array of numbers", what=what, expected=expected
        ) from None
    if found.shape != (count,):
        raise wrong(spec, f"an array of shape {found.shape} for {count} prompts", what=what, expected=expected)
    bad = np.isnan(found) | (found == np.inf)
    if bad.any():
        raise wrong(spec, f"{found[bad][0]} for {int(bad.sum())} of {count} prompts", what=what, expected=expected)
    return found


def _require_arguments(spec: str, function: Callable[..., Any], what: str, expected: str, arguments: int) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:  # some functions written in C do not tell theirs
        return
    try:
        signature.bind(*range(arguments))
    except TypeError as error:
        raise ConfigError(
            f"{what} {spec!r} takes {signature}",
            expected=expected,
            next_move=f"Let it take {arguments} positional argument(s)",
        ) from error
