"""Every ordinary example of the official SDKs against every dialect that a provider can speak; none is skipped."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import openai
import pytest

from tests.contract.sdk_examples import EXAMPLES, Example, Lab
from tests.contract.sdk_lacks import Dropped, Refused, lacks
from tests.contract.sdk_providers import BEDROCK_CREDENTIALS, PROVIDERS, PlayedProvider
from tests.modules.conftest import pytest_asyncio_loop_factories, running

__all__ = ["pytest_asyncio_loop_factories"]


@asynccontextmanager
async def lab_of(provider: PlayedProvider) -> AsyncIterator[Lab]:
    modules: dict[str, Any] = {
        "retry": {"base_delay_s": 0.001},
        "circuitbreaker": {"consecutive": 1000, "min_calls": 1000},
    }
    if provider.name == "bedrock":
        modules["bedrockshim"] = BEDROCK_CREDENTIALS
    async with running(modules, providers=provider.config) as s:
        claude = s.claude()
        try:
            yield Lab(s, provider, s.sdk(), claude)
        finally:
            await claude.close()


async def refused(run: Example, lab: Lab, code: str) -> None:
    with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as caught:
        await run(lab)
    body: Any = caught.value.body
    assert (body.get("error") or body)["code"] == code


async def dropped(run: Example, lab: Lab, field: str) -> None:
    """The example does not get what it wanted, but an answer, whose trail says why."""
    with pytest.raises(AssertionError):
        await run(lab)
    traces = await lab.s.recent_traces(5)
    shims = [entry["detail"] for trace in traces for entry in trace["decisions"] if entry["action"] == "shim"]
    assert any(field in detail["dropped"] for detail in shims)


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
async def test_every_example_works_or_is_refused_as_documented(provider: PlayedProvider) -> None:
    failures: dict[str, str] = {}
    missing = lacks(provider)
    async with lab_of(provider) as lab:
        for name, run in EXAMPLES.items():
            lack = missing.get(name)
            try:
                if isinstance(lack, Refused):
                    await refused(run, lab, lack.code)
                elif isinstance(lack, Dropped):
                    await dropped(run, lab, lack.field)
                else:
                    await run(lab)
            except (Exception, pytest.fail.Exception):
                failures[name] = traceback.format_exc(limit=-3)
            lab.s.mock.forget_script()
    assert not failures, "\n\n".join(f"=== {name}\n{what}" for name, what in failures.items())
