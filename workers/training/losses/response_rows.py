"""The rows of online losses: what the policy sampled, as it sampled it, with the advantage of each response."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, Sampler
from typing_extensions import override

from eva.errors import TrainingFailedError
from eva.seeds import uniforms
from eva.solver.weighted_responses import WeightedResponse, iter_weighted_responses
from workers.training.rows import Row, Rows

Logprobs = npt.NDArray[np.float32]


def read_responses(path: Path, max_length: int, max_prompt_length: int | None = None) -> Rows:
    """Reads a job's file: `response` of a row is a WeightedResponse.

    Rows longer than the limits are dropped and counted. Raises TrainingFailedError.
    """
    dropped: Counter[str] = Counter()
    rows: list[Row] = []
    try:
        for row in iter_weighted_responses(path):
            if len(row.prompt_ids) + len(row.token_ids_T) > max_length:
                dropped[f"longer than {max_length} tokens"] += 1
            elif max_prompt_length is not None and len(row.prompt_ids) > max_prompt_length:
                dropped[f"prompt longer than {max_prompt_length} tokens"] += 1
            else:
                rows.append({"response": row})
    except (OSError, ValueError) as error:
        raise TrainingFailedError(
            f"The responses cannot be read: {error}",
            next_move="Resume the run: the file is then written again",
        ) from error
    return Rows(tuple(rows), dict(dropped))


class ScoredResponses(Dataset[int]):
    """The rows, and their tokens' log-probabilities under other policies, as they become known.

    `old`: under the policy that sampled, by the trainer; `reference`: under the reference. `advantages` start as the
    rows have them. An item is a row's index, from which `collate` makes a batch.
    """

    def __init__(self, rows: Sequence[Row], padding: int) -> None:
        self.rows: list[WeightedResponse] = [row["response"] for row in rows]
        self._padding = padding
        self.old: Sequence[Logprobs] | None = None
        self.reference: Sequence[Logprobs] | None = None
        self.advantages: Sequence[float] = [row.advantage for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    @override
    def __getitem__(self, index: int) -> int:
        return index

    def lengths(self) -> list[int]:
        """Returns the tokens of each row, the prompt's included."""
        return [len(row.prompt_ids) + len(row.token_ids_T) for row in self.rows]

    def collate(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """Returns a batch, padded on the right.

        `labels` are -100 outside the responses. Log-probabilities have the shape of the shifted labels, and 0 where
        there is no token; those that are not known are left out.
        """
        rows = [self.rows[index] for index in indices]
        width = max(len(row.prompt_ids) + len(row.token_ids_T) for row in rows)
        ids, labels = torch.full((len(rows), width), self._padding), torch.full((len(rows), width), -100)
        attended = torch.zeros((len(rows), width), dtype=torch.long)
        for line, row in enumerate(rows):
            whole = np.concatenate([row.prompt_ids, row.token_ids_T])
            ids[line, : len(whole)] = torch.from_numpy(whole)
            labels[line, len(row.prompt_ids) : len(whole)] = ids[line, len(row.prompt_ids) : len(whole)]
            attended[line, : len(whole)] = 1
        batch = {"input_ids": ids, "labels": labels, "attention_mask": attended}
        batch |= {
            "advantages": torch.tensor([self.advantages[index] for index in indices], dtype=torch.float32),
            "rewards": torch.tensor([row.reward for row in rows], dtype=torch.float32),
            "engine": self._placed(rows, [row.logprobs_T for row in rows], width),
        }
        for name, known in (("old", self.old), ("reference", self.reference)):
            if known is not None:
                batch[name] = self._placed(rows, [known[index] for index in indices], width)
        return batch

    def _placed(self, rows: Sequence[WeightedResponse], logprobs: Sequence[Logprobs], width: int) -> torch.Tensor:
        placed = torch.zeros((len(rows), width - 1))
        for line, (row, values_T) in enumerate(zip(rows, logprobs, strict=True)):
            start = len(row.prompt_ids) - 1
            # Parquet's arrays are read-only, which torch would warn about
            placed[line, start : start + len(values_T)] = torch.tensor(values_T)
        return placed


class PromptOrder(Sampler[int]):
    """The order of an epoch: prompts shuffled, the responses to a prompt one after the other.

    A prompt's advantages sum to zero, and in one step they cancel what its responses have in common.
    """

    def __init__(self, numbers: Sequence[int], seed: int) -> None:
        self._numbers, self._seed, self._epoch = np.array(numbers, np.int64), seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._numbers)

    @override
    def __iter__(self) -> Iterator[int]:
        draws = uniforms(self._seed, self._epoch, "order", numbers=self._numbers)
        return iter(np.argsort(draws, kind="stable").tolist())
