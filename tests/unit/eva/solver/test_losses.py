"""Unknown losses and impossible combinations fail before anything starts."""

import math

import numpy as np
import pytest
from scipy.special import log_softmax

from eva.config import Training
from eva.config.files import load_config
from eva.errors import ConfigError, InputError
from eva.solver.losses import (
    LOSSES,
    MIXED_POLICIES,
    TRL_TYPES,
    bradley_terry_win_rate,
    check_loss_name,
    check_win_rate_spread,
    check_win_rates,
    loss_facts,
    mixed_policies,
    mixture_weights,
    reward_spread,
)

SERVED = "training.lora.serve=adapter"
CREATOR = ["evolving.evolver={kind: trained, model: playground}", "evolving.mode=fan_out"]
CREATOR_SERVED = "evolving.evolver.training.lora.serve=adapter"


@pytest.mark.parametrize("name", [*LOSSES, *(f"trl:{kind}" for kind in TRL_TYPES), "my.module:loss"])
def test_a_loss_is_found_by_name(name: str) -> None:
    assert check_loss_name(name) == name
    assert loss_facts(name).summary


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("dppo", "did you mean 'dpo'"),
        ("SimPO", "did you mean 'simpo'"),
        ("hinge", "did you mean 'trl:hinge'"),
        ("trl:apo_zer", "did you mean 'trl:apo_zero'"),
        ("sppohard", "did you mean 'sppo_hard'"),
    ],
)
def test_an_unknown_loss_fails_with_the_nearest_name(name: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"training.loss: there is no loss '{name}'.*{nearest}"):
        load_config("playground", [f"training.loss={name}"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.loss=simpo", "training.divergence=forward_kl"], "simpo does not support divergence forward_kl"),
        (["training.loss=rdpo"], "rdpo needs a flip_rate above 0"),
        (["training.loss=trl:exo_pair"], "trl:exo_pair needs a flip_rate above 0"),
        (["training.loss=sppo"], "sppo needs win rates, but the pointwise rewarder verifier gives none"),
        (
            ["training.batch=7", "training.devices=2"],
            r"batch is 7, which is no multiple of 2 device\(s\) x 3 pairs = 6",
        ),
        (["training.divergence=js"], "'js_divergence'"),
        (["training.optimiser=adam"], "'adamw', 'adamw_8bit' or 'rmsprop'"),
        (["training.sharding=fsdp2"], r"fsdp2 with 1 device\(s\): it divides all weights among several devices"),
        (
            ["training.sharding=fsdp2", "training.devices=2", "training.lora.rank=8"],
            r"fsdp2 with 2 device\(s\) and adapters",
        ),
        (["training.sharding=none", "training.devices=2"], r"sharding is none with 2 device\(s\); use auto"),
        (["training.sharding=ddp"], r"sharding is ddp with 1 device\(s\); use auto"),
        (["training.offload=true"], "offload needs sharding fsdp2"),
        (["training.lora.rank=0"], "lora.rank.*greater than or equal to 1"),
        (
            [SERVED, "training.lora.rank=256", "iterations=3"],
            "last policy would have rank 768, and vLLM serves at most 512: change that, or use merged",
        ),
        ([SERVED, "checkpoints.store=/store"], "store is set, and machines fetch whole"),
        ([SERVED, "training.enabled=false"], "enabled is false, so no adapter is trained"),
        ([*CREATOR, SERVED], "the creator has weights of its own, which the same engines load"),
        ([*CREATOR, CREATOR_SERVED], "serve adapters of the solver alone; use merged for a creator"),
        (["training.takes=ranked"], "takes is ranked, but loss dpo is no function of yours"),
        (["training.initial_share=0.5"], "initial_share is 0.5, but loss dpo does not use it"),
        (["training.loss=inpo", "training.reference=initial"], "inpo compares with the previous policy and"),
        (["training.loss=onpo", "training.reference=initial"], "initial, but the reference of loss onpo is made"),
        (["training.loss=onpo", "training.mode=scratch"], "mode is scratch.*policies so far: leave mode out"),
        (["training.loss=kto", "training.order=widest_first"], "kto takes single responses, which have no margin"),
        (["training.loss=pro"], "pro learns from a ranking.*best_vs_worst picks two.*set pairs.choice to all_vs_best"),
    ],
)
def test_an_impossible_combination_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("playground", overrides)


@pytest.mark.parametrize(
    ("keys", "gpu", "expected"),
    [
        ({}, True, "none"),
        ({"devices": 4}, True, "fsdp2"),
        ({"devices": 4, "lora": {"rank": 8}}, True, "ddp"),
        ({"devices": 4}, False, "ddp"),
        ({"devices": 4, "sharding": "fsdp2"}, False, "fsdp2"),
        ({"devices": 4, "sharding": "ddp"}, True, "ddp"),
    ],
)
def test_weights_are_divided_among_several_gpus_unless_adapters_are_trained(
    keys: dict[str, object], gpu: bool, expected: str
) -> None:
    assert Training.model_validate(keys).sharding_on(gpu=gpu) == expected


def test_sppo_takes_win_rates_from_the_source_in_the_config() -> None:
    for source in ("given", "bradley_terry"):
        training = load_config("playground", ["training.loss=sppo", f"training.win_rates={source}"]).training
        assert (training.loss, training.win_rates) == ("sppo", source)
    check_win_rates("sppo", None, "pairwise", gives_win_rates=True)
    check_win_rates("dpo", None, "mock", gives_win_rates=False)
    with pytest.raises(ValueError, match="the pointwise rewarder mock gives none"):
        check_win_rates("sppo", None, "mock", gives_win_rates=False)


def test_the_mixture_of_the_policies_is_the_secondary_policy_of_optimistic_mirror_descent() -> None:
    beats = np.array([[0.5, 0.9, 0.3], [0.1, 0.5, 0.8], [0.7, 0.2, 0.5]])
    eta, first = 0.4, log_softmax(np.log([0.2, 0.5, 0.3]))
    secondary, policy, policies = first, first, [first]
    for number in range(MIXED_POLICIES):
        newest_first = [policies[k] for k in (number, *mixed_policies(number))]
        mixture = np.average(newest_first, axis=0, weights=mixture_weights(len(newest_first)))
        assert log_softmax(mixture) == pytest.approx(secondary, abs=1e-12)
        preferred = beats @ np.exp(policy)
        secondary = log_softmax(secondary + eta * preferred)
        policy = log_softmax(secondary + eta * preferred)
        assert policy == pytest.approx(log_softmax(mixture + 2 * eta * preferred), abs=1e-12)
        policies.append(policy)


def test_each_policy_of_a_mixture_weighs_half_of_the_newer_one_and_the_oldest_takes_the_rest() -> None:
    assert [mixture_weights(count) for count in (1, 2, 4)] == [[1], [0.5, 0.5], [0.5, 0.25, 0.125, 0.125]]
    assert [list(mixed_policies(number)) for number in (0, 2, 9)] == [[], [1, 0], [8, 7, 6, 5, 4]]


def test_adapters_and_devices_are_set_by_overrides() -> None:
    training = load_config("playground", ["training.lora.rank=8", "training.devices=2"]).training
    assert training.lora is not None
    assert (training.lora.rank, training.lora.targets, training.devices) == (8, "all-linear", 2)
    assert Training().lora is None


def test_a_win_rate_is_the_mean_probability_of_beating_the_responses() -> None:
    rewards = np.array([2.0, 0.5, np.nan, -1.0])
    expected = (0.5 + 1 / (1 + math.exp(-1.5)) + 1 / (1 + math.exp(-3.0))) / 3
    assert bradley_terry_win_rate(rewards, 2.0) == pytest.approx(expected)


def test_win_rates_of_a_prompt_average_one_half_and_survive_huge_gaps() -> None:
    rewards = np.array([2.0, 0.5, 0.1, -1.0])
    assert np.mean([bradley_terry_win_rate(rewards, reward) for reward in rewards]) == pytest.approx(0.5)
    assert bradley_terry_win_rate(np.array([1e6, -1e6]), 1e6) == pytest.approx(0.75)


def test_a_scale_divides_the_gaps_between_rewards() -> None:
    rewards = np.array([0.2, 0.05, np.nan, -0.1])
    assert bradley_terry_win_rate(rewards, 0.2, 0.1) == pytest.approx(bradley_terry_win_rate(10 * rewards, 2.0))


def test_the_spread_is_the_standard_deviation_within_prompts_whatever_their_means() -> None:
    draw = np.random.default_rng(0)
    rewards_P_N = draw.normal(0, 5, (4000, 1)) + draw.normal(0, 0.03, (4000, 6))
    rewards_P_N[:5, 1:] = np.nan
    assert reward_spread(rewards_P_N) == pytest.approx(0.03, rel=0.02)
    assert reward_spread(np.ones((3, 4))) is None


ARMORM = np.array([0.112, 0.118, 0.121, 0.131, 0.138, 0.145])
"""Six rewards of one prompt on ArmoRM's scale."""


@pytest.mark.parametrize(("scale", "refused"), [(1.0, "within .49 to .51"), (0.0001, "below .01 or above .99")])
def test_win_rates_that_teach_nothing_are_refused_with_the_scale(scale: float, refused: str) -> None:
    rates = np.array([bradley_terry_win_rate(ARMORM, reward, scale) for reward in (ARMORM[0], ARMORM[-1])])
    with pytest.raises(InputError, match=rf"all 2 win rates of the first batch are {refused}.*win_rate_scale"):
        check_win_rate_spread(rates, 5, derived=True, scale=scale)


def test_win_rates_at_the_spread_are_accepted() -> None:
    scale = reward_spread(ARMORM[None])
    assert scale is not None
    rates = np.array([bradley_terry_win_rate(ARMORM, reward, scale) for reward in (ARMORM[0], ARMORM[-1])])
    check_win_rate_spread(rates, 5, derived=True, scale=scale)
    assert rates[0] < 0.35 and rates[1] > 0.65


def test_verdicts_of_zero_and_one_are_no_win_rates() -> None:
    with pytest.raises(InputError, match="sppo_hard"):
        check_win_rate_spread(np.array([1.0, 0.0, 1.0]), None, derived=False, scale=1.0)
    check_win_rate_spread(np.array([]), None, derived=False, scale=1.0)


def test_a_scale_without_derived_win_rates_is_refused() -> None:
    with pytest.raises(ConfigError, match="win_rate_scale is spread, but only win_rates bradley_terry uses it"):
        load_config("playground", ["training.win_rate_scale=spread"])
