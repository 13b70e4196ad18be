"""What is said about room that no machine has, and reservations that would keep others from getting theirs."""

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


def test_whoever_waits_for_room_gives_back_what_was_lost_with_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray grants nothing to others while it looks for another place for a lost reservation."""
    states, removed = dict[str, str](), list[str]()

    def ask(parts: list[dict[str, float]], strategy: str) -> str:
        return f"group {len(states)}"

    def table(group: str) -> dict[str, str]:
        return {"state": states[group]}

    monkeypatch.setattr(room, "placement_group", ask)
    monkeypatch.setattr(room, "placement_group_table", table)
    monkeypatch.setattr(room, "remove_placement_group", removed.append)
    monkeypatch.setattr(room, "missing_room", lambda parts: "room")
    rooms: list[Room] = []
    for state in ("RESCHEDULING", "CREATED", "PENDING", "PENDING"):
        rooms.append(Room({"GPU": 1}))
        states[f"group {len(states)}"] = state
    assert rooms[3].missing() == "room"
    assert removed == ["group 0"]
    assert rooms[0].missing() is None, "its holder learns of the loss from its actor"
