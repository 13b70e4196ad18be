"""`eva keys`: a key is shown once when it is created, listed by its prefix, and can be revoked."""

from __future__ import annotations

import json

import pytest

from cli.commands.serve import allowed_hosts
from eva.runtime.api_keys import KEY
from eva.settings import Settings
from tests.support.cli_fixtures import Command


def test_a_key_is_shown_once(eva: Command) -> None:
    made = eva("keys", "create", "grafana", "--scope", "write", "--expires", "12h")
    key = made.stdout.strip()
    assert made.exit_code == 0 and KEY.fullmatch(key)
    listed = eva("keys", "list")
    assert key[:12] in listed.stdout and "grafana" in listed.stdout and key[13:] not in listed.stdout + made.stderr
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
def test_an_unusable_name_lifetime_or_prefix_is_refused_with_what_is_expected(
    eva: Command, arguments: tuple[str, ...]
) -> None:
    refused = eva("keys", *arguments)
    assert refused.exit_code == 2
    assert "Expected" in refused.stderr and "\x1b" not in refused.stderr


@pytest.mark.parametrize("arguments", [("--host", "0.0.0.0"), ("--require-keys",)])  # noqa: S104 - what must be refused
def test_a_service_that_needs_keys_does_not_start_without_one(eva: Command, arguments: tuple[str, ...]) -> None:
    eva("keys", "create", "gone", "--expires", "1h")
    eva("keys", "revoke", json.loads(eva("keys", "list", "--json").stdout)[0]["key"])
    refused = eva("serve", *arguments)
    assert refused.exit_code == 2
    assert "eva keys create" in refused.stderr and "ssh -L" in refused.stderr


def test_a_host_name_in_the_settings_makes_keys_necessary(eva: Command) -> None:
    refused = eva("serve", env={"EVA_HOSTS": "eva.example"})
    assert refused.exit_code == 2 and "eva.example" in refused.stderr


def test_the_allowed_hosts_are_this_machine_and_those_in_the_settings(store_settings: Settings) -> None:
    assert allowed_hosts("127.0.0.1", store_settings) == {"127.0.0.1", "localhost", "::1"}
    named = Settings(store_settings.data_dir, None, None, hosts=("eva.example",))
    everywhere = allowed_hosts("0.0.0.0", named)  # noqa: S104 - what is meant
    assert {"eva.example", "127.0.0.1", "localhost"} < everywhere
    assert "evil.example" not in everywhere
