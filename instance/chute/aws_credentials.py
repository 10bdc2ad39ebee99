"""AWS credentials that come and go: those of the role of a container or a machine, asked of its metadata endpoint.

Kept until five minutes before they expire, then asked for anew; while that fails the old ones serve as long as they hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from instance.core.clock import Clock
from instance.core.errors import StockyardError
from instance.core.sigv4 import Credentials

if TYPE_CHECKING:
    import httpx2

CONTAINER_URL = "http://169.254.170.2"
INSTANCE_URL = "http://169.254.169.254"
CONTAINER_HOSTS = frozenset(("169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost", "127.0.0.1", "::1"))
"""Where a container's full URI may lead over plain HTTP."""
RENEW_BEFORE_S = 300
RETRY_AFTER_S = 10
"""Pause between two failed attempts while old credentials still hold."""
TIMEOUT_S = 3.0
TOKEN_LIFE_S = 21600
ROLES_PATH = "/latest/meta-data/iam/security-credentials/"
ANSWER_MAX_BYTES = 64 << 10
TOKEN_FILE_MAX_BYTES = 16 << 10


class RoleCredentials:
    """The credentials of the role. `environ` says which endpoint a container has; the addresses can be replaced for tests."""

    def __init__(
        self,
        environ: Mapping[str, str],
        clock: Clock,
        *,
        container_url: str = CONTAINER_URL,
        instance_url: str = INSTANCE_URL,
    ) -> None:
        self._environ = environ
        self._clock = clock
        self._container_url = container_url
        self._instance_url = instance_url
        self._known: Credentials | None = None
        self._retry_at = 0.0
        self._asking = asyncio.Lock()

    async def get(self) -> Credentials:
        """Credentials that hold for a while yet. Raises `no_valid_key` when there are none to be had."""
        known = self._fresh()
        if known is not None:
            return known
        async with self._asking:
            known = self._fresh()
            if known is not None:
                return known
            try:
                self._known = await self._asked()
            except (OSError, ValueError, KeyError, TypeError, TimeoutError) as error:
                self._retry_at = self._now_s() + RETRY_AFTER_S
                if self._known is not None and self._known.expires_at > self._now_s():
                    return self._known
                raise StockyardError(
                    "no_valid_key", f"The role's AWS credentials cannot be had: {error or type(error).__name__}."
                ) from error
            return self._known

    def _fresh(self) -> Credentials | None:
        known, now = self._known, self._now_s()
        if known is None:
            return None
        if not known.expires_at or known.expires_at - RENEW_BEFORE_S > now:
            return known
        return known if now < self._retry_at and known.expires_at > now else None

    def _now_s(self) -> float:
        return self._clock.wall_ns() / 1e9

    async def _asked(self) -> Credentials:
        import httpx2  # only instances with a role ever need it

        # Metadata is never asked through a proxy that the environment names.
        async with httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False) as client:
            try:
                found = await self._of_container(client) or await self._of_instance(client)
            except httpx2.HTTPError as error:
                raise OSError(f"the metadata endpoint does not answer ({type(error).__name__})") from error
        return Credentials(found["AccessKeyId"], found["SecretAccessKey"], found.get("Token") or "", _expiry(found))

    async def _of_container(self, client: httpx2.AsyncClient) -> dict[str, Any] | None:
        """`None` outside a container that has a role."""
        relative = self._environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "")
        full = self._environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
        if not relative and not full:
            return None
        url = self._container_url + relative if relative else full
        parts = urlsplit(url)
        if full and not relative and parts.scheme != "https" and parts.hostname not in CONTAINER_HOSTS:
            raise ValueError(
                "AWS_CONTAINER_CREDENTIALS_FULL_URI leads over plain HTTP to a host that is not the container's"
            )
        token = self._environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        file = self._environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "")
        if file:
            token = await asyncio.to_thread(_token_in, file)
        return _json(await client.get(url, headers={"authorization": token} if token else {}))

    async def _of_instance(self, client: httpx2.AsyncClient) -> dict[str, Any]:
        """Version 2 of the machine's metadata: a token first, then the role's name, then its credentials."""
        asked = {"x-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_LIFE_S)}
        token = await client.put(self._instance_url + "/latest/api/token", headers=asked)
        if token.status_code != 200:
            raise ValueError(f"the machine's metadata gives no token ({token.status_code})")
        headers = {"x-aws-ec2-metadata-token": token.text}
        roles = await client.get(self._instance_url + ROLES_PATH, headers=headers)
        role = roles.text.split("\n")[0].strip()
        if roles.status_code != 200 or not role:
            raise ValueError("the machine has no role")
        return _json(await client.get(self._instance_url + ROLES_PATH + role, headers=headers))


def _token_in(file: str) -> str:
    with Path(file).open(encoding="ascii") as opened:
        return opened.read(TOKEN_FILE_MAX_BYTES).strip()


def _json(response: httpx2.Response) -> dict[str, Any]:
    if response.status_code != 200:
        raise ValueError(f"the metadata endpoint answered {response.status_code}")
    found = orjson.loads(response.content[:ANSWER_MAX_BYTES])
    if not isinstance(found, dict) or not isinstance(found.get("AccessKeyId"), str):
        raise ValueError("the metadata endpoint gave no access key")
    return found


def _expiry(found: dict[str, Any]) -> float:
    """Seconds since 1970; 0 when it says none."""
    said = found.get("Expiration")
    return datetime.fromisoformat(said.replace("Z", "+00:00")).timestamp() if isinstance(said, str) and said else 0.0
