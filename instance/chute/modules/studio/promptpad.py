"""promptpad: stored prompts, named by a call and filled in with its values."""

from __future__ import annotations

from collections.abc import Coroutine
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import orjson
from pydantic import Field

from instance.chute.answer import JSON, Answer
from instance.chute.call_identity import key_id, session_of, user_of
from instance.chute.caller import model_allowed
from instance.chute.dialects.openai_chat import check_chat
from instance.chute.exchange import Exchange
from instance.chute.module import Module, ModuleSettings
from instance.core.errors import StockyardError
from instance.core.principals import CLIENT_TEAM

if TYPE_CHECKING:
    from instance.chute.router import Router
    from instance.core.core import Core
    from instance.tack_room.prompt import Prompt
    from instance.tack_room.template import Template
    from instance.tack_room.template_table import TemplateTable

HEADER, VARS_HEADER = b"x-stockyard-template", b"x-stockyard-template-vars"
FIELD, VARS_FIELD = "_template", "_template_vars"
MODEL_PREFIX = "prompt:"
VARS_HEADER_MAX_BYTES = 8 << 10
MAX_TOKENS = frozenset(("max_tokens", "max_completion_tokens"))
INSTRUCTIONS = ("system", "developer")


class Named(NamedTuple):
    """What a call asks for: the reference, where it stood, and the values."""

    text: str
    param: str
    values: JSON


class PromptPad(Module):
    """Puts a stored prompt before the caller's own messages: its current version, one by number, or the one that a label serves.

    A call names it by `X-Stockyard-Template`, by `_template` in its body, or by the model `prompt:slug@label`, and gives its
    variables by `X-Stockyard-Template-Vars` or `_template_vars`. The prompt's model and parameters hold where the call sets
    none, or always where the prompt locks them.
    """

    name: ClassVar[str] = "promptpad"
    category: ClassVar[str] = "studio"
    group: ClassVar[int] = 4
    summary: ClassVar[str] = "Stored prompts with versions, labels and variables"
    rejects: ClassVar[tuple[str, ...]] = (
        "prompt_not_found",
        "missing_variable",
        "invalid_variable",
        "prompt_required",
        "model_required",
        "bad_request",
    )
    default_enabled: ClassVar[bool] = True
    tick_s: ClassVar[float] = 60.0
    fills_template: bool = True

    class Settings(ModuleSettings):
        allow_inline: bool = Field(
            default=True, description="Let calls bring a prompt of their own; false: every call must name a stored one."
        )
        default_label: str = Field(
            default="production",
            max_length=63,
            pattern=r"^[a-z][a-z0-9_-]*$",
            description="Label of a reference that names none; a prompt without it answers with its newest version.",
        )
        max_render_chars: int = Field(
            default=200_000, ge=1, le=10_000_000, description="Longest prompt once it is filled in, in characters."
        )
        require: list[str] = Field(
            default=[],
            max_length=1000,
            description="Globs of key names or ids that may only use stored prompts, without instructions of their own.",
        )

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._free = settings.allow_inline and not settings.require
        self._core: Core
        self._router: Router
        self._templates: TemplateTable

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        self._router = core.services["router"]
        self._templates = core.services["templates"]

    async def stop(self) -> None:
        await self._templates.flush()

    async def tick(self) -> None:
        await self._templates.flush()

    def prepare(self, x: Exchange) -> Coroutine[Any, Any, Answer | None] | None:
        if (
            self._free
            and HEADER not in x.headers
            and FIELD not in (x.req if x.native is None else x.native)
            and not x.model_requested.startswith(MODEL_PREFIX)
        ):
            return None
        named = _named(x)
        stored_only = not self._free and self._stored_only(x)
        if named is None:
            if stored_only:
                raise StockyardError(
                    "prompt_required", "This key may only use stored prompts: name one by `_template`.", param=FIELD
                )
            return None
        if stored_only and any(message.get("role") in INSTRUCTIONS for message in x.req["messages"]):
            raise StockyardError(
                "prompt_required", "This key may not send instructions of its own beside a prompt's.", param="messages"
            )
        return self._put_in(x, named)

    async def _put_in(self, x: Exchange, named: Named) -> Answer | None:
        template, prompt, label, variant = await self._find(x, named)
        messages = prompt.render(named.values, self.settings.max_render_chars)
        self._fill(x, prompt, messages)
        self._send_to_model(x, template, prompt)
        detail = {"name": template.slug, "version": prompt.version, "label": label or None, "variant": variant or None}
        x.note("prompt", detail)
        x.tags = {**x.tags, "template": template.slug, "template_version": str(prompt.version)}
        x.measure(template=f"{template.slug}@{prompt.version}")
        x.state["prompt"] = (template.slug, prompt.version, label)
        if not x.dry:
            self._templates.count(template, prompt.version)
        return None

    def _stored_only(self, x: Exchange) -> bool:
        if not self.settings.allow_inline:
            return True
        names = (key_id(x), x.principal.name if x.principal is not None else "")
        return any(fnmatchcase(name, glob) for glob in self.settings.require for name in names if name)

    async def _find(self, x: Exchange, named: Named) -> tuple[Template, Prompt, str, str]:
        """The template, the version that the call gets, and the label and variant that led to it. Raises `prompt_not_found`."""
        from instance.tack_room.template import reference

        await self._templates.load()
        asked = reference(named.text)
        template = self._templates.find(asked.slug) if asked is not None else None
        if asked is None or template is None or template.status == "archived" or not _may_use(x, template):
            raise _not_found(f"There is no prompt {named.text[:130]!r}.", named.param)
        label, variant_name, version = asked.label, "", asked.version
        if not version:
            variant = template.choose(label or self.settings.default_label, _unit(x))
            if variant is None and not label:
                variant = template.choose("latest", "")
            if variant is None:
                names = ", ".join(sorted([*template.labels, "latest"]))
                raise _not_found(f"{template.slug!r} has no label {label!r}; it has: {names}.", named.param)
            if not label and self.settings.default_label in template.labels:
                label = self.settings.default_label
            version = variant.version
            if len(template.labels.get(label, ())) > 1:
                variant_name = variant.name or str(version)
        prompt = await self._templates.prompt(template, version)
        if prompt is None:
            raise _not_found(f"{template.slug!r} has no version {version}.", named.param)
        return template, prompt, label, variant_name

    def _fill(self, x: Exchange, prompt: Prompt, messages: list[JSON]) -> None:
        """The prompt's messages before the call's own, and its parameters. Raises `bad_request` for what no provider could take."""
        if x.native is not None:
            x.native = _without_own(x.native)
        req = x.req = _without_own(x.req)
        if isinstance(req.get("anthropic"), dict):
            req["anthropic"] = _without_own(req["anthropic"])
        req["messages"] = [*messages, *req["messages"]]
        params = dict(prompt.params)
        if prompt.response_schema is not None:
            params["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": prompt.response_schema},
            }
        for name, value in params.items():
            same = MAX_TOKENS if name in MAX_TOKENS else frozenset((name,))
            if name in prompt.locked:
                for each in same:
                    req.pop(each, None)
                req[name] = value
            elif same.isdisjoint(req):
                req[name] = value
        x.change()
        check_chat(req, self._core.settings.limits)

    def _send_to_model(self, x: Exchange, template: Template, prompt: Prompt) -> None:
        """Send the call to the prompt's model where the call names none, or may not name one."""
        asked = x.model_requested
        own = "" if asked.startswith(MODEL_PREFIX) else asked
        if own and "model" not in prompt.locked:
            return
        model = prompt.model or own
        if not model:
            raise StockyardError(
                "model_required", f"The prompt {template.slug!r} names no model; name one in the call.", param="model"
            )
        principal = x.principal
        if principal is not None and principal.models:
            stored = f"{MODEL_PREFIX}{template.slug}"
            if not any(fnmatchcase(name, glob) for name in (stored, asked) if name for glob in principal.models):
                model_allowed(principal, model)
        x.model_requested = x.req["model"] = model
        try:
            self._router.retarget(x, model)
        except StockyardError as error:
            # It may be an alias, or another module may still choose a model that somebody serves.
            x.targets = []
            x.state["no_target"] = error


def _named(x: Exchange) -> Named | None:
    """The stored prompt that the call names; `None` for most calls."""
    headers = x.headers
    body = x.req if x.native is None else x.native
    in_header = headers.get(HEADER)
    if in_header is not None:
        text, param = in_header.decode("latin-1"), "X-Stockyard-Template"
    elif FIELD in body:
        text, param = body[FIELD], FIELD
        if not isinstance(text, str):
            raise StockyardError("bad_request", f"`{FIELD}` is a text like slug@label.", param=FIELD)
    elif x.model_requested.startswith(MODEL_PREFIX):
        text, param = x.model_requested[len(MODEL_PREFIX) :], "model"
    else:
        return None
    return Named(text, param, _values(headers, body))


def _values(headers: dict[bytes, bytes], body: JSON) -> JSON:
    raw = headers.get(VARS_HEADER)
    values: Any = body.get(VARS_FIELD)
    param = VARS_FIELD
    if raw is not None:
        param = "X-Stockyard-Template-Vars"
        if len(raw) > VARS_HEADER_MAX_BYTES:
            raise StockyardError(
                "bad_request", f"At most {VARS_HEADER_MAX_BYTES} bytes; send more as `{VARS_FIELD}`.", param=param
            )
        try:
            values = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise StockyardError("bad_request", f"The variables are no valid JSON: {error}.", param=param) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise StockyardError("bad_request", "The variables are a JSON object.", param=param)
    return values


def _without_own(body: JSON) -> JSON:
    """The body without what is said to this module in it, which no provider knows."""
    return {name: value for name, value in body.items() if name not in (FIELD, VARS_FIELD)}


def _may_use(x: Exchange, template: Template) -> bool:
    """Whether it is everybody's, or tagged for the call's client (`client:NAME`) if for any."""
    owners = [tag for tag in template.tags if tag.startswith(CLIENT_TEAM)]
    return not owners or (bool(x.client) and CLIENT_TEAM + x.client in owners)


def _unit(x: Exchange) -> str:
    """Who gets always the same variant: a session, else a user, else a key."""
    if session := session_of(x):
        return f"session:{session}"
    if user := user_of(x):
        return f"user:{user}"
    return f"key:{key_id(x)}"


def _not_found(message: str, param: str) -> StockyardError:
    return StockyardError("prompt_not_found", message, param=param, retryable=False)
