"""What is said about room that no machine has."""

from __future__ import annotations

import pytest

from workers.cluster import room
from workers.cluster.room import Room, missing_room


def test_what_is_needed_must_be_free_on_one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def free() -> dict[str, dict[str, float]]:
        return {"one": {"CPU": 4.0}, "other": {"CPU": 0.5, "GPU": 1.0}}

    monkeypatch.setattr(room, "available_resources_per_node", free)
    assert missing_room([{"GPU": 2}]) == "GPU 2 needed, 1 free at most"
    assert missing_room([{"GPU": 1, "CPU": 1}]) == (
        "GPU 1 needed, 1 free at most; CPU 1 needed, 4 free at most, but no machine of 2 has all of it"
    )
    assert missing_room([{"GPU": 1}] * 8) == "GPU 8 needed, 1 free", "several machines may grant the parts"


def test_an_actor_that_needs_no_resources_needs_no_reservation() -> None:
    nothing = Room({"GPU": 0, "CPU": 0})
    assert nothing.granted and nothing.missing() is None and nothing.options() == {}
    nothing.release()
