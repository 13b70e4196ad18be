"""`eva keys`: what is made is shown once, recognised afterwards, and ends."""

from __future__ import annotations

import json

import pytest

from cli.commands.serve import allowed_hosts
from eva.runtime.api_keys import KEY
from eva.settings import Settings
from tests.support.cli_fixtures import Command


def test_a_key_is_shown_once(eva: Command) -> None:
    made = eva("keys", "create", "anna", "--scope", "write", "--expires", "12h")
    key = made.stdout.strip()
    assert made.exit_code == 0 and KEY.fullmatch(key)
    listed = eva("keys", "list")
    assert key[:12] in listed.stdout and "anna" in listed.stdout and key[13:] not in listed.stdout + made.stderr
    assert eva("keys", "revoke", key[:12]).exit_code == 0
    facts = json.loads(eva("keys", "list", "--json").stdout)
    assert (facts[0]["live"], facts[0]["scope"], facts[0]["last_used_at"]) == (False, "write", None)


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", ""),
        ("create", "x", "--expires", "soon"),
        ("create", "x", "--expires", "0d"),
        ("create", "x", "--expires", "99999d"),
        ("revoke", "nobody"),
        ("revoke", "a\x1b[31m"),
    ],
)
def test_what_cannot_be_is_explained(eva: Command, arguments: tuple[str, ...]) -> None:
    refused = eva("keys", *arguments)
    assert refused.exit_code == 2
    assert "Expected" in refused.stderr and "\x1b" not in refused.stderr


@pytest.mark.parametrize("arguments", [("--host", "0.0.0.0"), ("--require-keys",)])  # noqa: S104 - what must be refused
def test_a_service_that_asks_for_keys_needs_one(eva: Command, arguments: tuple[str, ...]) -> None:
    eva("keys", "create", "gone", "--expires", "1h")
    eva("keys", "revoke", json.loads(eva("keys", "list", "--json").stdout)[0]["key"])
    refused = eva("serve", *arguments)
    assert refused.exit_code == 2
    assert "eva keys create" in refused.stderr and "ssh -L" in refused.stderr


def test_names_that_settings_allow_ask_for_keys_too(eva: Command) -> None:
    refused = eva("serve", env={"EVA_HOSTS": "eva.example"})
    assert refused.exit_code == 2 and "eva.example" in refused.stderr


def test_the_hosts_are_this_machine_and_what_settings_name(store_settings: Settings) -> None:
    assert allowed_hosts("127.0.0.1", store_settings) == {"127.0.0.1", "localhost", "::1"}
    named = Settings(store_settings.data_dir, None, None, hosts=("eva.example",))
    everywhere = allowed_hosts("0.0.0.0", named)  # noqa: S104 - what is meant
    assert {"eva.example", "127.0.0.1", "localhost"} < everywhere
    assert "evil.example" not in everywhere
