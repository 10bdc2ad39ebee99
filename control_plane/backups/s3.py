"""What Litestream has no command for at an S3-compatible store: removing a prefix, and small objects of our own.

Requests are signed by AWS Signature Version 4 (https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html)
with the credentials of the environment, the ones that Litestream itself uses.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from hmac import digest
from urllib.parse import SplitResult, parse_qsl, quote, urlencode
from xml.etree import ElementTree

import httpx2

from control_plane.reconcile.ports import Unavailable

TIMEOUT_S = 30
PAGE = 1000


class Bucket:
    """The bucket and prefix that a replica address `s3://BUCKET/PREFIX?endpoint=…&region=…` names."""

    def __init__(self, address: SplitResult, environ: Mapping[str, str] = os.environ) -> None:
        options = dict(parse_qsl(address.query))
        self._prefix = address.path.strip("/")
        self._region = options.get("region") or environ.get("AWS_REGION") or "us-east-1"
        endpoint = options.get("endpoint")
        if endpoint:
            endpoint = endpoint if "://" in endpoint else f"https://{endpoint}"
            self._base, self._path = endpoint.rstrip("/"), f"/{address.netloc}/"
        else:
            self._base, self._path = f"https://{address.netloc}.s3.{self._region}.amazonaws.com", "/"
        try:
            self._key_id, self._secret = environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
        except KeyError as missing:
            raise Unavailable(f"the backups' store needs {missing.args[0]} in the environment") from None
        self._token = environ.get("AWS_SESSION_TOKEN")

    def remove(self, folder: str) -> int:
        """Remove everything below `folder`, itself below the address's prefix; how many objects that were."""
        removed = 0
        with httpx2.Client(timeout=TIMEOUT_S) as client:
            for key in self._keys(client, f"{self._prefix}/{folder}/".lstrip("/")):
                self._send(client, "DELETE", self._path + key, {})
                removed += 1
        return removed

    def put(self, name: str, text: str) -> None:
        """Write a small object at `name` below the address's prefix."""
        with httpx2.Client(timeout=TIMEOUT_S) as client:
            self._send(client, "PUT", self._path + f"{self._prefix}/{name}".lstrip("/"), {}, text.encode())

    def get(self, name: str) -> str:
        """The text of a small object."""
        with httpx2.Client(timeout=TIMEOUT_S) as client:
            return self._send(client, "GET", self._path + f"{self._prefix}/{name}".lstrip("/"), {})

    def names(self, folder: str) -> list[str]:
        """Names of the objects in `folder`, without it."""
        prefix = f"{self._prefix}/{folder}/".lstrip("/")
        with httpx2.Client(timeout=TIMEOUT_S) as client:
            return [key.removeprefix(prefix) for key in self._keys(client, prefix)]

    def _keys(self, client: httpx2.Client, prefix: str) -> Iterator[str]:
        query = {"list-type": "2", "max-keys": str(PAGE), "prefix": prefix}
        while True:
            listing = ElementTree.fromstring(self._send(client, "GET", self._path, query))
            for element in listing.iterfind("{*}Contents/{*}Key"):
                yield element.text or ""
            following = listing.findtext("{*}NextContinuationToken")
            if not following:
                return
            query |= {"continuation-token": following}

    def _send(self, client: httpx2.Client, method: str, path: str, query: Mapping[str, str], body: bytes = b"") -> str:
        path = quote(path)
        text = urlencode(sorted(query.items()), quote_via=quote, safe="")
        url = httpx2.URL(f"{self._base}{path}" + (f"?{text}" if text else ""))
        try:
            headers = self._signed(method, url, path, text, sha256(body).hexdigest())
            answer = client.request(method, url, headers=headers, content=body or None)
        except httpx2.TransportError as problem:
            raise Unavailable(f"the backups' store does not answer: {problem!r}") from None
        if answer.is_error:
            raise Unavailable(f"the backups' store refuses {method}: {answer.status_code} {answer.text[:200]}")
        return answer.text

    def _signed(self, method: str, url: httpx2.URL, path: str, query: str, content: str) -> dict[str, str]:
        now = datetime.now(UTC)
        moment, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        headers = {"host": url.netloc.decode(), "x-amz-content-sha256": content, "x-amz-date": moment}
        if self._token:
            headers["x-amz-security-token"] = self._token
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{content}"
        scope = f"{day}/{self._region}/s3/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{sha256(request.encode()).hexdigest()}"
        key = f"AWS4{self._secret}".encode()
        for part in (day, self._region, "s3", "aws4_request"):
            key = digest(key, part.encode(), "sha256")
        signature = digest(key, to_sign.encode(), "sha256").hex()
        credential = f"AWS4-HMAC-SHA256 Credential={self._key_id}/{scope}"
        return headers | {"authorization": f"{credential}, SignedHeaders={names}, Signature={signature}"}
