"""A mock of every provider that Stockyard speaks to: scriptable, strict about each dialect, without a key or a model.

In a test: `async with MockUpstream() as upstream: upstream.script(text("hello"), status(503))`; beyond the script it
answers `echo: <last user text>`. `upstream.calls` are the requests that came. From threads and for sync clients:
`with MockUpstream.in_thread() as upstream`. By hand: `stockyard mock`.
"""

from instance.mock_upstream.exchange import Call
from instance.mock_upstream.replies import Failure, Reply
from instance.mock_upstream.server import MockUpstream, until

__all__ = ["Call", "Failure", "MockUpstream", "Reply", "until"]
