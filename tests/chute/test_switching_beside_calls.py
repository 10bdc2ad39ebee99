"""A switch does what takes long, compiling expressions, beside the event loop: calls go on meanwhile."""

from __future__ import annotations

from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

import pytest

from instance.chute.matcher import Matcher
from tests.modules.conftest import running

ALL_ON = Path(__file__).parents[1] / "bench" / "all-plain.toml"
LOOKING = ("promptguard", "secretscan", "agegate", "toxicfilter", "maskmode", "toolshield", "promptlint", "retry")


@pytest.mark.integration
@pytest.mark.asyncio
async def test_no_switch_builds_a_matcher_on_the_loops_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(providers=lambda mock: ALL_ON.read_text()) as s:
        registry = s.instance.chute.registry
        plans = [registry.plan(kind) for kind in ("chat", "completions", "embeddings")]
        built: list[bool] = []
        make = Matcher.__init__

        def seen(matcher: Matcher, *given: Any) -> None:
            built.append(current_thread() is main_thread())
            make(matcher, *given)

        monkeypatch.setattr(Matcher, "__init__", seen)
        for enabled in (False, True):
            for name in LOOKING:
                await registry.change({name: {"enabled": enabled}}, "test")
                assert registry.plan("chat").version > plans[0].version
                assert any(link.name == name for link in registry.plan("chat").links) is enabled
        assert built
        assert not any(built)
