"""What tests that call a model through LiteLLM need around them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def event_loop() -> Iterator[None]:
    """In the main thread LiteLLM makes an event loop for its hooks and leaves it open: it finds this one."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
