"""The files of a new module's package; `@NAME@`, `@CLASS@` and `@API@` stand for the module's name, its class and the version of the
hooks that it is written for."""

from __future__ import annotations

PROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "stockyard-@NAME@"
version = "0.1.0"
description = "A module for Stockyard"
requires-python = ">=3.11"
dependencies = ["stockyard"]

[project.optional-dependencies]
test = ["pytest", "pytest-asyncio"]

[project.entry-points."stockyard.modules"]
@NAME@ = "@NAME@:@CLASS@"

[tool.hatch.build.targets.wheel]
include = ["@NAME@.py"]

[tool.pytest.ini_options]
asyncio_mode = "auto"
"""

MODULE = '''"""@NAME@: say in one line what it does."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from instance.chute.answer import Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.module import Module, ModuleSettings
from instance.core.errors import StockyardError


class @CLASS@(Module):
    """Refuses calls with a forbidden word and notes how long answers are. Put your own work in its place.

    Take out the hooks you do not need: one that is not there costs nothing.
    """

    api_version: ClassVar[int] = @API@
    name: ClassVar[str] = "@NAME@"
    category: ClassVar[str] = "other"
    group: ClassVar[int] = 5
    summary: ClassVar[str] = "Refuses calls with a forbidden word"
    rejects: ClassVar[tuple[str, ...]] = ("@NAME@_refused",)

    class Settings(ModuleSettings):
        forbidden: str = Field(default="", max_length=100, description="A word that no request may hold; empty: none.")

    settings: Settings

    def on_request(self, x: Exchange) -> Answer | None:
        """Before the call: look at `x.req`, change it (then `x.change()`), note, refuse, or answer."""
        word = self.settings.forbidden
        for place, message in enumerate(x.req["messages"]):
            content = message.get("content")
            if word and isinstance(content, str) and word in content:
                raise StockyardError(
                    "@NAME@_refused",
                    f"The word {word!r} may not be used here.",
                    param=f"messages[{place}].content",
                    status=400,
                )
        return None

    def on_response(self, x: Exchange, answer: Answer) -> None:
        """A whole answer on its way out."""
        for choice in (answer.obj or {}).get("choices", ()):
            self._count(x, choice["message"].get("content") or "")

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        """Each event of a streamed answer; the last one has `delta.final`."""
        texts = x.state.setdefault("@NAME@", [])
        texts += [choice.text for choice in delta.choices()]
        if delta.final:
            self._count(x, "".join(texts))

    def _count(self, x: Exchange, text: str) -> None:
        x.note("counted", {"characters": len(text)})
'''

TEST = '''"""What a user of @NAME@ sees."""

from __future__ import annotations

import pytest

from @NAME@ import @CLASS@
from instance.chute.module_testing import try_module


def made(**settings: object) -> @CLASS@:
    return @CLASS@(@CLASS@.Settings(**settings))


async def test_an_ordinary_call_passes_as_it_is() -> None:
    tried = await try_module(made(forbidden="secret"), "hi")
    assert tried.error is None
    assert tried.sent is not None
    assert tried.sent["messages"] == [{"role": "user", "content": "hi"}]


async def test_a_call_with_the_forbidden_word_reaches_no_provider() -> None:
    tried = await try_module(made(forbidden="secret"), "tell me the secret")
    assert tried.sent is None
    assert tried.error is not None
    assert (tried.error.code, tried.error.param) == ("@NAME@_refused", "messages[0].content")


@pytest.mark.parametrize("stream", [False, True])
async def test_the_trail_says_how_long_the_answer_was(stream: bool) -> None:
    tried = await try_module(made(), "hi", answer="hello there", stream=stream)
    assert tried.text == "hello there"
    assert [entry["detail"] for entry in tried.decisions] == [{"characters": 11}]
'''

README = """# stockyard-@NAME@

A module for [Stockyard](https://pypi.org/project/stockyard/).

```
pip install -e '.[test]' && pytest     # try it
stockyard modules on @NAME@            # after the instance was started anew
stockyard modules set @NAME@ forbidden=secret
```
"""
