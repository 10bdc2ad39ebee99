"""The mock upstream, as tests and benchmarks name it; its own tests are beside this file."""

from instance.mock_upstream import Call, MockUpstream, until
from instance.mock_upstream.plain import PLAIN_TEXT

__all__ = ["PLAIN_TEXT", "Call", "MockUpstream", "until"]
