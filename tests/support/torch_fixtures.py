"""Torch in a test's own process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch with one thread, and libraries that print nothing.

    Spinning threads of torch and other processes on the same cores would hold each other up.
    """
    import torch

    from workers.training.optimisation import silence_libraries

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    silence_libraries()
    yield
    torch.set_num_threads(before)
