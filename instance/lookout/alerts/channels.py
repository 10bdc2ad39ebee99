"""Sending one notice: to a webhook or a chat's address, by e-mail, or to the log."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from instance.chute.upstream import Upstream, UpstreamError, UpstreamUrl
from instance.core.address_policy import AddressPolicy
from instance.core.errors import StockyardError
from instance.lookout.alerts.notice import body, signatures
from instance.version import VERSION

if TYPE_CHECKING:
    from instance.core.clock import Clock

TIMEOUT_S = 10.0
ANSWER_MAX_BYTES = 64 << 10
EXCERPT_MAX = 300
POSTED = frozenset(("webhook", "slack", "discord", "teams"))

log = logging.getLogger("stockyard.alerts")


@dataclass(frozen=True, slots=True)
class MailServer:
    """How e-mail is sent. `security` is `starttls`, `tls` or `none`."""

    host: str = ""
    port: int = 587
    user: str = ""
    password: str = ""
    sender: str = ""
    security: str = "starttls"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt; `error` is empty when it was delivered."""

    http_status: int | None = None
    error: str = ""


class Channels:
    """Sends notices. Private addresses are refused unless `allow_private`."""

    def __init__(self, clock: Clock, instance: str, mail: MailServer, *, allow_private: bool) -> None:
        self._clock = clock
        self._instance = instance
        self._mail = mail
        self._policy = AddressPolicy(allow_private=allow_private)
        self._upstream = Upstream(allow_private_networks=allow_private)

    async def close(self) -> None:
        """Close what is open."""
        await self._upstream.close()

    async def send(
        self, channel: str, config: Mapping[str, Any], delivery_id: str, event: str, data: dict[str, Any]
    ) -> Outcome:
        """One attempt; never raises for what the other side did."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if channel in POSTED:
                    return await self._post(channel, config, delivery_id, event, data)
                if channel == "email":
                    await self._send_mail(str(config.get("to", "")), data)
                elif channel == "log":
                    log.warning("%s", data["message"])
        except TimeoutError:
            return Outcome(error=f"no answer within {TIMEOUT_S:.0f} s")
        except (UpstreamError, OSError, ValueError) as error:
            return Outcome(error=f"{type(error).__name__}: {error}"[:EXCERPT_MAX])
        return Outcome()

    async def _post(
        self, channel: str, config: Mapping[str, Any], delivery_id: str, event: str, data: dict[str, Any]
    ) -> Outcome:
        now_ns = self._clock.wall_ns()
        posted = body(channel, delivery_id, event, data, self._instance, now_ns)
        headers = [(b"content-type", b"application/json"), (b"user-agent", f"stockyard/{VERSION}".encode())]
        secret = config.get("secret")
        if channel == "webhook" and secret:
            headers += signatures(str(secret), delivery_id, event, now_ns // 10**9, posted)
        address, _, query = str(config["url"]).partition("?")
        path = f"?{query}".encode() if query else b""
        response = await self._upstream.send(
            UpstreamUrl.parse(address), b"POST", path, headers, posted, connect_timeout_s=TIMEOUT_S
        )
        try:
            said = await response.read(ANSWER_MAX_BYTES)
        finally:
            response.close()
        if response.status < 300:
            return Outcome(response.status)
        excerpt = said[:EXCERPT_MAX].decode("utf-8", "replace")
        return Outcome(response.status, f"HTTP {response.status}: {excerpt}"[:EXCERPT_MAX])

    async def _send_mail(self, to: str, data: dict[str, Any]) -> None:
        mail = self._mail
        if not mail.host:
            raise ValueError("no mail server is set: smtp_host of the module alertpulse")
        found = await asyncio.get_running_loop().getaddrinfo(mail.host, mail.port, type=socket.SOCK_STREAM)
        address = next((row[4][0] for row in found if self._policy.allows(str(row[4][0]))), None)
        if address is None:
            raise ValueError(f"the mail server {mail.host} has an address that this instance must not reach")
        from instance.lookout.alerts.mail import hand_over, written  # slow to import, and needed by few

        await asyncio.to_thread(hand_over, mail, str(address), written(mail, to, data))


def checked_address(channel: str, url: str, *, allow_private: bool) -> None:
    """Raise `invalid_value` or `blocked_address` for an address that no notice can go to."""
    try:
        parsed = UpstreamUrl.parse(url.partition("?")[0])
    except ValueError as error:
        raise StockyardError("invalid_value", f"{error}.", param="channel_config.url") from None
    if allow_private:
        return
    if parsed.scheme != "https":
        raise StockyardError("blocked_address", "Notices go to https:// addresses only.", param="channel_config.url")
    host = parsed.host
    literal = host.replace(".", "").isdigit() or ":" in host
    if (
        host == "localhost"
        or host.endswith(".localhost")
        or (literal and not AddressPolicy(allow_private=False).allows(host))
    ):
        raise StockyardError(
            "blocked_address", "The address is a private one (allow_private_webhooks).", param="channel_config.url"
        )
