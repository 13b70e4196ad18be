"""The base of every section of the config."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pydantic import AfterValidator, BaseModel, ConfigDict


class Section(BaseModel):
    """A section of the config: frozen, and strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def one_of(kind: str, names: Mapping[str, object], *, or_function: bool = False) -> AfterValidator:
    """Returns a validator that accepts the keys of a dict, and with `or_function` also a user's `module:function`.

    It leaves an unset value as it is.
    """

    def check(value: str | None) -> str | None:
        if value is not None and value not in names and not (or_function and ":" in value):
            close = difflib.get_close_matches(value, names, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            own = ", or your own `module:function`" if or_function else ""
            raise ValueError(f"there is no {kind} {value!r}; known: {', '.join(names)}{own}{hint}")
        return value

    return AfterValidator(check)
