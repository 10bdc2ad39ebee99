"""The command's way to the control plane. Standard library only, so that a command starts fast."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

TIMEOUT_S = 60.0
DEFAULT_LISTEN = "127.0.0.1:4300"


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
        headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {self.key}"}
        request = Request(f"{self.url}{path}?{urlencode(query)}", headers=headers)
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=TIMEOUT_S) as answer:
                for line in answer:
                    if line.startswith(b"data: "):
                        yield json.loads(line[6:])
        except HTTPError as error:
            raise _refusal(error) from None
        except (URLError, TimeoutError, HTTPException, OSError, ValueError) as error:
            raise Refused(f"the control plane stopped answering ({getattr(error, 'reason', error)})") from None

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        headers = {"Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        request = Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=TIMEOUT_S) as answer:
                return json.loads(answer.read())
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
