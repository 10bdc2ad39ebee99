"""A benchmark's upstream, with one fixed answer and no records: `python -m tests.mock_upstream --port 9000`."""

import argparse
import asyncio

import uvloop

from instance.mock_upstream import MockUpstream


async def _serve(port: int, echo: bool) -> None:
    upstream = MockUpstream(plain=not echo)
    await upstream.start(port)
    print(upstream.url, flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--echo", action="store_true", help="answer `echo: <last user text>` instead of one fixed text")
    options = parser.parse_args()
    try:
        uvloop.run(_serve(options.port, options.echo))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
