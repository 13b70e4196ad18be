"""A user's reward function, found by `module:function`."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

from eva.errors import ConfigError
from workers.rewards.model import reason

UserFunction = Callable[..., Any]

_EXPECTED = (
    "`module:function`, a function (prompt: str, response: str) -> float, sync or async; it may also take "
    "`context`, the messages before the prompt"
)


def check_function(spec: str) -> UserFunction:
    """The function that `module:function` names, importable and callable with (prompt, response).

    The working directory is put at the end of the import path. Raises ConfigError.
    """
    module_path, colon, name = spec.partition(":")
    if not (colon and module_path and name):
        _refuse(f"reward function {spec!r}", "Write the module's import path, a colon, the function's name")
    module = _import(spec, module_path)
    function = getattr(module, name, None)
    if not callable(function):
        _refuse(f"{spec!r}: {_where(module)} has no function {name!r}", _nearest(module, name))
    _check_signature(spec, function)
    return function


def is_async(function: UserFunction) -> bool:
    """Whether calling it gives a coroutine; objects with an async `__call__` included."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004, the attribute itself is looked at
    )


def takes_context(function: UserFunction) -> bool:
    """Whether the function has a parameter `context` for the messages before the prompt."""
    try:
        found = inspect.signature(function).parameters.get("context")
    except ValueError:  # some functions written in C do not tell theirs
        return False
    return found is not None and found.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _import(spec: str, module_path: str) -> ModuleType:
    # At the end, so that a file of the user's never hides a package that eva imports later.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module_path)
    except (Exception, SystemExit) as error:  # noqa: BLE001, user code raises anything
        said = reason(f"{type(error).__name__}: {error}")
        _refuse(
            f"{spec!r}: importing {module_path!r} failed with {said}",
            f"Try `python -c 'import {module_path}'` in {os.getcwd()}, or correct the module's path",
            error,
        )


def _check_signature(spec: str, function: UserFunction) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:  # some functions written in C do not tell theirs
        return
    try:
        signature.bind("prompt", "response", **({"context": []} if takes_context(function) else {}))
    except TypeError as error:
        _refuse(f"{spec!r} takes {signature}", "Let it take two arguments, prompt and response", error)


def _nearest(module: ModuleType, name: str) -> str:
    known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    known = [key for key in known if getattr(vars(module)[key], "__module__", None) == module.__name__]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    if near:
        return f"Nearest in {module.__name__!r}: {', '.join(near)}"
    return f"{module.__name__!r} has: {', '.join(sorted(known)[:10]) or 'no functions at all'}"


def _where(module: ModuleType) -> str:
    return f"module {module.__name__!r} ({getattr(module, '__file__', None) or 'built in'})"


def _refuse(given: str, next_move: str, cause: BaseException | None = None) -> NoReturn:
    raise ConfigError(given, expected=_EXPECTED, next_move=next_move) from cause
