"""Rerank in the shape that Cohere and Jina share: `POST /v1/rerank`.

Voyage's differs a little: `top_k` for `top_n`, documents are texts only, and the answer's rows lie under `data`, as they do at
Fireworks. A provider that speaks `voyage.rerank` too is sent that form; either answer is understood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from instance.chute.answer import JSON, Answer
from instance.chute.dialects.openai_chat import check_depth, decode, take_model
from instance.chute.operation import Operation
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.core.settings import LimitSettings

DOCUMENTS_MAX = 1000
DOCUMENTS_PER_UNIT = 100
"""Providers that charge by the search count one for each so many documents."""
LOCAL_MODEL = "stockyard-local"
VOYAGE = "voyage.rerank"


class Rerank(Operation):
    """Documents in the order in which they answer a query."""

    name: ClassVar[str] = "rerank"
    kind: ClassVar[str] = "other"
    dialect: ClassVar[str] = "cohere.rerank"
    path: ClassVar[bytes] = b"/rerank"

    def take(self, x: Exchange, limits: LimitSettings) -> None:
        raw = x.raw
        req = x.req = decode(raw)
        if raw.count(b"[") + raw.count(b"{") > limits.depth:
            check_depth(raw, req, limits.depth)
        x.model_requested = take_model(x, req)
        query = req.get("query")
        if not isinstance(query, str) or not query:
            raise StockyardError("bad_request", "`query` is the text to compare with.", param="query")
        documents = req.get("documents")
        if not isinstance(documents, list) or not documents:
            raise StockyardError("bad_request", "`documents` is a list of texts.", param="documents")
        if len(documents) > DOCUMENTS_MAX:
            raise StockyardError("bad_request", f"At most {DOCUMENTS_MAX} documents in one call.", param="documents")
        for index, document in enumerate(documents):
            if not isinstance(document, str) and not (isinstance(document, dict) and document):
                raise StockyardError(
                    "bad_request", "A document is a text or an object with `text`.", param=f"documents[{index}]"
                )
        top = req.get("top_n")
        if top is not None and (type(top) is not int or top < 1):
            raise StockyardError("bad_request", "`top_n` is a whole number from 1.", param="top_n")

    def native_body(self, x: Exchange, model: str) -> tuple[bytes, JSON] | None:
        if VOYAGE not in x.targets[0].provider.speaks:
            return super().native_body(x, model)
        sent = {**x.req, "model": model, "documents": [_text(document) for document in x.req["documents"]]}
        if "top_n" in sent:
            sent["top_k"] = sent.pop("top_n")
        return orjson.dumps(sent), sent

    def read(self, x: Exchange, raw: bytes) -> JSON:
        answer = super().read(x, raw)
        rows = answer.get("data")
        if "results" not in answer and isinstance(rows, list):
            answer["results"] = [_row(row) for row in rows]
            del answer["data"]
            answer.pop("object", None)
        if not isinstance(answer.get("results"), list):
            raise ValueError("the answer has no results")
        units = _search_units(answer)
        return answer if units is None else {**answer, "usage": {"search_units": units, **(answer.get("usage") or {})}}

    def arrived(self, x: Exchange, answer: Answer, content_type: bytes) -> None:
        # An answer in another form than the caller's is written anew.
        answer.changed = answer.body is not None and b'"results"' not in answer.body

    def no_target(self, x: Exchange, error: StockyardError) -> StockyardError:
        if x.model_requested != LOCAL_MODEL:
            return error
        return StockyardError(
            "not_supported",
            f"The model {LOCAL_MODEL!r} is not part of this version; name one of a provider: cohere/…, jina/…, voyage/….",
            param="model",
            retryable=False,
        )

    def measure(self, x: Exchange) -> None:
        usage = x.usage
        apart = usage.counted()
        if apart.requests is None:
            apart.requests = -(-len(x.req["documents"]) // DOCUMENTS_PER_UNIT)
            if not usage.source:
                usage.source = "estimated"


def _text(document: Any) -> str:
    text = document if isinstance(document, str) else document.get("text")
    return text if isinstance(text, str) else orjson.dumps(document).decode()


def _row(row: JSON) -> JSON:
    document = row.get("document")
    return {**row, "document": {"text": document}} if isinstance(document, str) else row


def _search_units(answer: JSON) -> Any:
    """What Cohere says it charges for."""
    meta = answer.get("meta")
    billed = meta.get("billed_units") if isinstance(meta, dict) else None
    return billed.get("search_units") if isinstance(billed, dict) else None
