"""`stockyard mock`: every provider, without a key."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import TYPE_CHECKING, Annotated

import typer

from instance.chute.provider_spec import bundled_providers
from instance.commands.terminal import Failed, say

if TYPE_CHECKING:
    from instance.mock_upstream import MockUpstream

HELP = """Serve a mock of every provider, each in its own dialect and strict about it, until Ctrl-C.

It answers `echo: <last user text>`, calls a tool when the text says `call NAME`, and needs no key. The lines printed
are the environment in which `stockyard serve`, or the providers' own SDKs, call it.

Example: stockyard mock --port 4310 > mock.env & sleep 1; . ./mock.env; stockyard serve"""

CALLS_KEPT = 100
"""The command has nobody who reads them."""

_PROVIDERS = (
    "openai", "anthropic", "gemini", "bedrock", "azure", "mistral", "cohere", "ollama", "groq", "together", "deepseek",
    "fireworks", "replicate", "perplexity",
)  # fmt: skip


def mock(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any that is free.")] = 4310,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
) -> None:
    import uvloop

    try:
        uvloop.run(_serve(host, port))
    except KeyboardInterrupt:
        pass
    except OSError as problem:
        raise Failed(f"cannot listen on {host}:{port}: {problem.strerror}") from None


async def _serve(host: str, port: int) -> None:
    from instance.mock_upstream import MockUpstream

    upstream = MockUpstream(host=host, calls=deque(maxlen=CALLS_KEPT))
    await upstream.start(port)
    say("\n".join(environment_of(upstream)))
    sys.stdout.flush()
    await asyncio.Event().wait()


def environment_of(upstream: MockUpstream) -> list[str]:
    """Shell lines: where it listens, and each provider's variables."""
    lines = [f"# mock providers on {upstream.root}; any OpenAI-compatible server: {upstream.url}"]
    for name in _PROVIDERS:
        row = bundled_providers()[name]
        lines.append(f"export {_first(row['base_url_env'])}={upstream.at(name)}")
        if name != "ollama":
            lines.append(f"export {_first(row['key_env'])}=mock-key")
    return lines


def _first(names: str | list[str]) -> str:
    return names if isinstance(names, str) else names[0]
