"""Which differences between two OpenAPI documents break clients that were written for the first one?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]
Schema = dict[str, Any]

UPPER, LOWER = ("maximum", "maxLength", "maxItems"), ("minimum", "minLength", "minItems")


def breaking(before: Document, after: Document) -> list[str]:
    """Each change that a client may stumble over, in words. Additions are none."""
    found: list[str] = []
    for path, methods in before["paths"].items():
        for method, operation in methods.items():
            name = f"{method.upper()} {path}"
            later = after["paths"].get(path, {}).get(method)
            found += [f"{name} is gone"] if later is None else _of_operation(name, operation, later, before, after)
    return found


def _of_operation(name: str, old: Document, new: Document, before: Document, after: Document) -> Iterator[str]:
    if old["operationId"] != new["operationId"]:
        yield f"{name} is called {new['operationId']}, no longer {old['operationId']}"
    if new.get("security") and not old.get("security"):
        yield f"{name} needs a key"
    asked = Fit(wide=after, narrow=before, answer=False)
    known, now = ({(one["in"], one["name"].lower()): one for one in of.get("parameters", [])} for of in (old, new))
    for key, parameter in now.items():
        where = f"{name}, {key[0]} parameter {key[1]}"
        if parameter.get("required") and not known.get(key, {}).get("required"):
            yield f"{where}: is required"
        if key in known:
            yield from asked.misfits(parameter["schema"], known[key]["schema"], where)
    yield from (f"{name}, {where} parameter {one}: is gone" for where, one in known.keys() - now.keys())
    yield from _of_body(f"{name}, body", old.get("requestBody"), new.get("requestBody"), asked)
    yield from _of_answers(name, old["responses"], new["responses"], Fit(wide=before, narrow=after, answer=True))


def _of_body(where: str, old: Document | None, new: Document | None, asked: Fit) -> Iterator[str]:
    if new is not None and new.get("required") and not (old or {}).get("required"):
        yield f"{where}: is required"
    for kind, content in (old or {}).get("content", {}).items():
        if kind not in (new or {}).get("content", {}):
            yield f"{where}: {kind} is no longer taken"
        elif new is not None:
            yield from asked.misfits(new["content"][kind]["schema"], content["schema"], where)


def _of_answers(name: str, old: Document, new: Document, given: Fit) -> Iterator[str]:
    for status, answer in old.items():
        where = f"{name}, answer {status}"
        if status not in new:
            yield f"{where}: is gone"
            continue
        for kind, content in answer.get("content", {}).items():
            later = new[status].get("content", {}).get(kind)
            if later is None:
                yield f"{where}: {kind} is no longer given"
            else:
                yield from given.misfits(content["schema"], later["schema"], where)


@dataclass
class Fit:
    """Whether all that the schemas of `narrow` allow is allowed by those of `wide`, the documents that hold them.

    What is asked must be allowed by the later document, what is answered by the earlier one.
    """

    wide: Document
    narrow: Document
    answer: bool
    _seen: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    def misfits(self, wide: Schema, narrow: Schema, where: str) -> Iterator[str]:
        pair = str(wide.get("$ref")), str(narrow.get("$ref"))
        if "None" not in pair and pair in self._seen:
            return
        self._seen.add(pair)
        allowed, possible = _choices(self.wide, wide), _choices(self.narrow, narrow)
        for one in possible:
            tried = [list(self._of_one(other, one, where)) for other in allowed]
            if all(tried):
                # the one that is nearest says best what has changed
                yield from min(tried, key=len)

    def _of_one(self, wide: Schema, narrow: Schema, where: str) -> Iterator[str]:
        may = "may now be" if self.answer else "may no longer be"
        if (kind := wide.get("type")) is not None and narrow.get("type") not in (
            {kind, "integer"} if kind == "number" else {kind}
        ):
            yield f"{where}: {may} {narrow.get('type', 'anything')}"
            return
        if "enum" in wide or "const" in wide:
            values, others = _values(wide), _values(narrow)
            yield from (f"{where}: {may} {other!r}" for other in others if other not in values)
            if not others:
                yield f"{where}: {may} anything but {values}"
        yield from self._of_bounds(wide, narrow, where)
        if "items" in wide:
            yield from self.misfits(wide["items"], narrow.get("items", {}), f"{where}[]")
        if isinstance(more := wide.get("additionalProperties"), dict):
            yield from self.misfits(more, narrow.get("additionalProperties") or {}, f"{where}{{}}")
        yield from self._of_properties(wide, narrow, where)

    def _of_bounds(self, wide: Schema, narrow: Schema, where: str) -> Iterator[str]:
        if self.answer:
            return
        for keys, sign in ((UPPER, 1), (LOWER, -1)):
            for key in (key for key in keys if key in wide):
                if key not in narrow or sign * narrow[key] > sign * wide[key]:
                    yield f"{where}: {key} is {wide[key]}, no longer {narrow.get(key, 'without one')}"
        if wide.get("pattern") not in (None, narrow.get("pattern")):
            yield f"{where}: must match {wide['pattern']}"

    def _of_properties(self, wide: Schema, narrow: Schema, where: str) -> Iterator[str]:
        ours, theirs = wide.get("properties", {}), narrow.get("properties", {})
        for name in wide.get("required", []):
            if name not in narrow.get("required", []) and not (self.answer and name not in theirs):
                yield f"{where}.{name}: {'may now be missing' if self.answer else 'is required'}"
        gone = ours.keys() - theirs.keys() if self.answer else theirs.keys() - ours.keys()
        yield from (f"{where}.{name}: is gone" for name in sorted(gone))
        for name in ours.keys() & theirs.keys():
            yield from self.misfits(ours[name], theirs[name], f"{where}.{name}")


def _choices(document: Document, schema: Schema) -> list[Schema]:
    if "$ref" in schema:
        return _choices(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return [choice for one in schema[key] for choice in _choices(document, one)]
    return [schema]


def _values(schema: Schema) -> list[Any]:
    return [schema["const"]] if "const" in schema else schema.get("enum", [])
