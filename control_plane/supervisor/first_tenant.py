"""The tenant `demo` that a developer's first `up` makes, so that there is something to call."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from control_plane.config import Config
from control_plane.domain.slugs import addresses
from control_plane.supervisor.services import plane_address

SLUG = "demo"
READY_DEADLINE_S = 60.0
QUESTION_S = 1


class Demo:
    """The tenant's addresses and the keys it was made with, kept in DATA/demo.json (0600) so that `up` can show them again."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._file = config.data / "demo.json"
        host, port = plane_address(config)
        self._base = f"http://{host}:{port}"
        self._open = build_opener(ProxyHandler({})).open
        self.given_up = threading.Event()  # set it to end `ensure` in another thread
        self.url = addresses(SLUG, config.domain, config.edge_listen).url

    def ensure(self) -> str:
        """Make the tenant or a key of it where they are missing, and wait until it answers; the key for its proxy."""
        key = self._known_key()
        if self._ask("GET", f"/api/tenants/{SLUG}") is None:
            key = self._keep(self._ask("POST", "/api/tenants", {"slug": SLUG}))
        elif key is None:
            key = self._keep(self._ask("POST", f"/api/tenants/{SLUG}/keys", {"name": "demo", "kind": "proxy"}))
        self._wait_until_running()
        return key

    def _wait_until_running(self) -> None:
        deadline = time.monotonic() + READY_DEADLINE_S
        while not self.given_up.is_set():
            answer = self._ask("POST", f"/internal/tenants/{SLUG}/wake?wait_s={QUESTION_S}") or {}
            if answer.get("status") == "running":
                return
            if answer.get("status") in ("failed", "suspended") or time.monotonic() > deadline:
                why = answer.get("failure") or answer.get("reason") or "no reason given"
                raise RuntimeError(f"the tenant `{SLUG}` is {answer.get('status')}: {why}")
            self.given_up.wait(0.05)

    def _known_key(self) -> str | None:
        try:
            key: str = json.loads(self._file.read_text(encoding="ascii"))["api_key"]
        except (FileNotFoundError, ValueError, KeyError):
            return None
        return key

    def _keep(self, made: dict[str, Any] | None) -> str:
        made = made or {}
        key: str = made.get("api_key") or made["key"]
        _write_private(self._file, {"api_key": key, "admin_key": made.get("admin_key")})
        return key

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """The control plane's answer as the operator gets it; None for 404."""
        given = os.environ.get("STOCKYARD_CLOUD_OPERATOR_KEY")
        key = given or self._config.operator_key_file.read_text(encoding="utf-8").strip()
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        data = None if method == "GET" else json.dumps(body or {}).encode()
        try:
            with self._open(
                Request(self._base + path, data, headers, method=method), timeout=QUESTION_S + 10
            ) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except HTTPError as refusal:
            if refusal.code == 404:
                return None
            raise RuntimeError(f"{method} {path}: {refusal.read().decode('utf-8', 'replace')[:500]}") from None


def _write_private(path: Path, content: dict[str, Any]) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        json.dump(content, file)
