"""A prediction: where it is asked for, how far it is, and what it says in canonical form."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from instance.chute.answer import JSON
from instance.chute.dialects.replicate.chat import text_of
from instance.chute.upstream import UpstreamUrl

ENDED = frozenset(("succeeded", "failed", "canceled", "aborted"))
_VERSION = re.compile(r"[0-9a-f]{40,64}")


class ModelName(NamedTuple):
    """`owner/name`, `owner/name:version`, a bare version, or `deployments/owner/name`; what is not named is empty."""

    owner: str = ""
    name: str = ""
    version: str = ""
    deployment: bool = False

    @classmethod
    def read(cls, model: str) -> ModelName:
        """Raises `ValueError` for what is none of these."""
        if _VERSION.fullmatch(model):
            return cls(version=model)
        path, _, version = model.partition(":")
        parts = path.split("/")
        deployment = len(parts) == 3 and parts[0] == "deployments"
        if deployment:
            parts = parts[1:]
        if len(parts) != 2 or not all(parts):
            raise ValueError("a model at Replicate is named owner/name or owner/name:version")
        return cls(parts[0], parts[1], version, deployment)

    @property
    def path(self) -> str:
        return f"{quote(self.owner, safe='')}/{quote(self.name, safe='')}"

    def create(self, latest: str = "") -> tuple[bytes, JSON]:
        """Where a prediction is created, and what the body says beside the input. `latest`: run this version of the model."""
        version = self.version or latest
        if self.deployment:
            return f"/deployments/{self.path}/predictions".encode(), {}
        if version:
            return b"/predictions", {"version": version}
        return f"/models/{self.path}/predictions".encode(), {}

    def described(self) -> bytes:
        """Where the model (or its version) with its inputs is described; empty when that cannot be known."""
        if self.deployment or not self.name:
            return b""
        version = f"/versions/{quote(self.version, safe='')}" if self.version else ""
        return f"/models/{self.path}{version}".encode()


def followed(url: Any, base: UpstreamUrl, hosts: Iterable[str]) -> tuple[UpstreamUrl, bytes] | None:
    """Origin and path of an address that a prediction names, when calls with our key may go there: at the base URL's own
    origin, or by https at one of the hosts (globs). `None` for any other."""
    if not isinstance(url, str):
        return None
    try:
        parts = urlsplit(url)
        origin = UpstreamUrl.parse(f"{parts.scheme}://{parts.netloc}")
        path = (parts.path + (f"?{parts.query}" if parts.query else "")).encode("ascii")
    except ValueError:
        return None
    trusted = origin.scheme == "https" and origin.port == 443 and any(fnmatchcase(origin.host, glob) for glob in hosts)
    if origin.origin != base.origin and not trusted:
        return None
    return origin, path or b"/"


def why_failed(prediction: JSON) -> str:
    """The error of a failed prediction: what it says itself, else the last line of its logs."""
    error = prediction.get("error")
    if error:
        return str(error)
    lines = [line.strip() for line in str(prediction.get("logs") or "").splitlines() if line.strip()]
    return lines[-1] if lines else "it does not say why"


def usage(prediction: JSON) -> JSON | None:
    """The counts of tokens among the metrics, where the model gives them."""
    metrics = prediction.get("metrics")
    if not isinstance(metrics, dict):
        return None
    for read, written in (("input_token_count", "output_token_count"), ("token_input_count", "token_output_count")):
        sent, got = metrics.get(read), metrics.get(written)
        if isinstance(sent, (int, float)) and isinstance(got, (int, float)):
            prompt, completion = int(sent), int(got)
            return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return None


def own_fields(prediction: JSON) -> JSON:
    """What only Replicate says, for the top level's `replicate`."""
    return {name: prediction[name] for name in ("id", "version", "metrics") if prediction.get(name)}


def read_chat(prediction: JSON, model: str, created: int, answer_id: str) -> JSON:
    """A prediction that succeeded as a chat completion."""
    message = {"role": "assistant", "content": text_of(prediction.get("output"))}
    answer: JSON = {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "replicate": own_fields(prediction),
    }
    counts = usage(prediction)
    if counts is not None:
        answer["usage"] = counts
    return answer
