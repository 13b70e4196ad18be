"""What the API shows of a played run is what the store holds."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, text

from api.service import Service
from eva.errors import StoreError
from eva.settings import Settings
from eva.types import Checkpoint
from store.game import batches, prompts
from store.game.checkpoints import insert_checkpoint
from store.game.pairs import read_pairs
from store.runs.runs import create_run, set_status
from store.schema.tables import WORDS, leases, pairs, responses
from store.session import Store
from store.views import report
from tests.support.cli_fixtures import Played
from tests.support.decisions import read_batch
from tests.support.service_fixtures import Served
from workers.training.checkpoints import seal

BASE = "/v1/runs/last"


def get(served: Served, path: str, **params: Any) -> Any:
    answer = served.client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def walk(served: Served, path: str, limit: int, **params: Any) -> list[Any]:
    """Every item of a list, page by page."""
    items: list[Any] = []
    cursor: str | None = None
    while True:
        more = {} if cursor is None else {"cursor": cursor}
        page = get(served, path, limit=limit, **params, **more)
        assert len(page["items"]) <= limit
        items += page["items"]
        if (cursor := page["next"]) is None:
            return items


def test_reading_never_writes_and_has_a_time_limit(store: Store, store_settings: Settings) -> None:
    service = Service(store, store_settings, longest_s=0.02)
    with pytest.raises(StoreError, match="statement timeout"), service.reading() as conn:
        conn.execute(text("SELECT pg_sleep(60)"))
    with pytest.raises(StoreError, match="read-only"), service.reading() as conn:
        create_run(conn, stem="r", config={"iterations": 1}, config_hash="h", seed=1)


def test_a_run_shows_its_status_and_progress(played_service: Served, played: Played) -> None:
    run = get(played_service, BASE)
    assert (run["name"], run["status"], run["iteration"], run["held_by"]) == (played.name, "finished", 3, None)
    assert run["config"]["prompts"]["playground"] == 48
    assert run["stage"] is None


def test_a_run_that_nobody_holds_is_interrupted(served: Served) -> None:
    with served.service.store.transaction() as conn:
        run = create_run(conn, stem="r", config={"iterations": 1}, config_hash="h", seed=1)
        set_status(conn, run.id, "running")
    assert get(served, f"/v1/runs/{run.name}")["status"] == "interrupted"
    assert [one["name"] for one in get(served, "/v1/runs", status="interrupted")["items"]] == [run.name]
    assert get(served, "/v1/runs", status="running")["items"] == []
    with served.service.store.transaction() as conn:
        ends = func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, 60)
        conn.execute(leases.update().values(owner={"host": "h", "pid": 1}, expires_at=ends))
    held = get(served, f"/v1/runs/{run.name}")
    assert (held["status"], held["held_by"]) == ("running", {"host": "h", "pid": 1})


def test_a_run_that_has_not_changed_is_not_sent_again(served: Served) -> None:
    with served.service.store.transaction() as conn:
        run = create_run(conn, stem="r", config={"iterations": 1}, config_hash="h", seed=1)
    first = served.client.get(f"/v1/runs/{run.name}")
    tag = first.headers["etag"]
    again = served.client.get(f"/v1/runs/{run.name}", headers={"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    with served.service.store.transaction() as conn:
        set_status(conn, run.id, "failed", "why")
    changed = served.client.get(f"/v1/runs/{run.name}", headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()["error"]) == (200, "why")


def test_runs_come_in_pages_newest_first_while_others_are_added(served: Served) -> None:
    def make(tag: str) -> str:
        with served.service.store.transaction() as conn:
            return create_run(conn, stem="r", config={"iterations": 1}, config_hash="h", seed=1, tags=(tag,)).name

    names = [make("odd" if number % 2 else "even") for number in range(7)]
    page = get(served, "/v1/runs", limit=3)
    make("odd")
    rest = walk(served, "/v1/runs", 3)[1:]
    assert [run["name"] for run in page["items"]] == names[:3:-1]
    assert [run["name"] for run in rest] == names[::-1]
    assert [run["name"] for run in walk(served, "/v1/runs", 2, tag="even")] == names[::-2]
    assert [run["name"] for run in walk(served, "/v1/runs", 2, name=names[3])] == [names[3]]


def test_iterations_show_what_their_stages_did(played_service: Served) -> None:
    iterations = get(played_service, f"{BASE}/iterations")["items"]
    stages = get(played_service, f"{BASE}/stages")["items"]
    assert [one["number"] for one in iterations] == [0, 1, 2]
    assert {one["status"] for one in iterations} == {"done"}
    assert sum(len(one["stages"]) for one in iterations) == len(stages)
    assert iterations[0]["children"] is None and iterations[1]["children"] > 0
    assert all(one["status"] == "done" and one["attempts"] == 1 and one["eta_s"] is None for one in stages)
    judged = next(one for one in stages if one["name"] == "judge_batch")
    assert judged["per_second"] == pytest.approx(judged["done"] / judged["seconds"])


def test_iterations_count_the_pairs_that_are_stored(played_service: Served, played: Played) -> None:
    with played.store.transaction() as conn:
        query = select(pairs.c.iteration, func.count()).where(pairs.c.run_id == played.run_id).group_by("iteration")
        stored = {row[0]: row[1] for row in conn.execute(query)}
    shown = {one["number"]: one["pairs"] for one in get(played_service, f"{BASE}/iterations")["items"]}
    assert shown == stored


def test_statistics_are_found_by_name_and_iteration(played_service: Served) -> None:
    every = get(played_service, f"{BASE}/statistics")["items"]
    assert {"batch", "pool", "cost", "diversity"} <= {one["name"] for one in every}
    one = get(played_service, f"{BASE}/statistics", name="cost", iteration=1)["items"]
    assert one == [item for item in every if (item["name"], item["iteration"]) == ("cost", 1)]


def test_checkpoints_are_the_policies_of_the_run(played_service: Served) -> None:
    found = get(played_service, f"{BASE}/checkpoints")["items"]
    assert [one["number"] for one in found] == [0, 1, 2, 3]
    assert [one["parent"] for one in found] == [None, 0, 1, 2]


@pytest.mark.parametrize("sort", ["number", "-number", "info", "-info", "depth", "-depth"])
@pytest.mark.parametrize("iteration", [None, 1])
def test_pages_of_prompts_join_to_the_whole_list_in_order(
    played_service: Served, sort: str, iteration: int | None
) -> None:
    asked: dict[str, Any] = {"sort": sort} | ({} if iteration is None else {"iteration": iteration})
    found = walk(played_service, f"{BASE}/prompts", 7, **asked)
    field, sign = sort.removeprefix("-"), -1 if sort.startswith("-") else 1

    def order(prompt: Any) -> tuple[float, int]:
        value = prompt[field]
        return (float("inf"), prompt["number"]) if value is None else (sign * value, sign * prompt["number"])

    assert [one["number"] for one in found] == [one["number"] for one in sorted(found, key=order)]
    assert len({one["number"] for one in found}) == len(found)
    if iteration is None:
        assert len(found) == get(played_service, BASE)["prompts"]


def test_prompts_of_an_iteration_are_its_pool_and_batch_with_its_info(played_service: Served, played: Played) -> None:
    with played.store.transaction() as conn:
        infos = {row.prompt: row.info for row in batches.read_estimates(conn, played.run_id, 2)}
        infos |= {row.prompt: row.info for row in read_batch(conn, played.run_id, 2)}
    found = walk(played_service, f"{BASE}/prompts", 50, iteration=2)
    assert {one["number"]: one["info"] for one in found} == infos


def test_prompts_are_filtered_by_all_given_filters(played_service: Served, played: Played) -> None:
    every = walk(played_service, f"{BASE}/prompts", 100)
    with played.store.transaction() as conn:
        assert {one["number"]: one["info"] for one in every if one["iteration"] is not None} == report.read_infos(
            conn, played.run_id, [one["number"] for one in every]
        )
    child = next(one for one in every if one["operator"] and one["info"] is not None)
    word = child["text"].split(":")[0].upper()
    asked = {
        "operator": child["operator"],
        "depth": child["depth"],
        "born": child["born"],
        "root": child["root"],
        "text": word,
        "info_min": child["info"],
        "info_max": child["info"],
    }
    found = walk(played_service, f"{BASE}/prompts", 100, **asked)
    same = [
        one
        for one in every
        if word in one["text"].upper()
        and all(one[key] == child[key] for key in ("operator", "depth", "born", "root", "info"))
    ]
    assert child in found and found == same
    assert get(played_service, f"{BASE}/prompts", text="100%_")["items"] == [], "wildcards are only characters"


def test_a_cursor_of_another_sort_order_is_refused(played_service: Served) -> None:
    cursor = get(played_service, f"{BASE}/prompts", limit=1)["next"]
    refused = played_service.client.get(f"{BASE}/prompts", params={"cursor": cursor, "sort": "info"})
    assert refused.status_code == 422
    assert "same sort" in refused.json()["expected"]


def test_a_prompt_tells_why_it_was_trained_on(played_service: Served, played: Played) -> None:
    with played.store.transaction() as conn:
        trained = [(iteration, pair) for iteration in (0, 1, 2) for pair in read_pairs(conn, played.run_id, iteration)]
        born = {one.number: one for one in prompts.read_prompts(conn, played.run_id)}
        answers = conn.scalar(
            select(func.count()).where(responses.c.run_id == played.run_id, responses.c.prompt == trained[-1][1].number)
        )
    iteration, pair = next((i, p) for i, p in trained if born[p.number].parent is not None and born[p.number].born == i)
    details = get(played_service, f"{BASE}/prompts/{pair.number}")
    parent, operator = born[pair.number].parent, born[pair.number].operator
    assert details["why"][0].startswith(f"Iteration {iteration} made it from prompt {parent} by {operator}")
    assert any(
        f"trained on response {pair.chosen}" in one and f"over response {pair.rejected}" in one
        for one in details["why"]
    )
    stored = next(one for one in details["pairs"] if one["iteration"] == iteration)
    assert (stored["chosen"], stored["rejected"], stored["chosen_reward"]) == (
        pair.chosen,
        pair.rejected,
        pair.chosen_reward,
    )
    assert (details["origin"]["operator"], details["context"]) == (operator, [])
    chosen = next(
        one
        for one in details["responses"]["items"]
        if (one["checkpoint"], one["sample"]) == (stored["checkpoint"], pair.chosen)
    )
    assert chosen["rewards"][0]["value"] == pair.chosen_reward
    last = get(played_service, f"{BASE}/prompts/{trained[-1][1].number}/responses")
    assert len(last["items"]) == answers and last["truncated"] is False


def test_responses_of_one_checkpoint_are_those_that_it_wrote(played_service: Served) -> None:
    every = get(played_service, f"{BASE}/prompts/0/responses")["items"]
    ones = get(played_service, f"{BASE}/prompts/0/responses", checkpoint=0)["items"]
    assert ones == [one for one in every if one["checkpoint"] == 0] != []


def test_a_lineage_is_truncated_at_its_limits_and_says_so(played_service: Served, played: Played) -> None:
    with played.store.transaction() as conn:
        root = report.most_evolved_root(conn, played.run_id)
        assert root is not None
        below = prompts.descendants(conn, played.run_id, root, 1000, 1000)
        deepest = below[-1]
        line = prompts.ancestors(conn, played.run_id, deepest.number)
    whole = get(played_service, f"{BASE}/prompts/{root}/lineage", depth=1000, limit=1000)
    assert [one["number"] for one in whole["descendants"]] == [one.number for one in below]
    assert whole["truncated"] is False and whole["ancestors"] == []
    near = get(played_service, f"{BASE}/prompts/{root}/lineage", depth=1)
    assert {one["distance"] for one in near["descendants"]} == {1} and near["truncated"] is True
    few = get(played_service, f"{BASE}/prompts/{root}/lineage", limit=1)
    assert len(few["descendants"]) == 1 and few["truncated"] is True
    up = get(played_service, f"{BASE}/prompts/{deepest.number}/lineage")
    assert [one["number"] for one in up["ancestors"]] == [one.number for one in line[:-1]]
    assert [one["distance"] for one in up["ancestors"]] == [*range(1 - len(line), 0)]


def test_words_are_found_in_any_order_by_the_index(played_service: Served, played: Played) -> None:
    every = walk(played_service, f"{BASE}/prompts", 200)
    first, second = [word for word in every[0]["text"].replace(":", " ").split() if word.isalpha()][:2]
    found = walk(played_service, f"{BASE}/prompts", 200, words=f"{second.upper()} {first}")
    assert every[0]["number"] in [one["number"] for one in found]
    assert all(first.lower() in one["text"].lower() and second.lower() in one["text"].lower() for one in found)
    without = walk(played_service, f"{BASE}/prompts", 200, words=f"-{first}")
    assert not {one["number"] for one in found} & {one["number"] for one in without}
    for odd in ('"', "' | & !", "<->", "a:*", "(((", "\u0000"):
        assert played_service.client.get(f"{BASE}/prompts", params={"words": odd}).status_code == 200
    with played.store.transaction() as conn:
        conn.execute(text("SET LOCAL enable_seqscan = off"))
        plan = " ".join(
            conn.execute(
                text(f"EXPLAIN SELECT number FROM prompts WHERE {WORDS.text} @@ to_tsquery('simple', 'x')")  # noqa: S608
            ).scalars()
        )
    assert "prompts_words_idx" in plan


def test_a_checkpoint_shows_its_manifest_and_no_path_of_the_server(
    served: Served, store: Store, store_settings: Settings
) -> None:
    folder = store_settings.runs_dir / "r" / "checkpoint-0001"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    digest = seal(folder)
    with store.transaction() as conn:
        run = create_run(conn, stem="r", config={"iterations": 1}, config_hash="h", seed=1)
        insert_checkpoint(conn, run.id, Checkpoint(0, -1, "/somewhere/model", "d"))
        insert_checkpoint(conn, run.id, Checkpoint(1, 0, str(folder), digest), parent=0)
    found = get(served, f"{BASE}/checkpoints/1")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert found["files"] == [{"path": "model.safetensors", "size": 7, "sha256": digest}]
    assert (found["folder"], found["bytes"], found["pruned_at"]) == ("runs/r/checkpoint-0001", 7, None)
    given = get(served, f"{BASE}/checkpoints/0")
    assert (given["folder"], given["files"], given["bytes"]) == (None, None, None)
    shown = served.client.get(f"{BASE}/checkpoints").text + json.dumps([found, given])
    assert str(store_settings.data_dir) not in shown and "/somewhere" not in shown
    archive = served.client.get(f"{BASE}/checkpoints/1/archive")
    sealed = (folder / "manifest.json").read_bytes()
    assert archive.headers["content-length"] == str(len(archive.content))
    assert archive.headers["etag"] == f'"{hashlib.sha256(sealed).hexdigest()}"'
    with tarfile.open(fileobj=io.BytesIO(archive.content)) as tar:
        held = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    name = archive.headers["content-disposition"].split('"')[1].removesuffix(".tar")
    assert held == {f"{name}/manifest.json": sealed, f"{name}/model.safetensors": b"weights"}
    (folder / "model.safetensors").write_bytes(b"weigh")
    with pytest.raises(httpx.RemoteProtocolError):
        served.client.get(f"{BASE}/checkpoints/1/archive")
    for missing in (0, 7):
        assert served.client.get(f"{BASE}/checkpoints/{missing}/archive").status_code == 404
    (folder / "manifest.json").write_text('{"files": []}')
    assert get(served, f"{BASE}/checkpoints/1")["files"] is None, "another manifest than the recorded one is none"
    assert served.client.get(f"{BASE}/checkpoints/7").status_code == 404
