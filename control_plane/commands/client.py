"""The command's way to the control plane. Standard library only, so that a command starts fast."""

from __future__ import annotations

import json
import os
import secrets
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

TIMEOUT_S = 60.0
FILE_TIMEOUT_S = 1_800.0  # until the first byte: a large database is read twice before
FILE_CHUNK = 1 << 20
DEFAULT_LISTEN = "127.0.0.1:4300"

Progress = Callable[[int, int], None]


class Refused(Exception):
    """The control plane said no, or did not answer; the message says what to do."""

    def __init__(self, message: str, code: str = "unreachable", status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True)
class Client:
    """Calls the API with the operator's key."""

    url: str
    key: str

    def get(self, path: str, **query: Any) -> Any:
        """GET, with the parameters that are not None."""
        given = {name.rstrip("_"): value for name, value in query.items() if value is not None}
        return self._call("GET", path + ("?" + urlencode(given) if given else ""), None)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """POST a JSON object."""
        return self._call("POST", path, dict(body or {}))

    def delete(self, path: str, **query: Any) -> Any:
        """DELETE, with the parameters that are not None."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._call("DELETE", path + ("?" + urlencode(given) if given else ""), None)

    def follow(self, path: str, **query: Any) -> Iterator[Any]:
        """The data of server-sent events as they come, each a JSON value; ends when the other side ends it."""
        accept = {"Accept": "text/event-stream"}
        with self._open("GET", f"{path}?{urlencode(query)}", None, "", TIMEOUT_S, accept) as answer:
            for line in answer:
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])

    def download(self, path: str, body: Mapping[str, Any], into: BinaryIO, progress: Progress) -> int:
        """POST a JSON object and write the answer, which is a file; its bytes. `progress` is told (done, in all)."""
        data = json.dumps(dict(body)).encode()
        with self._open("POST", path, data, "application/json", FILE_TIMEOUT_S) as answer:
            size = int(answer.headers["Content-Length"])
            while chunk := answer.read(FILE_CHUNK):
                into.write(chunk)
                progress(into.tell(), size)
            if into.tell() != size:
                raise Refused("the answer was cut off; try again", "bad_answer")
        return into.tell()

    def upload(self, path: str, fields: Mapping[str, str], file: BinaryIO, progress: Progress) -> Any:
        """POST a form with a file, which is sent as it is read; `progress` is told (done, in all)."""
        boundary = secrets.token_hex(16)
        part = f'--{boundary}\r\nContent-Disposition: form-data; name="{{}}"{{}}\r\n\r\n'
        head = "".join(part.format(name, "") + value + "\r\n" for name, value in fields.items())
        head += part.format("file", '; filename="file.stockyard"\r\nContent-Type: application/octet-stream')
        tail = f"\r\n--{boundary}--\r\n".encode()
        file_size = os.fstat(file.fileno()).st_size
        size = len(head.encode()) + file_size + len(tail)

        def content() -> Iterator[bytes]:
            while chunk := file.read(FILE_CHUNK):
                yield chunk
                progress(file.tell(), file_size)

        chunks = chain((head.encode(),), content(), (tail,))
        kind = f"multipart/form-data; boundary={boundary}"
        with self._open("POST", path, chunks, kind, FILE_TIMEOUT_S, {"Content-Length": str(size)}) as answer:
            return json.loads(answer.read())

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with self._open(method, path, data, "" if body is None else "application/json", TIMEOUT_S) as answer:
            return json.loads(answer.read())

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        data: bytes | Iterable[bytes] | None,
        kind: str,
        timeout_s: float,
        more: Mapping[str, str] | None = None,
    ) -> Iterator[Any]:
        """The answer to a request, to be read; every accident on the way is a `Refused`."""
        headers = {"Accept": "application/json", **(more or {})}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        if kind:
            headers["Content-Type"] = kind
        request = Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=timeout_s) as answer:
                yield answer
        except HTTPError as error:
            raise _refusal(error) from None
        except (URLError, TimeoutError, HTTPException, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            message = f"the control plane does not answer at {self.url} ({reason}); start it with `stockyard-cloud up`"
            raise Refused(message) from None


def open_client(data: Path | None) -> Client:
    """A client for STOCKYARD_CLOUD_URL, else the address in cloud.toml, with the key of the environment or the file."""
    folder = (data or Path(os.environ.get("STOCKYARD_CLOUD_DATA") or "~/.stockyard-cloud")).expanduser()
    url = os.environ.get("STOCKYARD_CLOUD_URL") or f"http://{_listen(folder)}"
    key = os.environ.get("STOCKYARD_CLOUD_OPERATOR_KEY") or ""
    if not key:
        try:
            key = (folder / "operator.key").read_text(encoding="ascii").strip()
        except OSError:
            pass  # the first call says 401 and how to give a key
    return Client(url.rstrip("/"), key)


def _listen(folder: Path) -> str:
    """Where the control plane of this data folder listens, as a client reaches it."""
    listen = os.environ.get("STOCKYARD_CLOUD_LISTEN")
    if not listen:
        try:
            text = Path(os.environ.get("STOCKYARD_CLOUD_CONFIG") or folder / "cloud.toml").read_text(encoding="utf-8")
            listen = str(tomllib.loads(text).get("listen", DEFAULT_LISTEN))
        except (OSError, ValueError):
            listen = DEFAULT_LISTEN
    host, _, port = listen.rpartition(":")
    return f"{'127.0.0.1' if host in ('0.0.0.0', '[::]', '') else host}:{port}"


def _refusal(error: HTTPError) -> Refused:
    try:
        body = json.loads(error.read())["error"]
        return Refused(str(body["message"]), str(body["code"]), error.code)
    except (ValueError, KeyError, TypeError):
        return Refused(f"the control plane answered {error.code}", "bad_answer", error.code)
