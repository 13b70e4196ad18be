"""The verifier: a user's function, whatever it does."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eva.config import VerifierReward
from eva.errors import ConfigError
from eva.types import Reward
from tests.support import reward_functions
from workers.rewards import build_rewarder
from workers.rewards.model import RewardRequest
from workers.rewards.verifier import VerifierModel, check_function

RewardsOf = Callable[..., tuple[Reward, ...]]

FUNCTIONS = "tests.support.reward_functions"


def config(function: str, **settings: float) -> VerifierReward:
    return VerifierReward.model_validate(
        {"kind": "verifier", "function": f"{FUNCTIONS}:{function}", "timeout_s": 0.3, "first_call_s": 0.3} | settings
    )


@pytest.fixture
def rewards_of() -> Iterator[RewardsOf]:
    """Rewards one prompt's responses by the named function."""
    models: list[VerifierModel] = []

    def rewards(function: str, *responses: str, **settings: float) -> tuple[Reward, ...]:
        models.append(VerifierModel(config(function, **settings)))
        (rewarded,) = models[-1].reward_many([RewardRequest("p", responses)], lambda: None)
        return rewarded

    yield rewards
    for model in models:
        model.close()


@pytest.mark.parametrize("function", ["picky", "picky_async"])
def test_one_bad_response_is_quarantined_and_the_others_are_not(rewards_of: RewardsOf, function: str) -> None:
    bad = ("raise", "unprintable", "exit", "nan", "inf", "none", "text", "list", "huge", "array")
    for response in bad:
        first, quarantined, last = rewards_of(function, "good", response, "int")
        assert (first, last) == (Reward(0.5), Reward(3.0))
        assert quarantined.value is None
        assert quarantined.reason and len(quarantined.reason) <= 200


@pytest.mark.parametrize("function", ["picky", "picky_async"])
def test_numbers_of_any_kind_are_rewards(rewards_of: RewardsOf, function: str) -> None:
    rewards = rewards_of(function, "int", "bool", "numpy")
    assert [reward.value for reward in rewards] == [3.0, 1.0, 0.25]
    assert {type(reward.value) for reward in rewards} == {float}


def test_the_reason_is_the_exceptions_class_and_message_on_one_storable_line(rewards_of: RewardsOf) -> None:
    raised, unprintable, text = rewards_of("picky", "raise", "unprintable", "text")
    assert (raised.reason or "").startswith("ValueError: no such answer x")
    assert len(raised.reason or "") == 200
    assert "\0" not in (raised.reason or "")
    assert unprintable.reason == "UnprintableError:"
    assert text.reason == "returned no number: str"


@pytest.mark.parametrize("hang", ["sleep", "loop", "regex", "swallow"])
def test_a_function_that_hangs_loses_that_response_only(rewards_of: RewardsOf, hang: str) -> None:
    started = time.monotonic()
    first, hung, last = rewards_of("picky", "good", hang, "int")
    assert (first, last) == (Reward(0.5), Reward(3.0))
    assert hung.value is None
    assert time.monotonic() - started < 10
    if hang != "swallow":
        assert hung == Reward(None, "timed out after 0.3 s")


def test_no_alarm_is_left_behind(rewards_of: RewardsOf) -> None:
    before = signal.getsignal(signal.SIGALRM)
    rewards_of("picky", "sleep", "good", "raise")
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == before


def test_a_function_may_use_the_alarm_itself(rewards_of: RewardsOf) -> None:
    assert [reward.value for reward in rewards_of("own_alarm", "ab", "abc")] == [2.0, 3.0]


def test_outside_the_main_thread_a_hanging_call_is_abandoned(rewards_of: RewardsOf) -> None:
    rewards: list[Reward] = []
    thread = threading.Thread(target=lambda: rewards.extend(rewards_of("picky", "sleep", "good", "raise")))
    thread.start()
    thread.join(10)
    assert [reward.value for reward in rewards] == [None, 0.5, None]
    assert rewards[0].reason == "timed out after 0.3 s"
    assert (rewards[2].reason or "").startswith("ValueError")


def test_an_async_function_that_hangs_loses_that_response_only(rewards_of: RewardsOf) -> None:
    first, hung, last = rewards_of("picky_async", "good", "sleep", "int")
    assert (first, hung, last) == (Reward(0.5), Reward(None, "timed out after 0.3 s"), Reward(3.0))


def test_an_async_functions_own_cancellation_or_timeout_is_not_mistaken_for_ours(
    rewards_of: RewardsOf,
) -> None:
    cancelled, timed_out, good = rewards_of("picky_async", "cancel", "timeout", "good")
    assert cancelled == Reward(None, "CancelledError:")
    assert timed_out == Reward(None, "TimeoutError: mine")
    assert good == Reward(0.5)


def test_async_calls_of_several_prompts_run_together_up_to_the_concurrency() -> None:
    reward_functions.Gauge.most = 0
    model = VerifierModel(config("gauged", concurrency=5, timeout_s=10))
    asked = [RewardRequest(f"p{i}", tuple(str(10 * i + k) for k in range(3))) for i in range(8)]
    rewards = model.reward_many(asked, lambda: None)
    model.close()
    assert reward_functions.Gauge.most == 5
    assert [[reward.value for reward in row] for row in rewards] == [[10.0 * i + k for k in range(3)] for i in range(8)]


def test_an_object_with_an_async_call_is_async(rewards_of: RewardsOf) -> None:
    assert rewards_of("grader", "4.5", timeout_s=10) == (Reward(4.5),)


@pytest.fixture
def slow_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A library of two modules that takes 0.7 s to import, and how a reward uses it in its first call or later."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "slow_part.py").write_text("import time\nfor _ in range(70):\n    time.sleep(0.01)\n")
    (tmp_path / "slow_library.py").write_text("import slow_part\nvalue = 2.0\n")
    (tmp_path / "lazy_rewards.py").write_text(
        "import time\n\n"
        "def imports(prompt, response):\n    import slow_library\n\n    return slow_library.value\n\n"
        "def imports_later(prompt, response):\n    return 1.0 if response == 'first' else imports(prompt, response)\n\n"
        "def imports_and_hangs(prompt, response):\n"
        "    imports(prompt, response)\n    time.sleep(0 if response == 'ok' else 60)\n    return 1.0\n\n"
        "def loads(prompt, response):\n    if response == 'first':\n        time.sleep(0.5)\n    return 3.0\n\n"
        "async def imports_async(prompt, response):\n    import asyncio, slow_library\n\n"
        "    await asyncio.sleep(0.01)\n    return slow_library.value\n"
    )
    yield "lazy_rewards"
    for name in ("slow_part", "slow_library", "lazy_rewards"):
        sys.modules.pop(name, None)


def rewards_by(spec: str, *responses: str, alive: Callable[[], None] = lambda: None, **settings: float) -> list[Reward]:
    model = VerifierModel(VerifierReward.model_validate({"kind": "verifier", "function": spec} | settings))
    (rewarded,) = model.reward_many([RewardRequest("p", responses)], alive)
    model.close()
    return list(rewarded)


@pytest.mark.parametrize(("function", "value"), [("imports", 2.0), ("loads", 3.0), ("imports_async", 2.0)])
def test_the_first_call_may_import_and_load_for_longer_than_a_response_may_take(
    slow_library: str, function: str, value: float
) -> None:
    given = rewards_by(f"{slow_library}:{function}", "first", "b", "c", timeout_s=0.2, first_call_s=30)
    assert given == [Reward(value)] * 3


def test_the_time_of_the_first_call_is_the_first_calls_alone(slow_library: str) -> None:
    given = rewards_by(f"{slow_library}:imports_and_hangs", "ok", "b", timeout_s=0.2, first_call_s=30)
    assert given == [Reward(1.0), Reward(None, "timed out after 0.2 s")]
    model = VerifierModel(config("length", first_call_s=30))
    assert model.patience_s > 30
    model.reward_many([RewardRequest("p", ("a",))], lambda: None)
    assert model.patience_s < 5


def test_an_alarm_never_lands_in_an_import_and_what_follows_it_has_its_own_time(slow_library: str) -> None:
    signs: list[int] = []
    given = rewards_by(
        f"{slow_library}:imports_later", "first", "b", "c", timeout_s=0.2, alive=lambda: signs.append(len(signs))
    )
    assert given == [Reward(1.0), Reward(2.0), Reward(2.0)]
    assert sys.modules["slow_library"].value == 2.0
    assert len(signs) > 3  # the watchdog hears of the import, too


def test_a_call_that_hangs_behind_an_import_is_still_stopped(slow_library: str) -> None:
    began = time.monotonic()
    given = rewards_by(f"{slow_library}:imports_and_hangs", "a", timeout_s=0.2, first_call_s=0.2)
    assert given == [Reward(None, "timed out after 0.2 s")] and time.monotonic() - began < 10


def test_it_reports_progress_at_every_response() -> None:
    for function in ("picky", "picky_async"):
        model, calls = VerifierModel(config(function)), []
        model.reward_many(
            [RewardRequest("p", ("good", "int")), RewardRequest("q", ("good",))], lambda calls=calls: calls.append(1)
        )
        model.close()
        assert len(calls) == 3
        assert model.patience_s > 0.1


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("no_colon", "Write the module's import path"),
        (":function", "Write the module's import path"),
        ("no.such.module:f", "ModuleNotFoundError: No module named 'no'"),
        (f"{FUNCTIONS}:lenght", "reward_functions': length"),
        (f"{FUNCTIONS}:zzzzzz", "has: Gauge, Grader, UnprintableError, gauged, grader"),
        (f"{FUNCTIONS}:NOT_A_FUNCTION", "has no function 'NOT_A_FUNCTION'"),
        (f"{FUNCTIONS}:one_argument", "Let it take these arguments: prompt, response"),
    ],
)
def test_a_function_that_cannot_be_used_is_refused_at_construction(spec: str, says: str) -> None:
    given = VerifierReward.model_validate({"kind": "verifier", "function": spec})
    for local in (True, False):  # without Ray, even for the actor
        with pytest.raises(ConfigError) as refused:
            build_rewarder(given, local=local)
        assert says in str(refused.value)
        assert spec in str(refused.value)
        assert "(prompt: str, response: str) -> float" in str(refused.value)


def test_a_module_that_fails_to_import_is_reported_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "broken_rewards.py").write_text("1 / 0\n")
    (tmp_path / "exiting_rewards.py").write_text("raise SystemExit(1)\n")
    with pytest.raises(ConfigError, match="ZeroDivisionError: division by zero"):
        check_function("broken_rewards:f")
    with pytest.raises(ConfigError, match="SystemExit: 1"):
        check_function("exiting_rewards:f")


def test_a_module_of_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "rewards_of_mine.py").write_text("def f(prompt, response):\n    return 1.5\n")
    assert check_function("rewards_of_mine:f")("p", "r") == 1.5


def test_the_name_is_the_functions_path() -> None:
    rewarder = build_rewarder(config("length"), local=True)
    assert rewarder.name == f"verifier:{FUNCTIONS}:length"


def told(prompt: str, response: str, reference: str | None = None) -> float:
    return float(response == (reference or prompt))


def by_place(prompt: str, response: str, gold: str) -> float:
    return float(prompt == "p" and response == gold)


def with_both(prompt: str, response: str, context: list[dict[str, str]], reference: str) -> float:
    return len(context) + float(response == reference)


def with_an_option(prompt: str, response: str, strict: bool = True) -> float:
    return float(strict)


@pytest.mark.parametrize(
    ("function", "with_reference", "without"),
    [
        (told, 1.0, 0.0),
        (by_place, 1.0, "the prompt has no reference answer"),
        (with_both, 1.0, "the prompt has no reference answer"),
        (with_an_option, 1.0, 1.0),
    ],
)
def test_a_function_gets_the_reference_where_it_takes_one_and_is_not_called_if_it_needs_one(
    function: Callable[..., float], with_reference: float, without: float | str
) -> None:
    model = VerifierModel(VerifierReward(kind="verifier", function=f"{__name__}:{function.__name__}"))
    asked = [RewardRequest("p", ("6",), (), "6"), RewardRequest("p", ("6",)), RewardRequest("p", ("6",), (), "6")]
    (first,), (second,), (third,) = model.reward_many(asked, lambda: None)
    assert first.value == third.value == with_reference
    assert without in (second.reason or "") if isinstance(without, str) else second.value == without
