"""Whether a machine has room for one more engine."""

from __future__ import annotations

import pytest

from workers.fleet import placement
from workers.fleet.placement import EngineResources, no_room


def test_what_an_engine_needs_must_be_free_on_one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def free() -> dict[str, dict[str, float]]:
        return {"one": {"CPU": 4.0}, "other": {"CPU": 0.5, "GPU": 1.0}}

    monkeypatch.setattr(placement, "available_resources_per_node", free)
    assert (
        no_room(EngineResources(0, 1, 1)) is None
        and no_room(EngineResources(1, 0.5, 1)) is None
        and no_room(EngineResources(0, 0, 1)) is None
    )
    assert no_room(EngineResources(1, 1, 1)) == (
        "GPU 1 needed, 1 free at most; CPU 1 needed, 4 free at most, but no machine of 2 has all of it"
    )
