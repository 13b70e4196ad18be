"""`eva show` prints what the API returns, and needs no web framework for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from store.views.summary.schema import read_summary, summary_json
from tests.support.cli_fixtures import Played
from tests.support.service_fixtures import Served

SHOW = """
import sys
from cli.main import eva
eva(["show", sys.argv[1]], standalone_mode=False)
print(sorted({"api", "fastapi", "starlette", "uvicorn", "torch", "ray"} & {*sys.modules}))
"""


def test_the_command_and_the_api_give_the_same_summary(played: Played, played_service: Served) -> None:
    shown = played.eva("show", played.name, "--json")
    assert shown.exit_code == 0, shown.output
    returned = played_service.client.get(f"/v1/runs/{played.name}/summary").json()
    assert json.loads(shown.stdout) == returned
    assert summary_json(read_summary(returned)) == returned
    remote = played.eva("show", played.name, "--json", "--url", played_service.url)
    assert json.loads(remote.stdout) == returned
    assert played.eva("show", played.name).stdout == played.eva("show", played.name, "--url", played_service.url).stdout


def test_a_report_is_printed_without_the_web_framework(played: Played) -> None:
    environment = os.environ | {
        "EVA_DATA_DIR": str(played.settings.data_dir),
        "EVA_DATABASE_URL": played.settings.database_url or "",
    }
    done = subprocess.run(
        [sys.executable, "-c", SHOW, played.name],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "What happened" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
