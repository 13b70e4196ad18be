"""Finds prompts with the same meaning, by the cosines of embeddings. Bounded memory, exact decisions.

Letters: T texts, D dimensions, Q questions, R rows of a block.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
import numpy.typing as npt

from eva.creator.novelty import scope
from eva.errors import ModelError
from eva.roles import Embedder
from eva.types import Context, Floats, Ints

SCALE = 3000
"""Length of the stored vectors, whose entries are whole numbers. No sum of products of two of them reaches 2 ** 24, the
limit up to which float32 is exact, so a cosine is the same however products are ordered, batched or spread over
threads."""
_BLOCK = 1 << 14
_AT_ONCE = 256
"""How many texts' cosines with all others of a stage are in memory at a time."""

Whole = npt.NDArray[np.int16]


def quantise(vectors_T_D: Floats) -> Whole:
    """Scales vectors to length SCALE and rounds them, shape (T, D). Cosines change by about 1.4e-4; zero stays zero."""
    if not np.isfinite(vectors_T_D).all():
        raise ModelError(
            "the embedding model returned vectors with NaN or infinity",
            expected="finite vectors",
            next_move="Use another model for novelty.embedding_model",
        )
    lengths_T = np.sqrt((vectors_T_D.astype(np.float64) ** 2).sum(axis=1))
    return np.rint(vectors_T_D / np.where(lengths_T > 0, lengths_T, 1)[:, None] * SCALE).astype(np.int16)


class SemanticIndex:
    """An index of embeddings, in order of arrival. It grows in batches; queries change nothing and are thread-safe.

    A text takes 2 bytes per dimension plus 12: a million texts in 384 dimensions take 780 MB.
    """

    def __init__(self) -> None:
        self._count = 0
        self._vectors: list[Whole] = []
        self._squares: list[Floats] = []
        self._scopes: list[npt.NDArray[np.uint32]] = []

    def __len__(self) -> int:
        return self._count

    def extend(self, vectors_T_D: Floats, scopes: Sequence[int]) -> None:
        """Adds texts; `scopes` identify the conversations that they continue (eva.creator.novelty.scope)."""
        found_T_D, taken = quantise(vectors_T_D), 0
        while taken < len(found_T_D):
            place = self._count % _BLOCK
            if place == 0:
                self._vectors.append(np.empty((_BLOCK, found_T_D.shape[1]), np.int16))
                self._squares.append(np.empty(_BLOCK))
                self._scopes.append(np.empty(_BLOCK, np.uint32))
            some = found_T_D[taken : taken + _BLOCK - place]
            rows = slice(place, place + len(some))
            self._vectors[-1][rows], self._squares[-1][rows] = some, _squares(some)
            self._scopes[-1][rows] = scopes[taken : taken + len(some)]
            taken, self._count = taken + len(some), self._count + len(some)

    def closest(self, vectors_Q_D: Floats, scopes_Q: Ints) -> Floats:
        """Returns the highest cosine of each question with a text of its scope, shape (Q,); -1 if there is none."""
        asked_Q_D = quantise(vectors_Q_D)
        squares_Q, best_Q = _squares(asked_Q_D), np.full(len(asked_Q_D), -1.0)
        turned_D_Q = asked_Q_D.T.astype(np.float32)
        for block, (vectors_R_D, squares_R, scopes_R) in enumerate(
            zip(self._vectors, self._squares, self._scopes, strict=True)
        ):
            rows = slice(0, min(_BLOCK, self._count - block * _BLOCK))
            cosines_R_Q = _cosines(vectors_R_D[rows], squares_R[rows], turned_D_Q, squares_Q)
            cosines_R_Q[scopes_R[rows, None] != scopes_Q] = -1
            best_Q = np.maximum(best_Q, cosines_R_Q.max(axis=0, initial=-1))
        return best_Q


def semantic_twins(vectors_T_D: Floats, scopes: Sequence[int], similarity: float) -> list[int | None]:
    """Returns each text's twin: the first earlier text of its scope with nearly the same meaning and no twin itself.

    None where there is no twin.
    """
    whole_T_D, scopes_T = quantise(vectors_T_D), np.asarray(scopes, dtype=np.int64)
    squares_T, turned_D_T = _squares(whole_T_D), whole_T_D.T.astype(np.float32)
    twins: list[int | None] = []
    for start in range(0, len(whole_T_D), _AT_ONCE):
        rows, known = slice(start, start + _AT_ONCE), slice(0, start + _AT_ONCE)
        same_R_T = _cosines(whole_T_D[rows], squares_T[rows], turned_D_T[:, known], squares_T[known]) >= similarity
        same_R_T &= scopes_T[rows, None] == scopes_T[known]
        for row, same_T in enumerate(same_R_T, start):
            twins.append(next((place for place in np.flatnonzero(same_T[:row]).tolist() if twins[place] is None), None))
    return twins


class SemanticCheck:
    """Refuses texts with nearly the same meaning as a prompt of the run before the stage, in the same conversation.

    While one thread searches the index, the questions of others queue up; the next thread answers them together.
    """

    def __init__(self, index: SemanticIndex, embedder: Embedder, similarity: float) -> None:
        self._index, self._embedder, self._similarity = index, embedder, similarity
        self._looking, self._queue_lock = threading.Lock(), threading.Lock()
        self._queue: list[tuple[Floats, int, Future[float]]] = []

    def reason(self, text: str, context: Context = ()) -> str | None:
        answer: Future[float] = Future()
        question = (self._embedder.embed([text])[0], scope(context), answer)
        with self._queue_lock:
            self._queue.append(question)
        with self._looking:
            if not answer.done():
                self._answer()
        # the thread that searched last has answered it
        return "semantic" if answer.result(timeout=0) >= self._similarity else None

    def _answer(self) -> None:
        with self._queue_lock:
            asked, self._queue = self._queue, []
        try:
            found_Q = self._index.closest(
                np.stack([vector for vector, _, _ in asked]), np.array([scope for _, scope, _ in asked], dtype=np.int64)
            )
        except Exception as error:  # noqa: BLE001 - raised again in the threads that asked
            for _, _, answer in asked:
                answer.set_exception(error)
            return
        for (_, _, answer), cosine in zip(asked, found_Q.tolist(), strict=True):
            answer.set_result(cosine)


def _cosines(vectors_R_D: Whole, squares_R: Floats, turned_D_Q: npt.NDArray[np.float32], squares_Q: Floats) -> Floats:
    """Returns the cosine of every row with every question, shape (R, Q); 0 with a zero vector."""
    dots_R_Q = (vectors_R_D.astype(np.float32) @ turned_D_Q).astype(np.float64)
    sizes_R_Q = np.sqrt(squares_R[:, None] * squares_Q)
    return dots_R_Q / np.where(sizes_R_Q > 0, sizes_R_Q, np.inf)


def _squares(vectors_T_D: Whole) -> Floats:
    """Returns the exact squared lengths."""
    return (vectors_T_D.astype(np.int64) ** 2).sum(axis=1).astype(np.float64)
