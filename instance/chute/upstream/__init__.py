"""The proxy's own pooled HTTP/1.1 client: httptools on asyncio protocols, for the way of a request.

Calls off that way use httpx2. See `client.Upstream` for what is promised.
"""

from instance.chute.upstream.client import Upstream
from instance.chute.upstream.errors import BlockedAddress, UpstreamError
from instance.chute.upstream.limits import Limits
from instance.chute.upstream.response import UpstreamResponse
from instance.chute.upstream.url import UpstreamUrl

__all__ = ["BlockedAddress", "Limits", "Upstream", "UpstreamError", "UpstreamResponse", "UpstreamUrl"]
