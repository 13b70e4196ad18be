"""Deliveries: stored with their events, sent by one service until accepted or given up, whatever ends in between."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import text

from eva.errors import InputError
from eva.webhooks.addresses import Network
from eva.webhooks.messages import Form
from eva.webhooks.signature import signed_headers
from orchestrator.launch.registration import register_run
from orchestrator.webhooks.checked_post import ReceiverError
from orchestrator.webhooks.sender import Sender, sending
from store.rows import RunRow
from store.runs import events, runs
from store.session import Store
from store.webhooks import deliveries, webhooks
from store.webhooks.deliveries import DeliveryRow
from store.webhooks.webhooks import Subscription
from tests.support.fakes import fake_config

ALL = Subscription(("finished", "failed", "paused", "warning"))


@dataclass
class Receivers:
    """Stands for the network: what was sent, and the answers, the last of which stays. None: nobody answers."""

    answers: list[int | None] = field(default_factory=lambda: [204])
    sent: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)

    def post(self, url: str, body: bytes, headers: Mapping[str, str], networks: Sequence[Network]) -> int:
        del networks
        self.sent.append((url, dict(headers), json.loads(body)))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise ReceiverError("ci.example at 203.0.113.1 did not answer: refused")
        return answer


@pytest.fixture
def receivers() -> Receivers:
    return Receivers()


@pytest.fixture
def sender(store: Store, receivers: Receivers) -> Sender:
    return Sender(store, (), receivers.post)


def add(store: Store, name: str, subscription: Subscription = ALL, form: Form = "json") -> str:
    with store.transaction() as conn:
        return webhooks.add_webhook(conn, name, f"https://{name}.example/sEcReTpAtH", form, subscription)[0]


def a_run(store: Store, *tags: str, named: Sequence[str] = ()) -> RunRow:
    with store.transaction() as conn:
        config = {"iterations": 3, "webhooks": list(named)}
        return runs.create_run(conn, stem="r", config=config, config_hash="h", seed=1, tags=tags)


def happens(store: Store, run: RunRow, kind: str = "finished", **data: Any) -> None:
    with store.transaction() as conn:
        events.append_event(conn, run.id, kind, data)


def of(store: Store, name: str) -> list[DeliveryRow]:
    with store.transaction() as conn:
        return deliveries.list_deliveries(conn, name)


def make_due(store: Store, hours: float = 0) -> None:
    """Lets every pause pass, and makes what is stored older."""
    with store.transaction() as conn:
        conn.execute(
            text(
                "UPDATE webhook_deliveries SET next_at = clock_timestamp(), "
                "created_at = created_at - make_interval(secs => :s), "
                "finished_at = finished_at - make_interval(secs => :s)"
            ),
            {"s": hours * 3600},
        )


def test_a_webhook_is_told_what_it_asked_for(store: Store) -> None:
    add(store, "all")
    add(store, "ends", Subscription(("finished", "failed")))
    add(store, "paper", Subscription(ALL.topics, tags=("paper", "thesis")))
    add(store, "named", Subscription(ALL.topics, only_named=True))
    plain, tagged, naming = a_run(store), a_run(store, "x", "thesis"), a_run(store, named=["named", "paper"])
    for run in (plain, tagged, naming):
        for kind in ("stage_closed", "collapse", "finished"):
            happens(store, run, kind)
    told = {name: {(row.run, row.topic) for row in of(store, name)} for name in ("all", "ends", "paper", "named")}

    def both(*names: str) -> set[tuple[str, str]]:
        return {(name, topic) for name in names for topic in ("warning", "finished")}

    assert told == {
        "all": both(plain.name, tagged.name, naming.name),
        "ends": {(run.name, "finished") for run in (plain, tagged, naming)},
        "paper": both(tagged.name, naming.name),
        "named": both(naming.name),
    }


def test_an_event_that_is_not_stored_is_not_told(store: Store) -> None:
    add(store, "ci")
    run = a_run(store)
    with suppress(ZeroDivisionError), store.transaction() as conn:
        events.append_event(conn, run.id, "finished")
        raise ZeroDivisionError
    assert of(store, "ci") == []


def test_a_config_may_name_only_webhooks_that_exist(store: Store) -> None:
    add(store, "ci")
    config = fake_config(webhooks=["ci"])
    assert register_run(store, config).config["webhooks"] == ["ci"]
    with pytest.raises(InputError, match="no such webhook") as refused:
        register_run(store, config.model_copy(update={"webhooks": ["ci", "nobody"]}))
    assert "nobody" in str(refused.value) and "ci" in refused.value.expected


def test_a_delivery_is_signed_and_sent_once(store: Store, sender: Sender, receivers: Receivers) -> None:
    secret = add(store, "ci")
    run = a_run(store)
    happens(store, run, "failed", error="no room")
    assert (sender.tick(), sender.tick()) == (1, 0)
    ((url, headers, body),) = receivers.sent
    assert url == "https://ci.example/sEcReTpAtH" and body["type"] == "run.failed"
    assert body["data"]["run"]["name"] == run.name and body["data"]["event"]["number"] == 1
    assert headers["webhook-id"] == of(store, "ci")[0].id
    signed = signed_headers(
        secret, headers["webhook-id"], int(headers["webhook-timestamp"]), json.dumps(body, ensure_ascii=False).encode()
    )
    assert headers["webhook-signature"] == signed["webhook-signature"]
    delivered = of(store, "ci")[0]
    assert (delivered.state, delivered.attempts, delivered.status) == ("delivered", 1, 204)


def test_slack_gets_a_sentence(store: Store, sender: Sender, receivers: Receivers) -> None:
    add(store, "team", form="slack")
    run = a_run(store)
    happens(store, run)
    sender.tick()
    assert receivers.sent[0][2] == {"text": f"{run.name} has finished its 3 iterations."}


def test_what_fails_is_tried_again_with_longer_pauses_and_the_same_id(
    store: Store, sender: Sender, receivers: Receivers
) -> None:
    add(store, "ci")
    happens(store, a_run(store))
    receivers.answers = [500, None, 302, 204]
    pauses: list[float] = []
    for _ in range(3):
        assert sender.tick() == 1 and sender.tick() == 0, "it waits"
        row = of(store, "ci")[0]
        assert row.next_at is not None and row.state == "waiting" and row.error
        with store.transaction() as conn:
            now = conn.execute(text("SELECT clock_timestamp()")).scalar_one()
        pauses.append(round((row.next_at - now).total_seconds()))
        make_due(store)
    assert [round(pause, -1) for pause in pauses] == [10, 40, 160]
    sender.tick()
    assert of(store, "ci")[0].state == "delivered"
    assert len({headers["webhook-id"] for _, headers, _ in receivers.sent}) == 1 and len(receivers.sent) == 4


def test_a_delivery_is_given_up_after_a_day_and_that_is_told(
    store: Store, sender: Sender, receivers: Receivers, caplog: pytest.LogCaptureFixture
) -> None:
    secret = add(store, "ci")
    happens(store, a_run(store))
    receivers.answers = [500]
    sender.tick()
    make_due(store, hours=24)
    with caplog.at_level(logging.WARNING):
        sender.tick()
    assert "given up" in caplog.text and "sEcReTpAtH" not in caplog.text and secret not in caplog.text
    with store.transaction() as conn:
        row = webhooks.get_webhook(conn, "ci")
    assert (row.given_up, row.waiting, row.last_error) == (1, 0, "it answered with status 500")
    assert row.last is not None and (row.last.state, row.last.attempts) == ("given_up", 2)
    make_due(store)
    assert sender.tick() == 0


def test_a_receiver_that_is_gone_is_not_asked_again(store: Store, sender: Sender, receivers: Receivers) -> None:
    add(store, "ci")
    happens(store, a_run(store))
    receivers.answers = [410]
    sender.tick()
    assert of(store, "ci")[0].state == "given_up"


def test_what_waited_for_days_without_a_service_is_tried_once(store: Store, receivers: Receivers) -> None:
    add(store, "ci")
    happens(store, a_run(store))
    make_due(store, hours=100)
    Sender(store, (), receivers.post).tick()
    assert of(store, "ci")[0].state == "delivered"


def test_old_deliveries_are_deleted(store: Store, sender: Sender, receivers: Receivers) -> None:
    add(store, "ci")
    happens(store, a_run(store))
    sender.tick()
    make_due(store, hours=8 * 24)
    Sender(store, (), receivers.post).tick()
    assert of(store, "ci") == []


def test_a_sender_that_dies_after_sending_leaves_the_delivery_to_the_next(
    store: Store, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, "ci")
    happens(store, a_run(store))

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(deliveries, "record_attempt", die)
        with pytest.raises(KeyboardInterrupt):
            Sender(store, (), receivers.post).tick()
    Sender(store, (), receivers.post).tick()
    first, second = (headers["webhook-id"] for _, headers, _ in receivers.sent)
    assert first == second and of(store, "ci")[0].attempts == 1


def test_one_receiver_that_fails_delays_no_other(store: Store, receivers: Receivers) -> None:
    add(store, "bad")
    add(store, "good")
    happens(store, a_run(store))

    def post(url: str, body: bytes, headers: Mapping[str, str], networks: Sequence[Network]) -> int:
        if "bad" in url:
            raise ReceiverError("bad.example has no address")
        return receivers.post(url, body, headers, networks)

    Sender(store, (), post).tick()
    assert [of(store, name)[0].state for name in ("bad", "good")] == ["waiting", "delivered"]


def test_of_two_services_one_sends(store: Store, receivers: Receivers, monkeypatch: pytest.MonkeyPatch) -> None:
    senders: set[str] = set()

    def tick(self: Sender) -> int:
        senders.add(str(id(self)))
        return 0

    monkeypatch.setattr(Sender, "tick", tick)
    with sending(store, (), tick_s=0.01):
        _await(lambda: len(senders) == 1)
        with sending(store, (), tick_s=0.01):
            time.sleep(0.1)
            assert len(senders) == 1
    with sending(store, (), tick_s=0.01):
        _await(lambda: len(senders) == 2)
    assert not any(thread.name == "webhooks" for thread in threading.enumerate())


def _await(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not happened() and time.monotonic() < until:
        time.sleep(0.01)
    assert happened()


def test_removing_a_webhook_removes_its_deliveries(store: Store, sender: Sender) -> None:
    add(store, "ci")
    happens(store, a_run(store))
    with store.transaction() as conn:
        webhooks.remove_webhook(conn, "ci")
    assert sender.tick() == 0
