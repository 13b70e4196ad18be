"""`eva webhooks`: what is added is listed without its secrets, and a test says how it went."""

from __future__ import annotations

import json

import pytest

from eva.webhooks.addresses import Network, parse_networks
from orchestrator.webhooks.sender import sending
from store.session import Store
from tests.support.cli_fixtures import Command

URL = "http://127.0.0.1:9/sEcReTpAtH"


def test_webhooks_are_added_listed_and_removed(eva: Command) -> None:
    assert "no webhooks" in eva("webhooks", "list").stdout
    made = eva("webhooks", "add", "ci", URL, "--on", "failed", "--on", "finished", "--tag", "paper")
    secret = made.stdout.strip()
    assert made.exit_code == 0 and secret.startswith("whsec_") and "test ci" in made.stderr
    listed = eva("webhooks", "list").stdout
    assert "http://127.0.0.1:9/***" in listed and "sEcReTpAtH" not in listed and secret not in listed
    assert "failed, finished of runs tagged" in listed and "paper" in listed
    assert json.loads(eva("webhooks", "list", "--json").stdout)[0]["topics"] == ["failed", "finished"]
    assert "not told anything" in eva("webhooks", "deliveries", "ci").stdout
    assert eva("webhooks", "remove", "ci").stdout == "Removed ci.\n"
    gone = eva("webhooks", "remove", "ci")
    assert gone.exit_code == 2 and "there is no webhook 'ci'" in gone.stderr


def test_without_a_service_a_test_says_who_sends(eva: Command) -> None:
    eva("webhooks", "add", "ci", URL)
    tested = eva("webhooks", "test", "ci", "--timeout", "0")
    assert tested.exit_code == 4 and "eva serve" in tested.stderr


@pytest.mark.parametrize(("networks", "why"), [((), "not public"), (parse_networks("127.0.0.0/8"), "did not answer")])
def test_a_test_says_how_it_went(eva: Command, store: Store, networks: tuple[Network, ...], why: str) -> None:
    eva("webhooks", "add", "ci", URL)
    with sending(store, networks, tick_s=0.05):
        tested = eva("webhooks", "test", "ci")
    assert tested.exit_code == 4 and why in tested.stderr and "sEcReTpAtH" not in tested.stderr
    assert why in " ".join(eva("webhooks", "deliveries", "ci").stdout.split())


def test_an_accepted_test_is_told(eva: Command, store: Store) -> None:
    eva("webhooks", "add", "ci", URL)
    with sending(store, (), tick_s=0.05, post=lambda *_: 200):
        tested = eva("webhooks", "test", "ci")
    assert tested.exit_code == 0 and "accepted the test (status 200)" in tested.stdout
    assert "ci: the newest message was delivered at" in eva("webhooks", "list").stdout
