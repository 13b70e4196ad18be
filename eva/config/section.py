"""What every section of the config is made of."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pydantic import AfterValidator, BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the config."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def one_of(kind: str, names: Mapping[str, object], *, or_function: bool = False) -> AfterValidator:
    """Accepts the keys of a dict, and says which they are; with `or_function` also the user's `module:function`."""

    def check(value: str) -> str:
        if value not in names and not (or_function and ":" in value):
            close = difflib.get_close_matches(value, names, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            own = ", or a `module:function` of your own" if or_function else ""
            raise ValueError(f"no {kind} is called {value!r}; known: {', '.join(names)}{own}{hint}")
        return value

    return AfterValidator(check)
