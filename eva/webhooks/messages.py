"""What a webhook's receiver is told: the topics, the message about an event of a run, and the forms that it is sent in.

A message follows Standard Webhooks: `type`, `timestamp` and `data`. It has no prompt and no response of a run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args

Topic = Literal["finished", "failed", "paused", "warning"]
TOPICS: tuple[Topic, ...] = get_args(Topic)
"""What a webhook can be told about a run."""
TEST = "test"
"""The topic of a message that only shows that a webhook works."""

Form = Literal["json", "slack"]
FORMS: tuple[Form, ...] = get_args(Form)
"""`json` is the whole message; `slack` is its sentence, for incoming webhooks of Slack and of programs like it."""

Message = dict[str, Any]

WARNINGS = {
    "collapse": "the batch has lost diversity",
    "starved": "no child of the iteration was accepted",
    "drift": "a training step left its bounds",
    "stalled": "nothing has advanced for a while",
    "driver_died": "the driver died and is started again",
    "engine_given_up": "an engine is not started any more",
    "tracking_failed": "a tracking service gets no figures any more",
}
"""Kinds of events that deserve a look while the run goes on or pauses, and what they mean."""

LONGEST, LONGEST_SENTENCE = 2000, 3000
_LONG = ("log", "job", "example", "advice")
"""What an event has to tell that is too long for a sentence."""


def topic_of(kind: str) -> Topic | None:
    """Returns the topic of an event of this kind, None if nobody is told about it."""
    if kind in ("finished", "failed", "paused"):
        return cast("Topic", kind)
    return "warning" if kind in WARNINGS else None


def event_message(topic: str, at: str, run: Mapping[str, Any], event: Mapping[str, Any]) -> Message:
    """Returns the message about an event.

    `at` is its time (ISO 8601). `run` has `name`, `status`, `iteration`, `iterations` and `tags`; `event` has
    `number`, `kind`, `iteration`, `stage` and `data`, whose long texts are cut.
    """
    data = {"run": dict(run), "event": {**event, "data": _cut(event["data"])}}
    return {"type": f"run.{topic}", "timestamp": at, "data": {**data, "text": _sentence(topic, run, event)}}


def check_message(name: str, at: str) -> Message:
    """Returns the message that shows that the webhook called `name` works."""
    return {"type": "webhook.test", "timestamp": at, "data": {"text": f"eva can reach this webhook ({name})."}}


def with_outcome(message: Message, outcome: Sequence[tuple[str, float, float | None]]) -> Message:
    """Returns the message that a run is finished, with what it has learned.

    `outcome` has a held-out set, its success before and its newest success (shares; None where only one policy was
    evaluated), a row each.
    """
    if not outcome:
        return message
    sets = [{"split": split, "before": before, "now": now} for split, before, now in outcome]
    shown = ", ".join(
        f"{split} {before * 100:.0f} %" if now is None else f"{split} {before * 100:.0f} → {now * 100:.0f} %"
        for split, before, now in outcome
    )
    data = message["data"]
    return {**message, "data": {**data, "outcome": sets, "text": f"{data['text'].rstrip('.')}: success {shown}."}}


def body_of(message: Message, form: Form) -> bytes:
    """Returns what is sent: the same bytes for the same message."""
    if form == "slack":
        return json.dumps({"text": _for_slack(message["data"]["text"])}, ensure_ascii=False).encode()
    return json.dumps(message, ensure_ascii=False).encode()


def _sentence(topic: str, run: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    name, data = run["name"], event["data"]
    place = f"iteration {run['iteration']} of {run['iterations']}"
    error = data.get("error")
    if topic == "finished":
        sentence = f"{name} has finished its {run['iterations']} iterations."
    elif topic == "failed":
        sentence = f"{name} has failed in {place}" + (f": {error}" if error else ".")
    elif topic == "paused":
        sentence = f"{name} is paused in {place}" + (f": {error}" if error else ".")
    else:
        figures = ", ".join(
            f"{key} {value}" for key, value in data.items() if isinstance(value, str | int | float) and key not in _LONG
        )
        sentence = f"{name}, {place}: {WARNINGS[event['kind']]}" + (f" ({figures})." if figures else ".")
    return sentence if len(sentence) <= LONGEST_SENTENCE else sentence[: LONGEST_SENTENCE - 1] + "…"


def _for_slack(text: str) -> str:
    """A text that Slack shows as it is: without `<!channel>` or a link that it would make of it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(value: Any) -> Any:
    """A JSON value whose long texts and lists are cut."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST else value[: LONGEST - 1] + "…"
    if isinstance(value, Mapping):
        return {key: _cut(item) for key, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_cut(item) for item in cast("Sequence[Any]", value)[:100]]
    return value
