"""A whole run on two machines that share no disk, with an emulator of S3 between them."""

from __future__ import annotations

from pathlib import Path

import pytest

from eva.settings import Settings
from tests.support.faults.simulated_cluster import play_apart


@pytest.mark.timeout(400)
def test_two_machines_that_share_no_disk_play_a_run_and_each_fetches_a_checkpoint_once(
    store_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVA_DATABASE_URL", store_settings.database_url or "")
    seen = play_apart("tests.support.faults.stored_run", tmp_path, timeout_s=390)
    assert seen["status"] == "finished"
    assert len(seen["digests"]) == 2 and len({*seen["digests"]}) == 2, "it has trained"
    assert all(place.startswith("s3://eva/runs/playground-") for place in seen["places"])
    assert seen["weights_of_the_driver"] == [], "the driver's disk has no weights, and nobody reads it"
    for digest in seen["digests"]:
        assert [digest in copies for copies in seen["copies"]] == [True, True]
    # The machine of the trainer, which made a checkpoint, downloads nothing of it.
    names = [f"{place.removeprefix('s3://eva/')}/model.safetensors" for place in seen["places"]]
    assert seen["downloads"] == dict.fromkeys(names, 1), "one download for the other machine, whoever asks there"
    assert seen["damage"] == [None, None] and seen["secrets_in_logs"] == []
