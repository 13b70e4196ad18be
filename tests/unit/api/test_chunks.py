"""What the API tells about the chunks of semi-online training."""

from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.session import Store
from tests.support.fakes import Recorder, always, fake_config, fake_roles
from tests.support.service_fixtures import Served


def test_the_chunks_of_a_run_come_with_their_steps_and_staleness(
    served: Served, store: Store, store_settings: Settings
) -> None:
    config = fake_config(iterations=2, training={"batch": 4, "epochs": 2, "sync_every": 4})
    run = register_run(store, config)
    assert served.client.get(f"/v1/runs/{run.name}/metrics/chunks").json() == {"items": []}
    drive(store, store_settings, run, Recorder(), build=always(fake_roles()))
    items = served.client.get(f"/v1/runs/{run.name}/metrics/chunks").json()["items"]
    assert [(item["iteration"], item["chunk"], item["of"]) for item in items] == [
        (iteration, chunk, 3) for iteration in (0, 1) for chunk in (1, 2, 3)
    ]
    assert all(item["pairs"] <= item["prompts"] == 8 and item["reward"] is not None for item in items)
    # the warm-up's prompts are all answered by the newest policy
    assert [item["staleness"] for item in items[:3]] == [0, 0, 0]
    assert [item["start"] for item in items[:3]] == [0, items[0]["steps"], items[0]["steps"] + items[1]["steps"]]
    assert max(item["staleness"] for item in items[3:]) > 0
