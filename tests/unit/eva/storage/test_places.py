from __future__ import annotations

from pathlib import Path

import pytest

from eva.storage.places import belongs_to, checked_store, checkpoint_in_store, credentials_for, run_place


@pytest.mark.parametrize("store", ["team", "s3://bucket", "s3://bucket/a/b/", "gs://my.bucket-1/eva", "/mnt/shared"])
def test_buckets_absolute_paths_and_names_are_stores(store: str) -> None:
    assert checked_store(store) == store.rstrip("/")


@pytest.mark.parametrize(
    "store",
    ["s3://", "s3://key:secret@bucket/x", "http://host/x", "s3://bucket/../x", "s3://b/x?sig=1", "a/b"],
)
def test_what_is_no_bucket_or_carries_credentials_is_refused(store: str) -> None:
    with pytest.raises(ValueError, match="s3://BUCKET/FOLDER"):
        checked_store(store)


def test_a_run_has_a_place_of_its_own_in_its_store_and_owns_the_checkpoints_there_alone() -> None:
    folder = Path("/data/runs/mine-1")
    assert run_place(None, folder, "mine-1-0123abcd") == "/data/runs/mine-1"
    assert run_place("/mnt/shared", folder, "mine-1-0123abcd") == "file:///mnt/shared/mine-1-0123abcd"
    place = run_place("s3://bucket/eva", folder, "mine-1-0123abcd")
    checkpoint = checkpoint_in_store(place, "checkpoint-0002", "f" * 64)
    assert checkpoint == f"s3://bucket/eva/mine-1-0123abcd/checkpoint-0002-{'f' * 16}"
    assert belongs_to(checkpoint, "mine-1-0123abcd")
    assert not belongs_to(checkpoint, "mine-1-0123abce") and not belongs_to("mine-1-0123abcd/checkpoint", "mine-1")


def test_only_the_variables_of_its_own_store_are_named() -> None:
    assert "AWS_SECRET_ACCESS_KEY" in credentials_for("s3://bucket/x")
    assert not [name for name in credentials_for("gs://bucket/x") if name.startswith("AWS")]
    assert credentials_for("/data/runs/x") == credentials_for("file:///mnt/x") == ()
