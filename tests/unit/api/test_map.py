"""The map in the API: bounded, reproducible, stable while a run grows, and usable as a filter of prompts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from api import map_cache
from api.map_cache import MapCache
from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from orchestrator.watch.listener import NoListener
from store.runs.runs import find_run
from store.session import Store
from tests.support.cli_fixtures import Played
from tests.support.fakes import always, fake_config, fake_roles
from tests.support.service_fixtures import Served


def test_an_area_holds_what_the_map_shows_there(played: Played, played_service: Served) -> None:
    ask = played_service.client.get
    found = ask(f"/v1/runs/{played.name}/map").json()
    run = ask(f"/v1/runs/{played.name}").json()
    assert found["numbers"] == [*range(run["prompts"])] and found["prompts"] == run["prompts"]
    assert found["iteration"] == 3 and not found["settled"]
    assert {*found["born"]} == {-1, 1, 2} and found["faithful"]["prompts"] == run["prompts"]
    page = ask(f"/v1/runs/{played.name}/prompts", params={"area": "0.25,0.1,0.75,0.6", "limit": 200}).json()
    inside = [
        number
        for number, x, y in zip(found["numbers"], found["x"], found["y"], strict=True)
        if 0.25 <= x <= 0.75 and 0.1 <= y <= 0.6
    ]
    assert [one["number"] for one in page["items"]] == inside and 0 < len(inside) < run["prompts"]
    for one in page["items"]:
        place = found["numbers"].index(one["number"])
        assert one["text"].startswith(found["starts"][place]) and one["info"] == found["info"][place]
        operator = found["operator"][place]
        assert one["operator"] == (None if operator is None else found["operators"][operator])
    few = ask(f"/v1/runs/{played.name}/prompts", params={"area": "0.25,0.1,0.75,0.6", "sort": "-info", "limit": 3})
    assert {one["number"] for one in few.json()["items"]} <= {*inside}


@pytest.mark.parametrize("area", ["", "1,2,3", "0,0,1,1,1", "0,0,2,1", "a,b,c,d", "0,0,1,nan", "-0.1,0,1,1"])
def test_an_invalid_area_is_refused(played: Played, played_service: Served, area: str) -> None:
    assert played_service.client.get(f"/v1/runs/{played.name}/prompts", params={"area": area}).status_code == 422


def test_no_prompt_moves_once_the_landmarks_are_made(
    store: Store, store_settings: Settings, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = register_run(store, fake_config(iterations=7))
    drive(store, store_settings, run, NoListener(), build=always(fake_roles()))
    with store.transaction() as conn:
        row = find_run(conn, run.name)
    reading = served.service.reading
    before, after = (MapCache().of(replace(row, iteration=iteration), reading) for iteration in (4, 7))
    assert before.settled and len(after.prompts) > len(before.prompts)
    places = {one.number: [*place] for one, place in zip(after.prompts, after.places_P_2, strict=True)}
    for one, place in zip(before.prompts, before.places_P_2, strict=True):
        assert places[one.number] == pytest.approx([*place], abs=2e-4)
    monkeypatch.setattr(map_cache, "POINTS", 20)
    few = MapCache().of(replace(row, iteration=7), reading)
    assert len(few.prompts) == 20 and few.total == len(after.prompts)
    assert all(
        places[one.number] == pytest.approx([*place], abs=2e-4)
        for one, place in zip(few.prompts, few.places_P_2, strict=True)
    )


def test_a_map_is_drawn_once(played: Played, played_service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    first = played_service.client.get(f"/v1/runs/{played.name}/map").json()
    monkeypatch.setattr(map_cache, "fit_map", None)
    monkeypatch.setattr(map_cache, "place_on_map", None)
    assert played_service.client.get(f"/v1/runs/{played.name}/map").json() == first
