"""What the name of a model on Bedrock says: who made it, and through which inference profile it is called."""

from __future__ import annotations

import re

_PROFILE = re.compile(r"^(?:us|us-gov|eu|apac|jp|au|ca|sa|global)\.")
_FAMILY = re.compile(r"(?:^|[./])(anthropic|amazon|meta|mistral|cohere|deepseek|openai|qwen|ai21|writer)\.")


def family(model: str) -> str:
    """The maker as it stands in the model's id (`anthropic`, `amazon`, `meta` …); empty when it does not say."""
    found = _FAMILY.search(model)
    if found is not None:
        return found[1]
    return "anthropic" if "claude" in model else ""


def with_profile(model: str, prefix: str) -> str:
    """The id with the inference profile's prefix (`us`, `eu`, `apac` …), unless it has one or is an ARN."""
    prefix = prefix.rstrip(".")
    if not prefix or model.startswith("arn:") or _PROFILE.match(model):
        return model
    return f"{prefix}.{model}"


def takes_top_k(model: str) -> str:
    """The model's own name for `top_k` in `additionalModelRequestFields`; empty: it has none."""
    return {"anthropic": "top_k", "mistral": "top_k", "qwen": "top_k", "cohere": "k"}.get(family(model), "")
