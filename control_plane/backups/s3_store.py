"""The backups' store in an S3-compatible bucket, with the credentials of the environment, the ones that Litestream uses."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import SplitResult, parse_qsl, quote, urlencode
from xml.etree import ElementTree

import httpx2

from control_plane.backups.object_store import Stored
from control_plane.reconcile.ports import Unavailable
from instance.core.sigv4 import Credentials, signed_headers

TIMEOUT_S = 30
PAGE = 1000
REMOVED_AT_ONCE = 16


class S3Store:
    """`ObjectStore` at the bucket and prefix that `s3://BUCKET/PREFIX?endpoint=…&region=…` names."""

    def __init__(self, address: SplitResult, environ: Mapping[str, str] = os.environ) -> None:
        options = dict(parse_qsl(address.query))
        self._environ = environ
        self._tls: ssl.SSLContext | None = None
        self._prefix = f"{address.path.strip('/')}/".lstrip("/")
        self._region = options.get("region") or environ.get("AWS_REGION") or "us-east-1"
        endpoint = options.get("endpoint")
        if endpoint:
            endpoint = endpoint if "://" in endpoint else f"https://{endpoint}"
            self._base, self._path = endpoint.rstrip("/"), f"/{address.netloc}/"
        else:
            self._base, self._path = f"https://{address.netloc}.s3.{self._region}.amazonaws.com", "/"

    async def put(self, name: str, content: bytes) -> None:
        async with self._client() as client:
            await self._send(client, "PUT", self._prefix + name, body=content)

    async def get(self, name: str) -> bytes | None:
        async with self._client() as client:
            answer = await self._send(client, "GET", self._prefix + name, missing_ok=True)
            return answer.content if answer.is_success else None

    async def entries(self, folder: str) -> list[Stored]:
        async with self._client() as client:
            return [each async for each in self._list(client, folder)]

    async def folders(self, folder: str) -> set[str]:
        prefix = f"{self._prefix}{folder}/"
        async with self._client() as client:
            pages = self._pages(client, {"prefix": prefix, "delimiter": "/"})
            found = [each.text or "" async for page in pages for each in page.iterfind("{*}CommonPrefixes/{*}Prefix")]
        return {each.removeprefix(prefix).rstrip("/") for each in found}

    async def remove(self, names: Iterable[str]) -> None:
        async with self._client() as client:
            await self._remove(client, names)

    async def remove_folder(self, folder: str) -> None:
        async with self._client() as client:
            await self._remove(client, [each.name async for each in self._list(client, folder)])

    async def _remove(self, client: httpx2.AsyncClient, names: Iterable[str]) -> None:
        slots = asyncio.Semaphore(REMOVED_AT_ONCE)

        async def remove(name: str) -> None:
            async with slots:
                await self._send(client, "DELETE", self._prefix + name, missing_ok=True)

        await asyncio.gather(*(remove(name) for name in names))

    async def _list(self, client: httpx2.AsyncClient, folder: str) -> AsyncIterator[Stored]:
        async for page in self._pages(client, {"prefix": f"{self._prefix}{folder}/"}):
            for found in page.iterfind("{*}Contents"):
                modified = datetime.fromisoformat(found.findtext("{*}LastModified") or "")
                name = (found.findtext("{*}Key") or "").removeprefix(self._prefix)
                yield Stored(name, int(found.findtext("{*}Size") or 0), modified.timestamp())

    async def _pages(self, client: httpx2.AsyncClient, wanted: Mapping[str, str]) -> AsyncIterator[ElementTree.Element]:
        query = {"list-type": "2", "max-keys": str(PAGE), **wanted}
        while True:
            page = ElementTree.fromstring((await self._send(client, "GET", "", query)).content)
            yield page
            following = page.findtext("{*}NextContinuationToken")
            if not following:
                return
            query |= {"continuation-token": following}

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx2.AsyncClient]:
        if self._tls is None:
            self._tls = ssl.create_default_context()  # made once: reading the certificates takes longer than a request
        async with httpx2.AsyncClient(timeout=TIMEOUT_S, verify=self._tls) as client:
            yield client

    async def _send(
        self,
        client: httpx2.AsyncClient,
        method: str,
        key: str,
        query: Mapping[str, str] | None = None,
        *,
        body: bytes = b"",
        missing_ok: bool = False,
    ) -> httpx2.Response:
        path = quote(self._path + key)
        text = urlencode(sorted((query or {}).items()), quote_via=quote, safe="")
        url = httpx2.URL(f"{self._base}{path}" + (f"?{text}" if text else ""))
        headers = signed_headers(
            self._credentials(),
            method=method,
            path=path,
            headers=[("host", url.netloc.decode())],
            body=body,
            region=self._region,
            service="s3",
            at=datetime.now(UTC),
            query=text,
        )
        try:
            answer = await client.request(method, url, headers=headers, content=body or None)
        except httpx2.TransportError as problem:
            raise Unavailable(f"the backups' store does not answer: {problem!r}") from None
        missing = answer.status_code == httpx2.codes.NOT_FOUND and b"NoSuchBucket" not in answer.content
        if answer.is_error and not (missing and missing_ok):
            raise Unavailable(f"the backups' store refuses {method}: {answer.status_code} {answer.text[:200]}")
        return answer

    def _credentials(self) -> Credentials:
        try:
            key, secret = self._environ["AWS_ACCESS_KEY_ID"], self._environ["AWS_SECRET_ACCESS_KEY"]
        except KeyError as missing:
            raise Unavailable(f"the backups' store needs {missing.args[0]} in the environment") from None
        return Credentials(key, secret, self._environ.get("AWS_SESSION_TOKEN", ""))
