"""A mock that listens, and a client for it."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.mock_upstream import MockUpstream
from tests.plain_http import NO_TLS


@pytest.fixture
async def upstream() -> AsyncIterator[MockUpstream]:
    async with MockUpstream() as server:
        yield server


@pytest.fixture
async def http(upstream: MockUpstream) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=upstream.root, timeout=20.0, verify=NO_TLS) as client:
        yield client
