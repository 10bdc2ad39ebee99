"""Fields of OpenAI's chat request that providers with fewer of them refuse or ignore."""

from __future__ import annotations

OPENAI_ONLY = (
    "store",
    "metadata",
    "modalities",
    "audio",
    "prediction",
    "verbosity",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "web_search_options",
    "functions",
    "function_call",
)
"""What hardly any other provider has. A shim drops of these what its provider has not."""
