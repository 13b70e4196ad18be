"""train: the preference losses by name, with what each needs. workers/training/losses computes them.

Symbols: w chosen, l rejected; h = log pi(y|x) - log ref(y|x), summed over the response; |y| its tokens; m = h_w - h_l.
A loss of the user's own is named by its import path; TRL's other loss types as `trl:NAME`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np

from eva.types import Floats

TRL_PREFIX = "trl:"


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss, described for readers and for the validation of configs.

    `reference_free`: needs no reference policy. `rewards`: also uses the pair's rewards. `divergences`: supports
    f-divergences other than the reverse KL.
    """

    summary: str
    formula: str
    source: str
    reference_free: bool = False
    rewards: bool = False
    divergences: bool = False
    needs_flip_rate: bool = False


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


def check_win_rates(loss: str, win_rates: str | None, rewarder: str, *, gives_win_rates: bool) -> None:
    """Raises ValueError if the loss is SPPO, which learns win rates, and nothing says where they come from."""
    if loss == "sppo" and win_rates is None and not gives_win_rates:
        raise ValueError(
            f"sppo needs win rates, but the pointwise rewarder {rewarder} gives none: set training.win_rates "
            "to bradley_terry (derived from reward differences) or given (the rewards are win rates), or choose a "
            "rewarder that compares pairs, or training.loss sppo_hard"
        )


def bradley_terry_win_rate(rewards_N: Floats, reward: float) -> float:
    """Returns a response's win rate by its reward: the mean over responses j of P(this one beats j).

    P is sigmoid(reward - reward_j): rewards are read as logits, so their scale matters. `rewards_N` are the rewards of
    all responses to the prompt, this one's included (it counts 1/2 against itself), NaN where there is none.
    """
    differences = reward - rewards_N[np.isfinite(rewards_N)]
    # tanh does not overflow where exp would
    return float(np.mean((1 + np.tanh(differences / 2)) / 2))
