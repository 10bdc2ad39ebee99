"""OpenAI moderations: `POST /v1/moderations`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from instance.chute.answer import JSON
from instance.chute.dialects.openai_chat import check_depth, decode, take_model
from instance.chute.operation import Operation
from instance.chute.tokens import count_prompt_tokens
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.core.settings import LimitSettings

DEFAULT_MODEL = "omni-moderation-latest"
INPUTS_MAX = 2048


class Moderations(Operation):
    """Whether texts and images are harmful, by category."""

    name: ClassVar[str] = "moderation"
    kind: ClassVar[str] = "moderations"
    dialect: ClassVar[str] = "openai.moderations"
    path: ClassVar[bytes] = b"/moderations"

    def take(self, x: Exchange, limits: LimitSettings) -> None:
        req = x.req = decode(x.raw)
        check_depth(x.raw, req, limits.depth)
        if req.get("model") is None and not x.headers.get(b"x-stockyard-model"):
            x.model_requested = DEFAULT_MODEL
        else:
            x.model_requested = take_model(x, req)
        given = req.get("input")
        if isinstance(given, str):
            return
        if not isinstance(given, list) or not given or not all(isinstance(part, (str, dict)) for part in given):
            raise StockyardError("bad_request", "`input` is a text, or a list of texts or of parts.", param="input")
        if len(given) > INPUTS_MAX:
            raise StockyardError("bad_request", f"At most {INPUTS_MAX} inputs in one call.", param="input")

    def read(self, x: Exchange, raw: bytes) -> JSON:
        answer = super().read(x, raw)
        if not isinstance(answer.get("results"), list):
            raise ValueError("the answer has no results")
        return answer

    def no_target(self, x: Exchange, error: StockyardError) -> StockyardError:
        return StockyardError(
            "not_supported",
            f"No provider of this instance moderates with {x.model_requested!r}. Give it the key of one that does "
            "(OPENAI_API_KEY, MISTRAL_API_KEY), or name a model as provider/model.",
            param="model",
            retryable=False,
        )

    def measure(self, x: Exchange) -> None:
        usage = x.usage
        if not usage.source:
            usage.input = count_prompt_tokens(x.req)
            usage.source = "estimated"
