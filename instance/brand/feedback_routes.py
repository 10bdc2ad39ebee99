"""`/api/trust/feedback`: judgement on answers over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi import Query as QueryParameters
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response, StreamingResponse

from instance.brand import feedback_store
from instance.brand.feedback import Judgement
from instance.brand.feedback_export import Kind, training_lines
from instance.brand.feedback_store import FeedbackFilter
from instance.core.errors import StockyardError
from instance.core.principals import Principal, has_scope
from instance.system.audit import actor_of, changed
from instance.system.auth import admitted, require
from instance.system.json_response import Json
from instance.system.listing import Period, envelope

if TYPE_CHECKING:
    from instance.brand.app import Brand
    from instance.chute.modules.trust.feedbackloop import FeedbackLoop

TrustRead = Annotated[Principal, Depends(require("trust:read"))]
TrustWrite = Annotated[Principal, Depends(require("trust:write"))]
ContentRead = Annotated[Principal, Depends(require("content:read"))]

TOKEN_HEADER = "x-stockyard-feedback-token"


def rater(request: Request) -> Principal | str:
    """Who judges: the holder of a key that may, or a token in its header."""
    token = request.headers.get(TOKEN_HEADER, "")
    if token and "authorization" not in request.headers and "x-admin-key" not in request.headers:
        return token[:TOKEN_MAX_CHARS]
    principal = admitted(request, "self")
    if not principal.may_call and not has_scope(principal, "trust:write"):
        details = {"scope": "trust:write"}
        raise StockyardError("scope_missing", "This key lacks the scope trust:write or proxy:call.", details=details)
    return principal


Rater = Annotated[Principal | str, Depends(rater)]

Tag = Annotated[str, Field(min_length=1, max_length=64)]
CORRECTION_MAX_CHARS = 100_000
TOKEN_MAX_CHARS = 1024


class NewFeedback(BaseModel):
    """What `POST` takes."""

    model_config = ConfigDict(extra="forbid")

    request_id: Annotated[str, Field(max_length=256, description="Id of the answer, or of the request.")] = ""
    trace_id: Annotated[str, Field(max_length=64)] = ""
    rating: Annotated[int, Field(ge=-1, le=5, description="-1, 0, 1; with scale 5 from 1 to 5.")]
    scale: Literal[1, 5] = 1
    user_email: Annotated[str, Field(max_length=256)] = ""
    comment: Annotated[str, Field(max_length=100_000)] = ""
    tags: Annotated[list[Tag], Field(max_length=32)] = []
    correction: Annotated[
        str, Field(max_length=CORRECTION_MAX_CHARS, description="What the answer should have been.")
    ] = ""

    @model_validator(mode="after")
    def _on_its_scale(self) -> NewFeedback:
        if not (1 <= self.rating <= 5 if self.scale == 5 else -1 <= self.rating <= 1):
            raise ValueError("the rating does not lie on its scale: -1, 0, 1, or with scale 5 from 1 to 5")
        return self


class Review(BaseModel):
    """What `PUT` takes."""

    model_config = ConfigDict(extra="forbid")

    review: Literal["open", "done"]
    note: Annotated[str | None, Field(max_length=2000)] = None


class FeedbackQuery(Period):
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    offset: Annotated[int, Field(ge=0, le=10**9)] = 0
    request_id: Annotated[str | None, Field(max_length=256)] = None
    trace_id: Annotated[str | None, Field(max_length=64)] = None
    model: Annotated[str | None, Field(max_length=256)] = None
    min_rating: Annotated[int | None, Field(ge=-1, le=5)] = None
    max_rating: Annotated[int | None, Field(ge=-1, le=5)] = None
    review: Literal["open", "done"] | None = None


class SummaryQuery(Period):
    model: Annotated[str | None, Field(max_length=256)] = None


class ExportQuery(SummaryQuery):
    kind: Kind = "good"


def router(brand: Brand) -> APIRouter:
    """The routes of this page."""
    routes = APIRouter(prefix="/api/trust/feedback", tags=["trust"])
    core, feedback = brand.core, brand.feedback

    def narrowed(query: SummaryQuery | FeedbackQuery, principal: Principal) -> FeedbackFilter:
        found = FeedbackFilter()
        start, end = query.bounds_ns(core.clock.wall_ns())
        for term, value in (
            ("created_at_ns >= ?", start),
            ("created_at_ns < ?", end),
            ("model = ?", query.model),
            ("team_id = ?", principal.team or None),
        ):
            if value is not None:
                found.add(term, value)
        return found

    def settings() -> FeedbackLoop.Settings:
        slot = core.services["registry"].slot("feedbackloop")
        if not slot.enabled:
            raise StockyardError("conflict", "The module feedbackloop is off; switch it on to take feedback.")
        own: FeedbackLoop.Settings = slot.settings
        return own

    @routes.post("", status_code=201, summary="Judge an answer, with the key that it was asked with or with a token")
    async def submit(body: NewFeedback, who: Rater) -> Response:
        own = settings()
        if len(body.comment) > own.comment_max_chars:
            message = f"The comment has more than {own.comment_max_chars} characters."
            raise StockyardError("invalid_value", message, param="comment")
        token = None
        if isinstance(who, str):
            trace_id, expires_ns = feedback.opened(who)
            token = (who, expires_ns)
            call = await feedback.call(trace_id)
            actor = rater = "token"
        else:
            name = body.trace_id or body.request_id
            if not name:
                message = "Say what is rated: request_id or trace_id."
                raise StockyardError("missing_field", message, param="request_id")
            call = await feedback.call(name, who.team, str(who.key_id))
            actor = rater = actor_of(who)
            if not has_scope(who, "trust:write") and call.key_id != str(who.key_id):
                raise StockyardError("not_yours", "This call was made with another key.")
        rater = f"{rater}/{body.user_email}"
        judgement = Judgement(body.rating, body.scale, rater, body.user_email, body.tags, body.comment, body.correction)
        made = await feedback.submit(call, judgement, actor, replaces=own.one_per_user, token=token)
        return Json({"status": "submitted", "id": made, "trace_id": call.trace_id}, 201)

    @routes.get("", summary="List feedback; `review=open` is the queue of what was judged bad")
    async def list_feedback(query: Annotated[FeedbackQuery, QueryParameters()], principal: TrustRead) -> Response:
        found = narrowed(query, principal)
        if query.request_id is not None:
            found.add("(request_id = ? OR answer_id = ?)", query.request_id, query.request_id)
        for term, value in (
            ("trace_id = ?", query.trace_id),
            ("rating >= ?", query.min_rating),
            ("rating <= ?", query.max_rating),
            ("review = ?", query.review),
        ):
            if value is not None:
                found.add(term, value)
        rows = await core.database.read(lambda c: feedback_store.rows(c, found, query.limit, query.offset))
        total = await core.database.read(lambda c: feedback_store.total(c, found))
        shown = [feedback_store.shown(row) for row in rows]
        if not has_scope(principal, "content:read"):
            for row in shown:
                row["comment"] = row["correction"] = None
        answer = envelope("feedback", shown, total=total, capped=False, next_cursor=None)
        return Json({**answer, "has_more": query.offset + len(rows) < total})

    @routes.get("/summary", summary="How answers are judged, by model, template, variant and routing rule")
    async def summary(query: Annotated[SummaryQuery, QueryParameters()], principal: TrustRead) -> Response:
        found = narrowed(query, principal)

        def read(connection: Any) -> dict[str, Any]:
            return {f"{group}s": feedback_store.rates(connection, group, found) for group in feedback_store.GROUPS}

        return Json(await core.database.read(read))

    @routes.get("/export", summary="Good answers, or corrections, as fine-tuning data (JSON Lines)")
    async def export(
        query: Annotated[ExportQuery, QueryParameters()], principal: TrustRead, reader: ContentRead
    ) -> Response:
        headers = {"content-disposition": f'attachment; filename="{query.kind}.jsonl"', "cache-control": "no-store"}
        lines = training_lines(core, query.kind, narrowed(query, principal))
        return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)

    @routes.put("/{feedback_id}", summary="Note that somebody looked at it")
    async def review(feedback_id: str, body: Review, principal: TrustWrite) -> Response:
        event = changed(principal, f"feedback:{feedback_id[:64]}", "review", body.model_fields_set)
        events: list[Any] = []

        def write(connection: Any) -> bool:
            if not feedback_store.review(connection, feedback_id, body.review, body.note):
                return False
            events.append(event)
            return True

        if not await core.writer.write(write, events):
            raise StockyardError("not_found", f"There is no feedback {feedback_id[:64]!r}.")
        return Json({"status": "updated", "id": feedback_id})

    return routes
