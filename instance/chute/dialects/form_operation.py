"""What operations with a multipart body share: the form is taken apart once, and goes out as it came where it can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from instance.chute.answer import JSON
from instance.chute.dialects.multipart import Form, is_multipart, parse_form
from instance.chute.dialects.openai_chat import check_depth, decode, take_model
from instance.chute.operation import Operation
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.core.settings import LimitSettings

FORM = "form"
"""Where `x.state` keeps the parsed form of a multipart call."""


class FormOperation(Operation):
    """A call whose body is a form with a file in it. `x.req` holds the text fields, and of files their name, type and size.

    `takes_json` says that the same fields may come as JSON too (images by address).
    """

    multipart: ClassVar[bool] = True
    files: ClassVar[tuple[str, ...]] = ("file",)
    """Files of which one has to be there."""
    takes_json: ClassVar[bool] = False

    def take(self, x: Exchange, limits: LimitSettings) -> None:
        content_type = x.headers.get(b"content-type", b"")
        if self.takes_json and not is_multipart(content_type):
            req = decode(x.raw)
            check_depth(x.raw, req, limits.depth)
        else:
            form = x.state[FORM] = parse_form(x.raw, content_type)
            req = form.fields()
            if not any(form.file(name) for name in self.files):
                raise StockyardError(
                    "bad_request", f"Send the file in the part `{self.files[0]}`.", param=self.files[0]
                )
        x.req = req
        x.model_requested = take_model(x, req)
        x.stream = _true(req.get("stream"))
        x.usage_asked = True
        self.check(x)

    def check(self, x: Exchange) -> None:
        """Refuse what no provider could take. Raises `StockyardError` 400."""

    def native_body(self, x: Exchange, model: str) -> tuple[bytes, JSON] | None:
        form: Form | None = x.state.get(FORM)
        if form is None:
            return super().native_body(x, model)
        req = x.req
        if not x.changed and req.get("model") == model:
            return x.raw, req
        sent = {**req, "model": model}
        return form.written(_changed(form, sent)), sent

    def sent_type(self, x: Exchange) -> bytes:
        return x.headers.get(b"content-type", b"") if FORM in x.state else b"application/json"

    def kept_request(self, x: Exchange) -> bytes:
        return orjson.dumps(x.req) if FORM in x.state else x.raw


def _changed(form: Form, sent: JSON) -> dict[str, str]:
    """The text fields of `sent` that are not as they came."""
    came = form.fields()
    return {name: _text(value) for name, value in sent.items() if came.get(name) != value and _is_plain(value)}


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _true(value: Any) -> bool:
    return value is True or value == "true"
