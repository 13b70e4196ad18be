"""Secrets are hidden in every form they take, and other texts stay as they are."""

from __future__ import annotations

import time

import pytest

from eva.runtime.api_keys import make_key
from eva.runtime.redaction import environment_secrets, redact, redact_json, secrets_of

CANARY = "cAnArY0123456789abcdef"

SHOWN = [
    f"https://user:{CANARY}@host/v1 failed",
    f"https://{CANARY}@host/v1",
    f"postgresql://eva:{CANARY}@db:5432/eva",
    f"GET https://host/v1?model=x&api_key={CANARY}&n=1",
    f"https://host/v1?key={CANARY}",
    f"https://host/v1?X-Amz-Signature={CANARY}",
    f"Authorization: Bearer {CANARY}",
    f'{{"authorization": "Basic {CANARY}"}}',
    f"headers={{'x-api-key': '{CANARY}'}}",
    f"password={CANARY}",
    f"Cookie: eva_session={CANARY}",
    f"bearer {CANARY}",
    f"Incorrect API key provided: sk-{CANARY}",
    f"hf_{CANARY}",
    f"eyJhbGciOiJIUzI1NiJ9.{CANARY}.{CANARY}",
    f'{{\\"api_key\\": \\"{CANARY}\\"}}',
    f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("text", SHOWN)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    assert CANARY not in redact(text)
    assert "***" in redact(text)
    assert redact(redact(text)) == redact(text)


def test_keys_of_this_service_are_hidden() -> None:
    key, _ = make_key()
    assert key[13:] not in redact(f"the key is {key}.")


@pytest.mark.parametrize(
    "text",
    [
        "A plain sentence about a key, a token and a secret recipe.",
        "https://host.example/v1/chat?model=x&limit=3",
        "max_tokens=1024, api_key_env: OPENAI_API_KEY",
        "mail anna@example.org",
        "see https://host/a and write to b@c",
        "the bearer of this letter",
        "Expected `Authorization: Bearer eva_…`, or a cookie.",
        "basic mathematics",
    ],
)
def test_a_text_without_secrets_is_unchanged(text: str) -> None:
    assert redact(text) == text


def test_known_secrets_are_hidden_everywhere() -> None:
    config = {
        "reward": {"api_base": f"https://u:p%40ss{CANARY}@h/v1?key=q{CANARY}", "api_key_env": "JUDGES"},
        "parts": [{"api_key_env": "OTHER"}, {"api_key_env": "UNSET"}],
    }
    environment = {"JUDGES": "plain words of a key", "OTHER": "another one", "SOME_API_KEY": "n0t-named", "HOME": "/x"}
    secrets = secrets_of(config, environment)
    assert secrets == {
        f"p%40ss{CANARY}",
        f"p@ss{CANARY}",
        f"q{CANARY}",
        "plain words of a key",
        "another one",
        "n0t-named",
    }
    assert redact("it said: plain words of a key / n0t-named", secrets) == "it said: *** / ***"


def test_ordinary_words_are_not_hidden_as_secrets() -> None:
    assert environment_secrets({"DB_PASSWORD": "postgres", "A_TOKEN": "short", "B_TOKEN": "l0ng-enough"}) == {
        "l0ng-enough"
    }


def test_json_is_redacted_by_name_and_by_shape() -> None:
    value = {
        "api_key": "x",
        "api_key_env": "NAME",
        "nested": [{"Password": "y", "url": "http://a:b@c/"}],
        "n": 1,
        "eos_token": "</s>",
        "token": "",
        "max_tokens": 5,
    }
    assert redact_json(value) == {
        "api_key": "***",
        "api_key_env": "NAME",
        "nested": [{"Password": "***", "url": "http://***@c/"}],
        "n": 1,
        "eos_token": "</s>",
        "token": "",
        "max_tokens": 5,
    }


SEARCH_S = 2.0
"""CPU time for 100 kB: some hundredths in the ordinary case, minutes when a pattern backtracks."""


def test_hostile_texts_are_searched_in_reasonable_time() -> None:
    for text in ("://", "a", "password", "bearer ", "-----BEGIN PRIVATE KEY-----", "eyJ", "sk-", "x-api-key:", "?key="):
        begun = time.process_time()
        assert redact(text * (100_000 // len(text)))
        assert time.process_time() - begun < SEARCH_S, text
