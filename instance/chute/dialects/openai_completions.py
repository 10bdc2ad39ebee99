"""`POST /v1/completions`, the legacy text completion: as it is for a provider that has it, else translated to chat.

As chat it is one user message. What chat cannot do is refused with 400 and its `param`: `suffix`, `echo`, prompts of token
ids, several prompts in one request, and `best_of` greater than `n`. Where `max_tokens` is absent the model's own limit
holds, not the 16 tokens of the models that this endpoint was made for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from instance.chute.answer import JSON, Answer
from instance.chute.dialects.openai_chat import take_native
from instance.chute.dialects.openai_completions_stream import CompletionEncoder, CompletionReader
from instance.chute.dialects.openai_completions_text import (
    completion_choice,
    completion_id,
    message_of,
    with_texts,
)
from instance.chute.operation import Operation
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.core.settings import LimitSettings

LOGPROBS_MAX = 20
"""Most that chat gives for a token; the legacy endpoint itself gives five."""
_OWN = frozenset(("prompt", "suffix", "echo", "best_of", "logprobs"))
_STATE = "completions"


class Completion(Operation):
    """`POST /v1/completions`."""

    name: ClassVar[str] = "completion"
    kind: ClassVar[str] = "completions"
    dialect: ClassVar[str] = "openai.completions"
    path: ClassVar[bytes] = b"/completions"
    translated: ClassVar[bool] = True
    ends_native: ClassVar[bool] = True

    def take(self, x: Exchange, limits: LimitSettings) -> None:
        native = take_native(x, limits)
        _check(native, limits)
        x.stream = bool(native.get("stream"))
        options = native.get("stream_options")
        x.usage_asked = bool(options and options.get("include_usage"))
        x.req = chat_request(native)
        x.only_native = untranslatable(native) is not None

    def check_translated(self, x: Exchange) -> None:
        native = x.native or {}
        reason = untranslatable(native)
        if reason is not None:
            param, what = reason
            error = StockyardError(
                "not_supported",
                f"The provider of this model has no /v1/completions, so it cannot serve {what}.",
                param=param,
                retryable=False,
            )
            error.status = 400
            raise error

    def native_body(self, x: Exchange, model: str) -> tuple[bytes, JSON] | None:
        native = x.native or {}
        if x.targets[0].provider.is_mock:
            return None  # the built-in model answers chat
        ask_usage = x.stream and not x.usage_asked and x.targets[0].provider.stream_usage
        named = b"x-stockyard-model" in x.headers
        if not x.changed and not ask_usage and not named and native.get("model") == model:
            return x.raw, native
        sent = {**native, "model": model}
        if not x.stream:
            for name in ("stream", "stream_options"):
                sent.pop(name, None)  # a module asks for the answer whole
        if x.changed:
            changed = _changed(native, x.req)
            if changed is None:
                return None
            sent.update(changed)
        if ask_usage:
            sent["stream_options"] = {**(native.get("stream_options") or {}), "include_usage": True}
        return orjson.dumps(sent), sent

    def read(self, x: Exchange, raw: bytes) -> JSON:
        answer = super().read(x, raw)
        choices = answer.get("choices")
        if not isinstance(choices, list):
            raise ValueError("the answer has no choices")
        made = {name: value for name, value in answer.items() if name not in ("object", "choices")}
        return {**made, "object": "chat.completion", "choices": [_chat_choice(choice) for choice in choices]}

    def reader(self, x: Exchange) -> CompletionReader:
        return CompletionReader(usage_asked=x.usage_asked)

    def whole(self, x: Exchange, answer: Answer) -> bytes:
        obj = answer.obj or {}
        made: JSON = {
            "id": completion_id(obj.get("id")),
            "object": "text_completion",
            "created": obj.get("created"),
            "model": obj.get("model"),
            "choices": [completion_choice(choice) for choice in obj.get("choices") or ()],
        }
        for name in ("usage", "system_fingerprint"):
            if obj.get(name) is not None:
                made[name] = obj[name]
        return orjson.dumps(made)

    def rewritten(self, x: Exchange, answer: Answer) -> bytes:
        return orjson.dumps(with_texts(orjson.loads(answer.body or b"{}"), answer.obj or {}))

    def encoder(self, x: Exchange) -> CompletionEncoder:
        return CompletionEncoder(self, usage_asked=x.usage_asked)


def chat_request(native: JSON) -> JSON:
    """The chat request that says the same, as far as chat can: a user message for each prompt in words."""
    req: JSON = {
        "model": native.get("model"),
        "messages": [message_of(prompt) for prompt in _prompts(native["prompt"])],
    }
    logprobs = native.get("logprobs")
    if logprobs is not None:
        req["logprobs"] = True
        if logprobs:
            req["top_logprobs"] = logprobs
    for name, value in native.items():
        if name not in _OWN and name not in req and value is not None:
            req[name] = value
    prompts = prompt_count(native["prompt"])
    if prompts > 1:
        req["n"] = prompts * (native.get("n") or 1)  # as many choices come, and finish one by one
    return req


def prompt_count(prompt: Any) -> int:
    """How many prompts there are; a list of token ids is one."""
    return len(prompt) if isinstance(prompt, list) and not isinstance(prompt[0], int) else 1


def untranslatable(native: JSON) -> tuple[str, str] | None:
    """The first thing asked that chat cannot do, as (param, what)."""
    prompt = native["prompt"]
    if isinstance(prompt, list):
        if any(not isinstance(one, str) for one in prompt):
            return "prompt", "a prompt of token ids"
        if len(prompt) != 1:
            return "prompt", "several prompts in one request; send one request for each"
    if native.get("suffix"):
        return "suffix", "`suffix`"
    if native.get("echo"):
        return "echo", "`echo`"
    best_of = native.get("best_of")
    if best_of is not None and best_of != (native.get("n") or 1):
        return "best_of", "`best_of` other than `n`"
    return None


def _prompts(prompt: Any) -> list[str]:
    """The prompts that are words; a prompt of token ids is an empty text to the modules."""
    if isinstance(prompt, str):
        return [prompt]
    texts = [one for one in prompt if isinstance(one, str)]
    return texts or [""]


def _changed(native: JSON, req: JSON) -> JSON | None:
    """The fields of `native` that a module changed in its chat form; `None` when it cannot be said there."""
    before = chat_request(native)
    made: JSON = {}
    for name in before.keys() | req.keys():
        old, new = before.get(name), req.get(name)
        if old == new or name in ("model", "stream", "stream_options", "top_logprobs"):
            continue
        if name != "messages":
            if name in ("max_completion_tokens", "max_tokens"):
                made["max_tokens"] = req.get("max_completion_tokens") or req.get("max_tokens")
                continue
            if name not in before or (name == "n" and prompt_count(native["prompt"]) > 1):
                return None
            made[name] = new
            continue
        new = new or []
        texts = [message.get("content") for message in new]
        if len(texts) != len(before["messages"]) or not all(isinstance(text, str) for text in texts):
            return None
        if any(message.get("role") != "user" for message in new):
            return None
        prompt = native["prompt"]
        if isinstance(prompt, str):
            made["prompt"] = texts[0]
        elif all(isinstance(one, str) for one in prompt):
            made["prompt"] = texts
        else:
            return None
    return made


def _chat_choice(choice: JSON) -> JSON:
    message = {"role": "assistant", "content": choice["text"]}
    return {
        "index": choice.get("index", 0),
        "message": message,
        "logprobs": None,
        "finish_reason": choice.get("finish_reason"),
    }


def _check(native: JSON, limits: LimitSettings) -> None:
    """Refuse what no provider could take, with the `param`."""
    prompt = native.get("prompt")
    if not isinstance(prompt, (str, list)) or (isinstance(prompt, list) and not prompt):
        raise _bad("prompt", "`prompt` is a string, a list of strings, or token ids.")
    if isinstance(prompt, list):
        kinds = {type(one) for one in prompt}
        if kinds not in ({str}, {int}, {list}):
            raise _bad("prompt", "`prompt` is a string, a list of strings, or token ids.")
        if kinds != {int} and len(prompt) > limits.messages:
            raise _bad("prompt", f"At most {limits.messages} prompts.")
    for name in ("stream", "echo"):
        if native.get(name) is not None and not isinstance(native[name], bool):
            raise _bad(name, f"`{name}` is true or false.")
    for name in ("n", "best_of"):
        count = native.get(name)
        if count is not None and (type(count) is not int or not 1 <= count <= 128):
            raise _bad(name, f"`{name}` is an integer from 1 to 128.")
    logprobs = native.get("logprobs")
    if logprobs is not None and (type(logprobs) is not int or not 0 <= logprobs <= LOGPROBS_MAX):
        raise _bad("logprobs", f"`logprobs` is an integer from 0 to {LOGPROBS_MAX}.")
    suffix = native.get("suffix")
    if suffix is not None and not isinstance(suffix, str):
        raise _bad("suffix", "`suffix` is a string.")
    options = native.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise _bad("stream_options", "`stream_options` is an object.")


def _bad(param: str, message: str) -> StockyardError:
    return StockyardError("bad_request", message, param=param)
