"""train: the losses by name, with what each needs. workers/training/losses computes them.

Symbols: w chosen, l rejected; h = log pi(y|x) - log ref(y|x), summed over the response; |y| its tokens; m = h_w - h_l.
A loss of the user's own is named by its import path; TRL's other loss types as `trl:NAME`.

Of online losses: A the advantage of a response; rho = pi(y_t|x, y_<t) / old(y_t|x, y_<t), or the product of these over
the response; w = min(old / engine, `importance_cap`); clip bounds rho by 1 - `clip_low` and 1 + `clip_high`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eva.errors import InputError
from eva.types import Floats

TRL_PREFIX = "trl:"
Length = Literal["response", "sequence_mean", "token_mean", "constant"]
"""How the tokens of a response count in an online loss: docs/reference/online.md."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss, described for readers and for the validation of configs.

    `reference_free`: needs no reference policy. `rewards`: also uses the pair's rewards. `divergences`: supports
    f-divergences other than the reverse KL. `ranked`: takes all responses of a prompt's pairs at once, best first.
    `ranks_many`: says more about three responses than about two. `initial`: has the initial policy as a second
    reference. `optimistic`: its reference is a mixture of the latest policies (see `mixture_weights`). `online`: a
    policy gradient, which needs the tokens as sampled; `advantage` is its rule for the advantages and `length` how the
    tokens of a response count, unless the config names others.
    """

    summary: str
    formula: str
    source: str
    reference_free: bool = False
    rewards: bool = False
    divergences: bool = False
    needs_flip_rate: bool = False
    online: bool = False
    ranked: bool = False
    ranks_many: bool = False
    initial: bool = False
    optimistic: bool = False
    advantage: str = ""
    length: Length | None = None


LOSSES: dict[str, Loss] = {
    "dpo": Loss(
        "direct preference optimisation", "-log sigma(beta m)", "Rafailov et al. 2023, eq. 7", divergences=True
    ),
    "ipo": Loss(
        "identity preference optimisation, per token",
        "(h_w/|y_w| - h_l/|y_l| - 1/(2 beta))^2",
        "Azar et al. 2023, eq. 17",
        divergences=True,
    ),
    "rdpo": Loss(
        "robust DPO: labels flipped with probability e = `flip_rate`",
        "((1-e) (-log sigma(beta m)) - e (-log sigma(-beta m))) / (1 - 2e)",
        "Chowdhury et al. 2024, eq. 12",
        divergences=True,
        needs_flip_rate=True,
    ),
    "ld_dpo": Loss(
        "length-desensitised DPO: tokens behind the shorter response's length weigh `length_alpha`",
        "-log sigma(beta m), h with those weights",
        "Liu et al. 2024, eq. 11",
        divergences=True,
    ),
    "sppo": Loss(
        "self-play preference optimisation with win rates P",
        "((h_w - (P_w - 1/2)/beta)^2 + (h_l - (P_l - 1/2)/beta)^2) / 2",
        "Wu et al. 2024, eq. 4.7",
        rewards=True,
    ),
    "sppo_hard": Loss(
        "SPPO with P_w = 1, P_l = 0", "(h_w - 1/(2 beta))^2 + (h_l + 1/(2 beta))^2", "Wu et al. 2024, hard form"
    ),
    "apo_zero": Loss(
        "anchored preference optimisation, zero",
        "1 - sigma(beta h_w) + sigma(beta h_l)",
        "D'Oosterlinck et al. 2024, eq. 7",
    ),
    "orpo": Loss(
        "odds ratio; lambda is `beta`; L = mean log-probability per token of a response",
        "NLL(x, y_w) - beta log sigma(log odds(L_w) - log odds(L_l))",
        "Hong et al. 2024, eq. 6",
        reference_free=True,
    ),
    "simpo": Loss(
        "length-normalised reward without a reference, margin `gamma`",
        "-log sigma(beta (log pi(y_w)/|y_w| - log pi(y_l)/|y_l|) - gamma)",
        "Meng et al. 2024, eq. 6",
        reference_free=True,
    ),
    "kto": Loss(
        "Kahneman-Tversky optimisation: each response is desirable or not; z = max(0, mean h of exchanged responses)",
        "(1 - sigma(beta (h_w - z)) + 1 - sigma(beta (z - h_l))) / 2",
        "Ethayarajh et al. 2024",
    ),
    "plackett_luce": Loss(
        "DPO over a whole ranking y_1 > … > y_K",
        "-sum_k log(exp(beta h_k) / sum_(j >= k) exp(beta h_j))",
        "Rafailov et al. 2023, appendix A.3",
        ranked=True,
        ranks_many=True,
    ),
    "pro": Loss(
        "preference ranking optimisation; p = log pi per token; t_kj = r_k - r_j, t_kk = max_j t_kj",
        "-sum_k log(exp(t_kk p_k) / sum_(j >= k) exp(t_kj p_j)) - beta p_1",
        "Song et al. 2024",
        reference_free=True,
        ranked=True,
        ranks_many=True,
    ),
    "inpo": Loss(
        "iterative Nash policy optimisation; d = log ref/pi_0 with the initial policy pi_0; s = `initial_share`",
        "(m + s (d_w - d_l) - 1/(2 beta))^2",
        "Zhang et al. 2025",
        ranked=True,
        initial=True,
    ),
    "onpo": Loss(
        "optimistic Nash policy optimisation; log ref is log pi_t / 2 + log pi_(t-1) / 4 + … over the policies so far",
        "(m - 1/beta)^2",
        "Zhang et al. 2025, in one training",
        ranked=True,
        optimistic=True,
    ),
    "rloo": Loss(
        "REINFORCE with the other responses' mean reward as the baseline; rho of the whole response",
        "-w min(rho A, clip(rho) A)",
        "Ahmadian et al. 2024, eq. 8; clipped as TRL's",
        online=True,
        advantage="rloo",
        length="response",
    ),
    "grpo": Loss(
        "group relative policy optimisation: advantages in standard deviations, averaged over each response's tokens",
        "mean over t of -w_t min(rho_t A, clip(rho_t) A)",
        "Shao et al. 2024, eq. 3",
        online=True,
        advantage="grpo",
        length="sequence_mean",
    ),
    "dr_grpo": Loss(
        "GRPO without its two normalisations, which favour long wrong responses and easy prompts",
        "sum over t of -w_t min(rho_t A, clip(rho_t) A) / max_tokens",
        "Liu et al. 2025, section 3.2",
        online=True,
        advantage="dr_grpo",
        length="constant",
    ),
}
"""The losses by name; LOSSES in workers/training/losses computes them."""

TRL_TYPES = (
    "sigmoid",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
    "sigmoid_norm",
)
"""The values of `loss_type` that the pinned TRL's DPO trainer accepts; a test compares them with the installed one."""

_DIVERGING_TYPES = ("sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop", "sft")
_FLIPPING_TYPES = ("robust", "exo_pair")


def check_loss_name(name: str) -> str:
    """Returns the name. Raises ValueError, with the nearest valid name, if there is no such loss."""
    known = [*LOSSES, *(TRL_PREFIX + kind for kind in TRL_TYPES)]
    module, colon, function = name.partition(":")
    path = (
        colon and module != "trl" and function.isidentifier() and all(part.isidentifier() for part in module.split("."))
    )
    if name in known or path:
        return name
    # the most likely slip is a TRL type without its prefix, or in another case
    close = [TRL_PREFIX + name] if name in TRL_TYPES else difflib.get_close_matches(name.lower(), known, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"there is no loss {name!r}; known: {', '.join(LOSSES)}, trl:TYPE with one of "
        f"{', '.join(TRL_TYPES)}, or module:function{hint}"
    )


def loss_facts(name: str) -> Loss:
    """Returns what a loss needs: one of LOSSES, TRL's own by `trl:`, or the user's."""
    if name in LOSSES:
        return LOSSES[name]
    if name.startswith(TRL_PREFIX):
        kind = name.removeprefix(TRL_PREFIX)
        return Loss(
            f"TRL's {kind}", "", "TRL", divergences=kind in _DIVERGING_TYPES, needs_flip_rate=kind in _FLIPPING_TYPES
        )
    return Loss("a function of the user's", "", name, rewards=True)


def takes_ranked(loss: str, own: str | None) -> bool:
    """Whether a loss takes ranked responses in place of pairs. `own`: what the user says that their function takes."""
    return loss_facts(loss).ranked or own == "ranked"


MIXED_POLICIES = 6
"""How many policies an optimistic loss mixes at most; all older ones together would weigh 1/32."""


def mixed_policies(number: int) -> range:
    """Returns the policies that an optimistic loss mixes with policy `number`: those before it, newest first."""
    return range(number - 1, max(number - MIXED_POLICIES, -1), -1)


def mixture_weights(count: int) -> list[float]:
    """Returns the weights of so many policies, newest first: each half the one before; the last takes the rest to 1."""
    halves = [0.5**place for place in range(1, count)]
    return [*halves, 1 - sum(halves)]


def check_ranking(loss: str, choice: str, n: int) -> None:
    """Raises ValueError if the loss learns from a ranking, and the rule gives it two responses of more."""
    if loss_facts(loss).ranks_many and n > 2 and ":" not in choice and choice != "all_vs_best":
        raise ValueError(
            f"loss {loss} learns from a ranking of the n responses, but pairs.choice {choice} picks two of them: set "
            "pairs.choice to all_vs_best"
        )


def check_win_rates(loss: str, win_rates: str | None, rewarder: str, *, gives_win_rates: bool) -> None:
    """Raises ValueError if the loss is SPPO, which learns win rates, and nothing says where they come from."""
    if loss == "sppo" and win_rates is None and not gives_win_rates:
        raise ValueError(
            f"sppo needs win rates, but the pointwise rewarder {rewarder} gives none: set training.win_rates "
            "to bradley_terry (derived from reward differences) or given (the rewards are win rates), or choose a "
            "rewarder that compares pairs, or training.loss sppo_hard"
        )


def bradley_terry_win_rate(rewards_N: Floats, reward: float, scale: float = 1.0) -> float:
    """Returns a response's win rate by its reward: the mean over responses j of P(this one beats j).

    P is sigmoid((reward - reward_j) / scale). `rewards_N` are the rewards of all responses to the prompt, this one's
    included (it counts 1/2 against itself), NaN where there is none.
    """
    differences = (reward - rewards_N[np.isfinite(rewards_N)]) / scale
    # tanh does not overflow where exp would
    return float(np.mean((1 + np.tanh(differences / 2)) / 2))


def reward_spread(rewards_P_N: Floats) -> float | None:
    """Returns the rewards' standard deviation within a prompt: the root of the mean variance, over prompts with a gap.

    NaN stands for a response without a reward. None if no prompt has a gap.
    """
    known_P = np.isfinite(rewards_P_N).sum(axis=1) > 1
    variances_P = np.nanvar(rewards_P_N[known_P], axis=1, ddof=1)
    variances_P = variances_P[variances_P > 0]
    return float(np.sqrt(variances_P.mean())) if len(variances_P) else None


FLAT, CERTAIN = (0.49, 0.51), (0.01, 0.99)
"""Win rates that teach SPPO nothing: all inside the first, or all outside the second."""


def check_win_rate_spread(win_rates_K: Floats, others: int | None, *, derived: bool, scale: float) -> None:
    """Raises InputError if the win rates of a batch's chosen and rejected responses are all flat, or all certain.

    Flat ones give targets near 0 for winner and loser alike, certain ones do not say by how much. `others` is the
    number of responses that each was compared with, if the win rate also counts 1/2 against itself; else None.
    """
    if not len(win_rates_K):
        return
    against_K = win_rates_K if not others else (win_rates_K * (others + 1) - 0.5) / others
    flat = bool(((against_K > FLAT[0]) & (against_K < FLAT[1])).all())
    certain = bool(((against_K < CERTAIN[0]) | (against_K > CERTAIN[1])).all())
    if not flat and not certain:
        return
    low, high = float(against_K.min()), float(against_K.max())
    shape = "within .49 to .51" if flat else "below .01 or above .99"
    why = "winners and losers get nearly the same target" if flat else "they say who wins, but not how clearly"
    if derived:
        size = "small" if flat else "large"
        move = (
            f"The gaps between rewards are {size} compared with training.win_rate_scale, which is {scale:g}. Set it to "
            f"`spread` or to {'less' if flat else 'more'}, or choose the loss sppo_hard"
        )
    else:
        move = "Use a rewarder that compares responses, or choose the loss sppo_hard, which needs no win rates"
    raise InputError(
        f"all {len(win_rates_K)} win rates of the first batch are {shape} (from {low:.4f} to {high:.4f}), so sppo "
        f"would learn nothing from them: {why}",
        expected="win rates that differ between responses",
        next_move=move,
    )
