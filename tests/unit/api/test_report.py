"""The report of a run as a file: bounded, escaped, and the same from the service and the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from api.dashboard.endpoints import STATIC
from api.dashboard.script_bundle import bundle
from api.report.facts import LONGEST, facts
from api.report.page import embedded
from eva.errors import NotFoundError
from orchestrator.launch.registration import register_run
from store.schema.tables import prompts
from tests.support.cli_fixtures import Played
from tests.support.played_run import playground_config
from tests.support.service_fixtures import Served


def held(page: str) -> Any:
    """The facts that a page holds."""
    return json.loads(page.split('id="facts">')[1].split("</script>")[0])


def test_no_text_can_end_the_data_of_a_page() -> None:
    hostile = {"</script><script>": "<!-- ]]> & \u2028 \ud800", "n": [1.5, None]}
    text = embedded(hostile)
    assert not re.search(r"[<>&\u2028\u2029]", text) and text.isascii()
    assert json.loads(text) == hostile


def test_the_command_writes_what_the_service_gives(played: Played, played_service: Served, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    done = played.eva("report", played.name, "--out", str(target))
    assert done.exit_code == 0 and str(target) in done.stderr
    from_disk, from_service = (
        held(target.read_text()),
        held(played_service.client.get(f"/v1/runs/{played.name}/report").text),
    )
    assert from_disk.pop("taken_at") < from_service.pop("taken_at")
    assert from_disk == from_service
    assert from_disk["fingerprint"] in played.eva("fingerprint", played.name).stdout


def test_the_report_shows_what_the_api_returns(played: Played, played_service: Served) -> None:
    told = facts(played_service.service, played.name)
    assert told["run"] == played_service.client.get(f"/v1/runs/{played.name}").json()
    assert {row["name"] for row in told["statistics"]} == {"batch", "heldout", "diversity", "audit", "spread", "payoff"}
    assert {sample["iteration"] for sample in told["prompts"]} == {1, 2}
    for sample in told["prompts"]:
        rewards = [one["rewards"][0]["value"] for one in sample["responses"]]
        assert len(rewards) == 2 and rewards[0] >= rewards[1]
    assert 1 <= len(told["families"]) <= 3
    assert len({one["top"]["prompt"]["number"] for one in told["families"]}) == len(told["families"])


def test_long_texts_are_cut_and_say_so(served: Served) -> None:
    run = register_run(served.service.store, playground_config("prompts.playground=16"))
    with served.service.store.transaction() as conn:
        conn.execute(update(prompts).where(prompts.c.run_id == run.id).values(text="a" * (LONGEST + 1234)))
    told = facts(served.service, run.name)
    assert told["iterations"] == told["families"] == told["prompts"] == []
    assert len(json.dumps(told)) < 50_000
    assert served.client.get(f"/v1/runs/{run.name}/report").status_code == 200


def test_an_unknown_run_has_no_report(served: Served) -> None:
    assert served.client.get("/v1/runs/none/report").status_code == 404
    with pytest.raises(NotFoundError):
        facts(served.service, "none")


def test_modules_are_bundled_after_those_that_they_import() -> None:
    script = bundle(STATIC, "report/report.js", {"router.js": "report/router.js"})
    places = {name: script.index(f"modules['{name}'] =") for name in re.findall(r"^modules\['(.+?)'\] =", script, re.M)}
    assert "app.js" not in places and "router.js" not in places
    for name in re.findall(r"= modules\['(.+?)'\];", script):
        first = min(found.start() for found in re.finditer(rf"= modules\['{re.escape(name)}'\];", script))
        assert places[name] < first
    assert not re.search(r"^(import|export)\b", script, re.M)
