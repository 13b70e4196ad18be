"""Places in an object store: how a run's checkpoints are named there, and what gives access.

A place is an address, such as `s3://bucket/eva/my-run-1-5c0ffee0/checkpoint-0001-0123456789abcdef`. The digest in the
name makes two jobs that publish at the same time harmless: different weights never share a folder, and which of them is
the run's checkpoint is a row in the database, which the holder of the run's lease alone can write.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from eva.solver.manifest import CREATOR, is_stored

CREDENTIALS: dict[str, tuple[str, ...]] = {
    "s3": (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
    ),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "STORAGE_EMULATOR_HOST"),
    "file": (),
}
"""The kinds of stores, and the variables that a process needs to reach one, where they are set. Machines with a role of
their own (of an instance, or of a Kubernetes service account) need none."""

_DIGITS = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHAPE = re.compile(
    r"(?P<scheme>s3|gs)://(?P<bucket>[a-zA-Z0-9][\w.-]+)(?P<folder>(?:/[^/?#\s@]+)*)/?|(?P<path>/[^?#]*)"
)


def checked_store(store: str) -> str:
    """Returns the address of a store, or the name of one, which stands for it in configs that are sent to the API.

    Raises ValueError if it is no bucket, no absolute path and no name.
    """
    if is_name(store):
        return store
    if _SHAPE.fullmatch(store) is None or ".." in PurePosixPath(store).parts:
        raise ValueError(
            "s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or the absolute path of a folder that all machines share; keys and "
            "endpoints come from environment variables (docs/deploy.md)"
        )
    return store.rstrip("/") or "/"


def is_name(store: str) -> bool:
    """Whether this is the name of a store (EVA_STORES) rather than its address."""
    return _NAME.fullmatch(store) is not None


def run_place(store: str | None, folder: Path, stored_name: str) -> str:
    """Returns where a run's checkpoints are published: its own folder, or its place in the store."""
    if store is None:
        return str(folder)
    return f"{store if is_stored(store) else f'file://{store}'}/{stored_name}"


def checkpoint_in_store(place: str, name: str, digest: str) -> str:
    """Returns the place of a checkpoint with this name and digest below `place`."""
    return f"{place}/{name}-{digest[:_DIGITS]}"


def belongs_to(place: str, stored_name: str) -> bool:
    """Whether a stored checkpoint is one of the run with this name in the store, whichever store that is."""
    folder = PurePosixPath(place).parent
    return is_stored(place) and (folder.parent if folder.name == CREATOR else folder).name == stored_name


def scheme_of(place: str) -> str:
    """Returns the kind of the store that a place is in: `s3`, `gs`, `file`; `file` for a plain path."""
    return place.partition("://")[0] if is_stored(place) else "file"


def credentials_for(place: str) -> tuple[str, ...]:
    """Returns the names of the variables that give access to a place."""
    return CREDENTIALS.get(scheme_of(place), ())
