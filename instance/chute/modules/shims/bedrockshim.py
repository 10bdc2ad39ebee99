"""bedrockshim: calls to Amazon Bedrock through Converse, signed for AWS or with a Bedrock API key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

import orjson
from pydantic import Field, SecretStr

from instance.chute.answer import JSON, Answer
from instance.chute.attempt import MALFORMED, Attempt, Outbound
from instance.chute.aws_credentials import RoleCredentials
from instance.chute.dialects.bedrock.access import (
    REGION_PATTERN,
    authorized,
    credentials_in,
    in_region,
    is_region,
    region_of,
)
from instance.chute.dialects.bedrock.answer import read_answer
from instance.chute.dialects.bedrock.blocks import remote_urls
from instance.chute.dialects.bedrock.errors import NOT_ENABLED, code_of, exception_name, message_of, status_of
from instance.chute.dialects.bedrock.model_family import family, with_profile
from instance.chute.dialects.bedrock.request import write_request
from instance.chute.dialects.bedrock.stream_reader import ConverseReader
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.module import Module
from instance.chute.module_secrets import SecretText
from instance.chute.provider_errors import redact
from instance.chute.remote_media import RemoteMedia
from instance.chute.shim import Shim, ShimSettings, answer_head
from instance.chute.targets import Target
from instance.chute.upstream import UpstreamUrl
from instance.core.clock import Clock
from instance.core.errors import StockyardError
from instance.core.sigv4 import Credentials

if TYPE_CHECKING:
    from instance.chute.module import ModuleSettings
    from instance.chute.provider import Provider
    from instance.core.core import Core

ANSWER_TOOL = "bedrockshim.answer_tool"
MEDIA_MAX_BYTES = 20 << 20
"""Images and documents that are fetched for one call, all together."""
_NO_SECRET = SecretStr("")


class BedrockShim(Shim):
    """Translates a call into Converse and its answer back.

    Credentials are, in this order: the settings', the call's or provider's own key (a Bedrock API key, or
    `access:secret[:token]`), AWS environment variables, and the role's when that is switched on.
    """

    name: ClassVar[str] = "bedrockshim"
    summary: ClassVar[str] = (
        "Speaks Amazon Bedrock's Converse, signed for AWS: tools, images, documents, thinking, guardrails"
    )
    rejects: ClassVar[tuple[str, ...]] = ("no_valid_key", "no_provider")
    dialect: ClassVar[str] = "bedrock"
    wire_dialect: ClassVar[str] = "bedrock.converse"
    secret_settings: ClassVar[frozenset[str]] = frozenset(("access_key", "secret_key", "session_token", "api_key"))

    class Settings(ShimSettings):
        region: str = Field(
            default="us-east-1",
            pattern=f"^{REGION_PATTERN}$",
            description="AWS region, where neither the target nor the provider's address names one.",
        )
        access_key: SecretText = Field(default=_NO_SECRET, description="AWS access key id.")
        secret_key: SecretText = Field(default=_NO_SECRET, description="AWS secret access key.")
        session_token: SecretText = Field(default=_NO_SECRET, description="Token of temporary AWS credentials.")
        api_key: SecretText = Field(default=_NO_SECRET, description="Bedrock API key, in place of a signature.")
        use_instance_role: bool = Field(
            default=False, description="Use the role of the container or machine that this instance runs on."
        )
        profile_prefix: str = Field(
            default="",
            pattern=r"^[a-z-]{0,12}\.?$",
            description="Inference profile put before model ids: us, eu, apac, global …",
        )
        guardrail_id: str = Field(default="", max_length=2048, description="Guardrail that every call goes through.")
        guardrail_version: str = Field(default="", max_length=16, description="Its version; empty: DRAFT.")

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self._core: Core | None = None
        self._clock = Clock()
        self._environ: Mapping[str, str] = {}
        self._media: RemoteMedia | None = None
        self._role: RoleCredentials | None = None

    async def start(self, core: Core, previous: Module | None) -> None:
        if self.settings.use_instance_role and core.hosted is not None:
            raise StockyardError(
                "invalid_value",
                "A hosted instance has no role of its own; give bedrockshim an access key or a Bedrock API key.",
                param="config.use_instance_role",
            )
        self._core = core
        self._clock = core.clock
        self._environ = core.options.env
        self._media = RemoteMedia.of(core)
        if self.settings.use_instance_role:
            kept = previous._role if isinstance(previous, BedrockShim) else None
            self._role = kept or RoleCredentials(self._environ, core.clock)
        table = core.services.get("providers")
        if table is not None:
            own = self._targets if self._has_own_credentials() else None
            table.spread("bedrock", own, secrets=self._secrets())

    async def stop(self) -> None:
        table = self._core.services.get("providers") if self._core is not None else None
        if table is not None:
            table.end_spread("bedrock", self._targets)
        if self._media is not None:
            await self._media.close()

    def _targets(self, provider: Provider, model: str) -> list[Target]:
        """A provider of this dialect needs no key of its own while the shim has credentials."""
        return [Target(provider, model)]

    def _has_own_credentials(self) -> bool:
        own = self.settings
        given = own.api_key.get_secret_value() or own.access_key.get_secret_value()
        return bool(given or own.use_instance_role or self._environ.get("AWS_ACCESS_KEY_ID"))

    def _secrets(self) -> frozenset[str]:
        """What no answer may show."""
        own = self.settings
        given = [own.secret_key, own.session_token, own.api_key]
        found = {secret.get_secret_value() for secret in given}
        found |= {self._environ.get(name, "") for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")}
        return frozenset(found - {""})

    async def call(self, x: Exchange, attempt: Attempt) -> Answer:
        target = attempt.target
        url = self._url(target)
        credentials = await self._credentials(x, target)
        fetched = None
        remote = list(remote_urls(x.req.get("messages") or []))
        if remote and self._media is not None:
            fetched = await self._media.fetch_all(remote, MEDIA_MAX_BYTES)
        own = self.settings
        asked = x.headers.get(b"anthropic-beta", b"").decode("latin-1").split(",")
        written = write_request(
            x.req,
            with_profile(target.model, own.profile_prefix),
            stream=x.stream,
            fetched=fetched,
            guardrail=(own.guardrail_id, own.guardrail_version),
            beta=[name.strip() for name in asked if name.strip()],
        )
        self.dropped(x, written.dropped)
        x.state[ANSWER_TOOL] = written.answer_tool
        body = orjson.dumps(written.body)
        at = datetime.fromtimestamp(self._clock.wall_ns() / 1e9, UTC)
        headers = authorized(credentials, url, written.path, body, self._region(target, url), at)
        response = await attempt.send(Outbound(written.path.encode(), body, written.body, headers), url=url)
        if response.status != 200:
            raise self.failed(x, await attempt.refused(response))
        if x.stream:
            return await attempt.streamed(response, self.reader(x, target, response.headers))
        raw = await attempt.read(response)
        try:
            obj = self.read(x, target, response.headers, raw)
        except MALFORMED as error:
            raise attempt.broken(error, response.headers, raw) from error
        return attempt.whole(obj, None, response.headers, native="")

    def _url(self, target: Target) -> UpstreamUrl:
        """Where the call goes: Amazon's own address in the target's region, any other as it is."""
        url = target.url or self.base_url or target.provider.url
        if url is None:
            raise StockyardError("no_provider", f"The provider {target.provider.name!r} has no usable base URL.")
        return url if target.url is not None else in_region(url, self._region(target, url))

    def _region(self, target: Target, url: UpstreamUrl) -> str:
        """The target's region, or one that the settings name, else the address's. A target's own address is never changed, so
        what that names comes first."""
        named = region_of(url)
        if is_region(target.region) and not (target.url is not None and named):
            return target.region
        if not named or (target.url is None and "region" in self.settings.model_fields_set):
            return self.settings.region
        return named

    async def _credentials(self, x: Exchange, target: Target) -> Credentials | str:
        """What the call is signed with, or the API key that it carries. Raises `no_valid_key`."""
        own = self.settings
        key = own.api_key.get_secret_value()
        if x.provider_key is not None and x.provider_key.secret:
            key = x.provider_key.secret
        elif own.access_key.get_secret_value() and not key:
            return Credentials(
                own.access_key.get_secret_value(),
                own.secret_key.get_secret_value(),
                own.session_token.get_secret_value(),
            )
        spec = target.provider.spec
        key = key or spec.api_key
        if key:
            return credentials_in(key)
        for read in (spec.environ, lambda name: self._environ.get(name, "")):
            access, secret = read("AWS_ACCESS_KEY_ID"), read("AWS_SECRET_ACCESS_KEY")
            if access and secret:
                return Credentials(access, secret, read("AWS_SESSION_TOKEN"))
        if self._role is not None:
            return await self._role.get()
        raise StockyardError(
            "no_valid_key",
            f"There are no AWS credentials for {target.provider.name!r}: give bedrockshim an access key or a Bedrock API "
            "key, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or switch use_instance_role on.",
            retryable=False,
        )

    def read(self, x: Exchange, target: Target, headers: dict[bytes, bytes], raw: bytes) -> JSON:
        created, answer_id = answer_head(x)
        return read_answer(
            orjson.loads(raw),
            model=target.model,
            created=created,
            answer_id=answer_id,
            thinker=_thinker(target.model),
            answer_tool=x.state.get(ANSWER_TOOL, ""),
            reasoning=self.settings.reasoning == "show",
        )

    def reader(self, x: Exchange, target: Target, headers: dict[bytes, bytes]) -> ConverseReader:
        created, answer_id = answer_head(x)
        return ConverseReader(
            target.model,
            created,
            answer_id,
            thinker=_thinker(target.model),
            answer_tool=x.state.get(ANSWER_TOOL, ""),
            reasoning=self.settings.reasoning == "show",
        )

    def failed(self, x: Exchange, failure: CallFailed) -> CallFailed | StockyardError:
        name = exception_name(failure.headers, failure.body)
        if not name:
            return failure
        said = redact(message_of(failure.body)) or name
        code = code_of(name)
        if code == "forbidden":
            model = failure.target.model if failure.target is not None else "the model"
            said = f"Bedrock denies {model}: {said} ({NOT_ENABLED})."
        return CallFailed(
            failure.kind,
            failure.target,
            status=status_of(name, failure.status),
            headers=failure.headers,
            body=failure.body,
            code=code,
            message=said if code else "",
        )


def _thinker(model: str) -> str:
    """Whose signatures the thinking carries: Claude's hold at Anthropic itself too."""
    return "anthropic" if family(model) == "anthropic" else "bedrock"
