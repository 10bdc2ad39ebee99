"""The operations that raw handlers serve, for the API's description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RawOperation:
    """One method of one path; `scope` is what the key needs, `public` for none."""

    method: str
    path: str
    scope: str
    tag: str
    summary: str

    def described(self) -> dict[str, Any]:
        """Its OpenAPI operation."""
        operation: dict[str, Any] = {
            "tags": [self.tag],
            "summary": self.summary,
            "operationId": f"{self.method.lower()}_{self.path.strip('/').replace('/', '_')}",
            "x-scope": self.scope,
            "responses": {"200": {"description": "OK"}},
        }
        names = [part[1:-1] for part in self.path.split("/") if part.startswith("{")]
        if names:
            operation["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
            ]
        if self.method in ("POST", "PUT"):
            operation["requestBody"] = {"content": {"application/json": {"schema": {"type": "object"}}}}
        return operation


RAW_OPERATIONS = (
    RawOperation("POST", "/v1/chat/completions", "proxy:call", "proxy", "A chat completion, whole or streamed"),
    RawOperation("GET", "/v1/models", "proxy:call", "proxy", "The models that the key may use"),
    RawOperation("GET", "/v1/models/{id}", "proxy:call", "proxy", "One of the models that the key may use"),
    RawOperation("GET", "/health", "public", "system", "The process lives"),
    RawOperation("GET", "/api/health", "public", "system", "The same as /health"),
    RawOperation("GET", "/ready", "public", "system", "Calls can be taken"),
    RawOperation("GET", "/api/instance/state", "instance", "control plane", "The desired state that was applied"),
    RawOperation("PUT", "/api/instance/state", "instance", "control plane", "Apply a whole desired state"),
    RawOperation("GET", "/api/instance/usage", "instance", "control plane", "Cumulative counters"),
    RawOperation("GET", "/api/instance/activity", "instance", "control plane", "Whether it may sleep"),
    RawOperation("POST", "/api/instance/drain", "instance", "control plane", "Finish what runs, fold the journal"),
    RawOperation("POST", "/api/instance/resume", "instance", "control plane", "Undo drain"),
    RawOperation("POST", "/api/instance/verify", "instance", "control plane", "Check database and ledger"),
)
