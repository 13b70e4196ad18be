"""The canary: log-probabilities of fixed token sequences that prove which weights an engine serves.

The sequences are ordinary text, or drawn tokens where the tokenizer does not know ordinary text. A checkpoint's canary
is recorded when it is published; `workers.fleet.proof` compares an engine with it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eva import seeds
from eva.config import Model, Training
from eva.errors import CheckpointError
from eva.solver.manifest import CANARY

HALF_PRECISION_FACTOR = 50
_LENGTH = 64
# A passage of which a tokenizer keeps fewer tokens is no ordinary text to it.
_ORDINARY_TOKENS = 24
# Ordinary English, because there the rounding of half precision moves log-probabilities least. Changing a word makes a
# checkpoint incomparable with earlier ones: engines are then opened anew once.
_TEXT = """
The harbour lay quiet in the early morning. Two fishing boats had already left, and a third was being loaded
with nets and ice by a man who whistled while he worked. Behind him the bakery opened its shutters, and the
smell of fresh bread drifted down to the water, as it did every day of the week except Sunday.

To find the average of a list of numbers, add them all together and divide the sum by how many numbers there
are. For example, the average of 4, 8 and 15 is 27 divided by 3, which is 9. If one of the numbers is much
larger than the others, the median is often a better description of what is typical.

Plants make sugar from sunlight, water and carbon dioxide. The green pigment in their leaves absorbs the
light, and its energy splits water into hydrogen and oxygen. The oxygen escapes into the air through small
openings on the underside of the leaf, while the hydrogen is used to build the sugar that feeds the plant.

Dear Mrs. Miller, thank you for your letter of the third of March. We are sorry to hear that the chair arrived
with a broken leg. A new one will be sent to your address this week, free of charge, and our driver will take
the damaged one with him. Please call us if you have any further questions.

def count_words(text):
    counts = {}
    for word in text.lower().split():
        counts[word] = counts.get(word, 0) + 1
    return counts
for word, count in sorted(count_words(page).items()):
    print(word, count)
if __name__ == "__main__":
    main()

What should I pack for a weekend in the mountains? Take warm clothes in several layers, a rain jacket, and
shoes with a firm sole. A map is still useful where there is no signal. Carry more water than you think you
will need, something to eat, a small light, and tell somebody at home which way you mean to go.

In the middle of the nineteenth century the railway changed how people thought about distance. A journey that
had taken four days by coach now took one, and towns that had been far apart became neighbours. Clocks had to
agree, because a timetable is of no use when every town keeps its own time.

Heat the oil in a large pan, add the chopped onion, and cook it slowly until it is soft. Stir in the garlic,
the tomatoes and a pinch of salt, and let everything simmer for twenty minutes. Meanwhile boil the pasta in
plenty of water. Drain it, mix it with the sauce, and serve it with a little grated cheese.
"""

PASSAGES = tuple(_TEXT.strip().split("\n\n"))


@dataclass(frozen=True, slots=True)
class CanarySequence:
    """`logprobs[i]` is the natural log-probability of `token_ids[i + 1]` given the tokens before it."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Canary:
    """`dtype` is that of the stored weights; `tolerance` in nats per token."""

    dtype: str
    tolerance: float
    sequences: tuple[CanarySequence, ...]

    def fitting(self, length: int) -> Canary:
        """Returns this canary for engines whose context holds `length` tokens: the beginnings of its sequences."""
        cut = tuple(CanarySequence(row.token_ids[:length], row.logprobs[: length - 1]) for row in self.sequences)
        return Canary(self.dtype, self.tolerance, cut)

    @property
    def tokens(self) -> list[tuple[int, ...]]:
        """The sequences without their log-probabilities."""
        return [row.token_ids for row in self.sequences]

    @property
    def values(self) -> list[tuple[float, ...]]:
        """The recorded log-probabilities, one row per sequence."""
        return [row.logprobs for row in self.sequences]


def tolerance(training: Training, model: Model, *, engines_on_gpu: bool) -> float:
    """Returns the allowed difference of an engine, nats per token: half precision rounds more.

    It bounds the largest difference in float32, and the mean difference in half precision.

    `auto` means float32 on a CPU and half precision on a GPU, whatever is stored.
    """
    half = engines_on_gpu if model.dtype == "auto" else model.dtype != "float32"
    return training.canary_tolerance * (HALF_PRECISION_FACTOR if half else 1)


def canary_tokens(tokenizer: Any, vocab_size: int, length: int = _LENGTH) -> list[list[int]]:
    """Returns the sequences of every checkpoint with this tokenizer: ordinary text, or else drawn tokens.

    Each has at most `length` tokens and begins as texts do for this tokenizer.
    """
    begin = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    cut = {"add_special_tokens": False, "truncation": True, "max_length": length}
    passages = [tokenizer.encode(passage, **cut) for passage in PASSAGES]
    known = all(
        len(ids) >= min(length, _ORDINARY_TOKENS) and max(ids) < vocab_size and tokenizer.unk_token_id not in ids
        for ids in passages
    )
    if not known:
        special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        ordinary = [token for token in range(min(vocab_size, len(tokenizer))) if token not in special]
        passages = [seeds.generator(0, "canary", index).choices(ordinary, k=length) for index in range(len(PASSAGES))]
    return [[*begin, *ids][:length] for ids in passages]


def write_canary(folder: Path, model: Any, tokenizer: Any, *, dtype: str, allowed: float) -> Canary:
    """Measures `model` (float32, loaded from `folder`) and writes `folder/canary.json`."""
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None) or _LENGTH
    chosen = canary_tokens(tokenizer, model.get_input_embeddings().num_embeddings, min(_LENGTH, context))
    sequences = tuple(CanarySequence(tuple(ids), tuple(measure(model, ids))) for ids in chosen)
    canary = Canary(dtype, allowed, sequences)
    (folder / CANARY).write_text(json.dumps(asdict(canary)))
    return canary


def measure(model: Any, token_ids: list[int]) -> list[float]:
    """Returns the natural log-probability of every token but the first, given those before it."""
    import torch

    ids = torch.tensor([token_ids], device=model.device)
    with torch.no_grad():
        logprobs = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
    return logprobs.gather(1, ids[0, 1:, None])[:, 0].tolist()


def read_canary(folder: Path) -> Canary:
    """Reads the canary of a published checkpoint. Raises CheckpointError."""
    try:
        raw = json.loads((folder / CANARY).read_text())
        sequences = tuple(CanarySequence(tuple(row["token_ids"]), tuple(row["logprobs"])) for row in raw["sequences"])
        return Canary(raw["dtype"], raw["tolerance"], sequences)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder} has no usable {CANARY} ({error!r})",
            expected="a checkpoint that eva published",
            next_move="Resume the run: the checkpoint is then published again",
        ) from error


def difference(one: Canary, other: Canary) -> float:
    """Returns the largest difference, nats per token. Raises CheckpointError if the canaries have other tokens."""
    if one.tokens != other.tokens:
        raise CheckpointError(
            "The two canaries consist of different tokens",
            expected="checkpoints of one run",
            next_move="Compare checkpoints with the same vocabulary",
        )
    return max(
        abs(a - b)
        for left, right in zip(one.sequences, other.sequences, strict=True)
        for a, b in zip(left.logprobs, right.logprobs, strict=True)
    )
