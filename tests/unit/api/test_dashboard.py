"""The dashboard is served as it is: its page, its files, its libraries at the hashes of their lock file."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path

import pytest
from sqlalchemy import insert

from api.clients.declarations import declarations
from api.dashboard.endpoints import STATIC
from api.dashboard.page_files import PageBuilder
from orchestrator.launch.registration import register_run
from store.game.batches import read_estimates
from store.schema.tables import evolutions
from store.views.statistics import put_statistic
from tests.support.cli_fixtures import Played
from tests.support.played_run import playground_config
from tests.support.service_fixtures import Served
from tests.support.structure import FILE_LINES, ROOT

VENDOR = STATIC / "vendor"
SCRIPTS = sorted(path for path in STATIC.rglob("*.js") if path.parent != VENDOR)
INLINE = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function\(|javascript:|style=\""
)
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; "


@pytest.mark.parametrize("path", ["/", "/runs/last", "/runs/a%2Fb/prompts/3?sort=-info"])
def test_every_address_of_a_view_gives_the_page(served: Served, path: str) -> None:
    answer = served.client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html") and '<div id="app">' in answer.text
    assert answer.headers["content-security-policy"].startswith(POLICY)


def test_browsers_revalidate_files_and_unchanged_files_are_not_sent_again(served: Served) -> None:
    first = served.client.get("/static/app.js")
    assert "javascript" in first.headers["content-type"] and first.headers["cache-control"] == "no-cache"
    assert first.headers["content-security-policy"].startswith(POLICY)
    again = served.client.get("/static/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304


def test_a_page_loads_few_files_that_browsers_keep_for_good(served: Served) -> None:
    page = served.client.get("/runs/a").text
    loaded = re.findall(r'(?:src|rel="stylesheet" href)="(/static/built/[^"]+)"', page)
    assert [path.rsplit("/", 1)[1] for path in loaded] == ["style.css", "theme.js", "app.js"]
    for path in loaded:
        zipped = served.client.get(path)
        plain = served.client.get(path, headers={"Accept-Encoding": "identity"})
        assert zipped.headers["cache-control"].endswith("immutable") and zipped.headers["vary"] == "Accept-Encoding"
        assert zipped.headers["content-encoding"] == "gzip" and zipped.text == plain.text
    assert served.client.get(re.sub(r"built/\w+", "built/0000", loaded[-1])).status_code == 404


@pytest.mark.parametrize(
    ("path", "first"),
    [
        ("/", ["/v1/session", "/v1/runs?sort=-created&amp;limit=50"]),
        ("/runs/a%22%3E/training", ["views-training-training.js", "shared.js", "/v1/session", "/v1/runs/a&quot;&gt;"]),
        ("/runs/a/prompts/3", ["views-prompts-prompt.js", "shared.js", "/v1/session"]),
        ("/runs/a/none", ["/v1/session"]),
        ("/runs/a", ["/v1/session", "/v1/runs/a"]),
    ],
)
def test_a_page_names_what_its_view_needs_first(served: Served, path: str, first: list[str]) -> None:
    named = re.findall(r'rel="preload"[^>]* href="([^"]+)">', served.client.get(path).text)
    assert [re.sub(r"/static/built/\w+/", "", address) for address in named] == first


def test_scripts_are_joined_again_after_a_change(tmp_path: Path) -> None:
    sources = {
        "index.html": '<link rel="stylesheet" href="/static/a.css">\n'
        '<script type="module" src="/static/app.js"></script>',
        "a.css": "p {}",
        "app.js": '// a comment\nimport { one } from "./one.js";\nconst later = () => import("./two.js");\n',
        "one.js": "export const one = 1;\n",
        "two.js": 'import { one } from "./one.js";\nimport { both } from "./both.js";\nexport const two = 1;\n',
        "three.js": 'import { both } from "./both.js";\nexport const three = both;\n',
        "both.js": "export const both = 2;\n",
    }
    for name, text in sources.items():
        (tmp_path / name).write_text(text)
    builder = PageBuilder(tmp_path)
    before = builder.newest()
    assert builder.newest() is before
    assert b"a comment" not in before.files["app.js"].plain and b"both" not in before.files["app.js"].plain
    assert b"modules['both.js'] =" in before.files["two.js"].plain
    (tmp_path / "app.js").write_text(sources["app.js"] + 'const third = () => import("./three.js");\n')
    after = builder.newest()
    assert after.digest != before.digest and after.digest in after.page
    assert b"modules['both.js'] =" in after.files["shared.js"].plain
    assert [b"modules['both.js'] =" in after.files[name].plain for name in ("two.js", "three.js")] == [False, False]


@pytest.mark.parametrize("path", ["nothing.js", "..%2fendpoints.py", "%2e%2e/endpoints.py", "views/"])
def test_nothing_but_the_files_is_served(served: Served, path: str) -> None:
    answer = served.client.get(f"/static/{path}")
    assert answer.status_code == 404 and answer.json()["type"] == "urn:eva:problem:not-found"


def test_libraries_are_those_of_the_lock_file() -> None:
    packages = json.loads((VENDOR / "lock.json").read_text())["packages"]
    locked = {name: file["sha256"] for package in packages for name, file in package["files"].items()}
    there = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.iterdir()
        if path.suffix in {".js", ".css", ".LICENSE", ".NOTICE"}
    }
    assert there == locked, "`make vendor` writes both"
    assert all(package["version"] and package["licence"] and package["integrity"] for package in packages)


def test_every_file_is_package_data() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["api.dashboard"]
    files = {path for path in STATIC.rglob("*") if path.is_file()}
    assert files and files <= {path for pattern in data for path in STATIC.parent.glob(pattern)}


def test_declarations_are_those_of_the_api() -> None:
    assert (STATIC / "data/schema.d.ts").read_text() == declarations(), "run `make dashboard-types`"


def test_scripts_are_short_and_never_make_html_of_text() -> None:
    assert len(SCRIPTS) > 10
    for path in [*SCRIPTS, *STATIC.glob("*.html"), *STATIC.glob("style/*.css")]:
        text = path.read_text()
        assert len(text.splitlines()) <= FILE_LINES, path.name
        assert not INLINE.search(text), f"{path.name}: {INLINE.search(text)}"
        assert not re.search(r"[\"'(]https?://(?!www\.w3\.org/2000/svg)", text), f"{path.name} names an address"


def test_curves_are_those_of_the_statistics(played_service: Served, played: Played) -> None:
    answer = played_service.client.get("/v1/curves", params={"run": [played.name, "none such"]}).json()
    (curve,) = answer["items"]
    batches = played_service.client.get(f"/v1/runs/{played.name}/statistics", params={"name": "batch"}).json()["items"]
    assert curve == {
        "run": played.name,
        "points": [
            {"iteration": row["iteration"], "reward": row["data"]["reward_mean"], "info": row["data"]["info_mean"]}
            for row in batches
        ],
    }
    assert len(curve["points"]) == 3


def test_heldout_figures_are_stored_for_every_policy(played_service: Served, played: Played) -> None:
    rows = played_service.client.get(f"/v1/runs/{played.name}/statistics", params={"name": "heldout"}).json()["items"]
    assert [row["iteration"] for row in rows] == [-1, 0, 1, 2]
    for number, row in enumerate(rows):
        assert {one["checkpoint"] for one in row["data"]} == {number}
        for one in row["data"]:
            low, high = one["accuracy_interval"]
            assert 0 <= low <= one["accuracy"] == one["correct"] / one["n"] <= high <= 1


def test_a_run_says_what_its_stored_figures_say_of_its_first_and_its_newest_policy(
    played_service: Served, played: Played
) -> None:
    (listed,) = played_service.client.get("/v1/runs").json()["items"]
    assert listed["outcome"] == played_service.client.get(f"/v1/runs/{played.name}").json()["outcome"]
    rows = played_service.client.get(f"/v1/runs/{played.name}/statistics", params={"name": "heldout"}).json()["items"]
    first, newest = (
        {one["split"]: one for one in row["data"] if one["mode"] == "greedy"} for row in (rows[0], rows[-1])
    )
    assert [one["split"] for one in listed["outcome"]] == ["hard", "medium", "easy"]
    for one in listed["outcome"]:
        before, after = first[one["split"]], newest[one["split"]]
        assert one["first"] == {"policy": 0, "success": before["accuracy"], "reward": before["reward"]}
        assert one["newest"] == {"policy": 3, "success": after["accuracy"], "reward": after["reward"]}
        assert [*one["success_change"].values()] == [after["change"], *after["change_interval"]]
        assert [*one["reward_change"].values()] == [after["reward_change"], *after["reward_change_interval"]]


def test_a_run_without_evaluations_or_of_an_older_version_has_the_outcome_that_is_stored(served: Served) -> None:
    store = served.service.store
    run = register_run(store, playground_config("prompts.playground=16"))
    assert served.client.get(f"/v1/runs/{run.name}").json()["outcome"] == []
    old = {"split": "hard", "mode": "greedy", "reward": None}
    with store.transaction() as conn:
        put_statistic(conn, run.id, -1, "heldout", [{**old, "checkpoint": 0, "accuracy": 0.1}])
    (outcome,) = served.client.get(f"/v1/runs/{run.name}").json()["outcome"]
    assert (outcome["first"]["success"], outcome["newest"]) == (0.1, None)
    with store.transaction() as conn:
        put_statistic(conn, run.id, 1, "heldout", [{**old, "checkpoint": 2, "accuracy": 0.4}])
    (outcome,) = served.client.get(f"/v1/runs/{run.name}").json()["outcome"]
    assert (outcome["newest"]["policy"], outcome["newest"]["success"], outcome["success_change"]) == (2, 0.4, None)


def test_the_threshold_of_a_draw_is_its_smallest_sampled_key(played_service: Served, played: Played) -> None:
    pools = played_service.client.get(f"/v1/runs/{played.name}/statistics", params={"name": "pool"}).json()["items"]
    assert pools
    for pool in pools:
        with played.store.transaction() as conn:
            sampled = read_estimates(conn, played.run_id, pool["iteration"], sampled=True)
        assert pool["data"]["threshold"] == min(row.key for row in sampled if row.key is not None)


def test_a_prompt_that_several_evolutions_gave_comes_from_the_first(served: Served) -> None:
    store = served.service.store
    run = register_run(store, playground_config("prompts.playground=16"))
    made = [
        {
            "run_id": run.id,
            "iteration": 0,
            "source": source,
            "slot": 0,
            "attempt": 0,
            "operator": f"of {source}",
            "text": "as before",
            "prompt_tokens": 0,
            "reply_tokens": 0,
            "cost_usd": 0.0,
            "child": 3,
        }
        for source in (2, 1)
    ]
    with store.transaction() as conn:
        conn.execute(insert(evolutions), made)
    assert served.client.get(f"/v1/runs/{run.name}/prompts/3").json()["origin"]["operator"] == "of 1"
