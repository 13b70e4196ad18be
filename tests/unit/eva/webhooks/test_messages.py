"""What receivers are told: a sentence that a person reads, and a signature that the documented code accepts."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from eva.webhooks.messages import WARNINGS, body_of, check_message, event_message, topic_of, with_outcome
from eva.webhooks.signature import make_secret, signed_headers
from tests.support.structure import ROOT

PAGE = (ROOT / "docs/reference/webhooks.md").read_text("utf-8")
RUN = {"name": "tides-k3pq", "status": "running", "iteration": 1, "iterations": 3, "tags": ["paper"]}
NOON = "2026-01-31T12:00:00.000+00:00"


def told(kind: str, **data: Any) -> dict[str, Any]:
    event = {"number": 7, "kind": kind, "iteration": 1, "stage": None, "data": data}
    return event_message(topic_of(kind) or "", NOON, RUN, event)


@pytest.mark.parametrize(
    ("kind", "data", "sentence"),
    [
        ("finished", {}, "tides-k3pq has finished its 3 iterations."),
        ("failed", {"error": "no room"}, "tides-k3pq has failed in iteration 1 of 3: no room"),
        ("paused", {}, "tides-k3pq is paused in iteration 1 of 3."),
        (
            "collapse",
            {"figure": "vendi", "value": 3.5, "bound": 10},
            "tides-k3pq, iteration 1 of 3: the batch has lost diversity (figure vendi, value 3.5, bound 10).",
        ),
        (
            "driver_died",
            {"log": "Traceback", "restart_in_s": 10},
            "tides-k3pq, iteration 1 of 3: the driver died and is started again (restart_in_s 10).",
        ),
    ],
)
def test_a_message_has_a_sentence_for_people(kind: str, data: dict[str, Any], sentence: str) -> None:
    assert told(kind, **data)["data"]["text"] == sentence


def test_a_finished_run_tells_what_it_has_learned() -> None:
    message = with_outcome(told("finished"), [("hard", 0.12, 0.69), ("easy", 0.9, None)])
    assert message["data"]["text"].endswith("iterations: success hard 12 → 69 %, easy 90 %.")
    assert message["data"]["outcome"][0] == {"split": "hard", "before": 0.12, "now": 0.69}
    assert with_outcome(told("finished"), []) == told("finished")


def test_nobody_is_told_of_other_events() -> None:
    assert topic_of("stage_closed") is None and topic_of("engine_lost") is None


def test_a_text_cannot_call_a_channel_or_hide_a_link() -> None:
    text = json.loads(body_of(told("failed", error="<!channel> <https://evil.example|here> & so on"), "slack"))["text"]
    assert "&lt;!channel&gt;" in text and "&amp;" in text and "<" not in text


def test_what_is_long_is_cut() -> None:
    message = told("failed", error="x" * 100_000, list=["y" * 5000] * 500)
    assert len(body_of(message, "json")) < 250_000 and len(message["data"]["text"]) == 3000


def test_the_documented_code_accepts_a_message_and_refuses_a_changed_or_an_old_one() -> None:
    code = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "is_genuine" in block)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - our own page
    is_genuine, secret, now = names["is_genuine"], make_secret(), int(time.time())
    body = body_of(check_message("ci", NOON), "json")
    headers = signed_headers(secret, "msg_1", now, body)
    assert is_genuine(secret, headers, body)
    assert not is_genuine(make_secret(), headers, body)
    assert not is_genuine(secret, headers, body + b" ")
    assert not is_genuine(secret, headers | {"webhook-id": "msg_2"}, body)
    assert not is_genuine(secret, headers | {"webhook-timestamp": str(now - 1)}, body), "the time is signed, too"
    assert not is_genuine(secret, signed_headers(secret, "msg_1", now - 301, body), body)


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # the example of the specification's reference implementation
    headers = signed_headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_page_names_every_warning_and_its_example_is_a_message() -> None:
    assert all(f"`{kind}`" in PAGE for kind in WARNINGS)
    example = json.loads(next(iter(re.findall(r"```json\n(.*?)```", PAGE, re.S))))
    made = with_outcome(told("finished"), [("hard", 0.12, 0.69)])
    assert example.keys() == made.keys() and example["data"].keys() == made["data"].keys()
    assert example["data"]["run"].keys() == made["data"]["run"].keys()
    assert example["data"]["text"] == made["data"]["text"]
