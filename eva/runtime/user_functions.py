"""Functions of the user's own, named in the config as `module:function`."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from eva.errors import ConfigError, InputError
from eva.runtime.import_path import add_user_folders

CORRECT = "Correct the function, then continue the run with `eva run --resume`"


def load_object(spec: str, *, what: str, expected: str, kind: str = "function") -> Any:
    """Returns what `module:name` names, callable. The working directory is searched last. Raises ConfigError.

    `what` (such as "metric"), `expected` and `kind` are for the error's message.
    """
    module_path, _, name = spec.partition(":")
    if not (module_path and name):
        raise ConfigError(
            f"no {what} is called {spec!r}",
            expected=expected,
            next_move=f"Write the module's import path, a colon, the {kind}'s name",
        )
    add_user_folders()
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_path)
    except (Exception, SystemExit) as error:  # a user's module raises anything
        raise ConfigError(
            f"{what} {spec!r}: importing {module_path!r} failed with {type(error).__name__}: {error}",
            expected=expected,
            next_move=f"Try `python -c 'import {module_path}'` in {os.getcwd()}",
        ) from error
    loaded = getattr(module, name, None)
    if not callable(loaded):
        where = getattr(module, "__file__", None) or "built in"
        raise ConfigError(
            f"{what} {spec!r}: module {module_path!r} ({where}) has no {kind} {name!r}",
            expected=expected,
            next_move=_suggestion(module, name),
        )
    return loaded


def load_function(
    spec: str, *, what: str, expected: str, arguments: Sequence[str], named: Sequence[str] = ()
) -> Callable[..., Any]:
    """Returns the function that `module:function` names. Raises ConfigError unless it takes these arguments.

    Args:
        arguments: names of what it gets by position, for the error's message.
        named: what it gets by keyword, where it has such a parameter (see `takes`).
    """
    function = load_object(spec, what=what, expected=expected)
    try:
        signature = inspect.signature(function)
    except ValueError:  # some functions written in C do not tell theirs
        return function
    try:
        signature.bind(*arguments, **{name: None for name in named if takes(function, name)})
    except TypeError as error:
        raise ConfigError(
            f"{what} {spec!r} takes {signature}",
            expected=expected,
            next_move=f"Let it take these arguments: {', '.join(arguments)}",
        ) from error
    return function


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether the function has a parameter of this name that can be given by keyword."""
    try:
        parameter = inspect.signature(function).parameters.get(name)
    except ValueError:  # some functions written in C do not tell theirs
        return False
    return parameter is not None and parameter.kind in (
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )


def call_function(spec: str, function: Callable[..., Any], *arguments: Any, what: str, expected: str) -> Any:
    """Returns what the user's function returns. Raises InputError when it raises anything."""
    try:
        return function(*arguments)
    except Exception as error:  # the user's code raises anything
        raise InputError(
            f"{what} {spec!r} failed with {type(error).__name__}: {error}", expected=expected, next_move=CORRECT
        ) from error


def invalid_result(spec: str, result: str, *, what: str, expected: str) -> InputError:
    """The error for a return value that a function must not have; `result` describes it."""
    return InputError(f"{what} {spec!r} gave {result}", expected=expected, next_move=CORRECT)


def number_per_prompt(spec: str, result: Any, count: int, *, what: str, expected: str) -> npt.NDArray[np.float64]:
    """Returns a function's result as an array of `count` numbers. Raises InputError for NaN and inf, but not -inf."""
    try:
        numbers = np.asarray(result, dtype=np.float64)
    except (TypeError, ValueError):
        raise invalid_result(
            spec, f"a {type(result).__name__} that is not an array of numbers", what=what, expected=expected
        ) from None
    if numbers.shape != (count,):
        raise invalid_result(
            spec, f"an array of shape {numbers.shape} for {count} prompts", what=what, expected=expected
        )
    bad = np.isnan(numbers) | (numbers == np.inf)
    if bad.any():
        raise invalid_result(
            spec, f"{numbers[bad][0]} for {int(bad.sum())} of {count} prompts", what=what, expected=expected
        )
    return numbers


def _suggestion(module: ModuleType, name: str) -> str:
    own: Mapping[str, Any] = {
        key: value
        for key, value in vars(module).items()
        if callable(value) and not key.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }
    near = difflib.get_close_matches(name, own, n=3, cutoff=0.4)
    if near:
        return f"Nearest in {module.__name__!r}: {', '.join(near)}"
    return f"{module.__name__!r} has: {', '.join(sorted(own)[:10]) or 'no functions at all'}"
