"""What `POST /api/forge/batch` takes, as JSON or as lines of JSON, and the jobs that it means."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from instance.chute.operations import operation_of
from instance.core.errors import StockyardError
from instance.forge.batch import PRIORITIES, NewJob

NOT_OF_JOB = frozenset(("stream", "stream_options", "_async", "_priority"))
Kind = Literal["completion", "embedding", "workflow"]


class Request(BaseModel):
    """One call. `url` and `method` are OpenAI's names in its batch files."""

    model_config = ConfigDict(extra="forbid")

    custom_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    body: dict[str, Any]
    url: str | None = Field(default=None, max_length=200, description="Path of the call; unset: by `type` and body.")
    method: Literal["POST"] = "POST"


class Submission(BaseModel):
    """A batch."""

    model_config = ConfigDict(extra="forbid")

    type: Kind = "completion"
    input: dict[str, Any] | None = Field(default=None, description="The body of the only call.")
    requests: list[Any] | None = Field(default=None, description="`{custom_id?, body}` each, at most 10,000.")
    priority: Literal["low", "normal", "high"] | int = 0
    max_attempts: int | None = Field(default=None, ge=1, le=100)
    concurrency: int = Field(default=4, ge=1, le=1000)
    max_cost_usd: Decimal | None = Field(default=None, ge=0, le=1_000_000_000)
    callback_url: str | None = Field(default=None, max_length=2048)

    @property
    def rank(self) -> int:
        return PRIORITIES[self.priority] if isinstance(self.priority, str) else self.priority


def read_lines(raw: bytes) -> list[Any]:
    """The objects of NDJSON; empty lines are passed over. Raises `batch_invalid_line` with the line's number."""
    found = []
    for number, line in enumerate(raw.splitlines(), 1):
        if not line.strip():
            continue
        try:
            found.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise invalid_line(number, f"is not JSON: {error}") from None
    return found


def jobs_of(kind: Kind, requests: list[Any]) -> list[NewJob]:
    """The calls, each under an id that no other has. Raises `batch_invalid_line`, `not_supported`."""
    if kind == "workflow":
        raise StockyardError("not_supported", "Workflows cannot be queued here yet.", param="type")
    if not requests:
        raise StockyardError("missing_field", "Give `input`, or `requests` with at least one call.", param="requests")
    jobs: list[NewJob] = []
    seen: set[str] = set()
    for number, given in enumerate(requests, 1):
        try:
            request = Request.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            raise invalid_line(number, f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}") from None
        custom_id = request.custom_id or str(number)
        if custom_id in seen:
            raise invalid_line(number, f"custom_id {custom_id!r} is there already")
        seen.add(custom_id)
        path = request.url or _path(kind, request.body)
        operation = operation_of(path)
        if operation is None or operation.multipart:
            raise invalid_line(number, f"{path!r} takes no call as JSON")
        jobs.append(new_job(custom_id, path, request.body))
    return jobs


def new_job(custom_id: str, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> NewJob:
    """A job; that its answer is to be streamed, or its call queued, and how soon, is left out."""
    sent = {name: value for name, value in body.items() if name not in NOT_OF_JOB}
    return NewJob(custom_id, path, str(sent.get("model") or ""), orjson.dumps(sent), headers or {})


def _path(kind: Kind, body: dict[str, Any]) -> str:
    if kind == "embedding":
        return "/v1/embeddings"
    return "/v1/completions" if "prompt" in body and "messages" not in body else "/v1/chat/completions"


def invalid_line(number: int, why: str) -> StockyardError:
    return StockyardError("batch_invalid_line", f"Line {number}: {why}.", param="requests", details={"line": number})
