"""Paths of the OpenAI API that are not served here, and what to use instead."""

from __future__ import annotations

from instance.core.errors import StockyardError

INSTEAD = {
    "/v1/files": "send files inside the call: images, audio and documents as parts of a message",
    "/v1/uploads": "send files inside the call: images, audio and documents as parts of a message",
    "/v1/batches": "use /api/forge/batch, which runs many calls in the background on any provider",
    "/v1/fine_tuning": "train at the provider itself; the model that comes of it can be called here by its name",
    "/v1/assistants": "use /v1/responses, which keeps a conversation with `previous_response_id`",
    "/v1/threads": "use /v1/responses, which keeps a conversation with `previous_response_id`",
    "/v1/conversations": "use /v1/responses, which keeps a conversation with `previous_response_id`",
    "/v1/vector_stores": "use /v1/embeddings and /v1/rerank with a store of your own",
    "/v1/realtime": "use /v1/audio/transcriptions, /v1/chat/completions and /v1/audio/speech one after the other",
    "/v1/videos": "ask the provider itself; no other provider could take its place",
}


def not_served(path: str) -> StockyardError | None:
    """501 with the way round it; `None` for a path that no API has."""
    for prefix, way in INSTEAD.items():
        if path == prefix or path.startswith(prefix + "/"):
            return StockyardError("not_supported", f"{prefix} is not served here: {way}.", retryable=False)
    return None
