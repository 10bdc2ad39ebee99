"""Every path of `/v1` that makes a call. Chat's is here from the start; the others are loaded by their first call."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from instance.chute.dialects.openai_chat import ChatCompletion
from instance.chute.operation import Operation

CHAT = ChatCompletion()

PATHS: dict[str, str] = {
    "/v1/chat/completions": "openai_chat:ChatCompletion",
    "/v1/completions": "openai_completions:Completion",
    "/v1/responses": "openai_responses.operation:Responses",
    "/v1/messages": "anthropic.operation:Messages",
    "/v1/embeddings": "openai_embeddings:Embeddings",
    "/v1/images/generations": "openai_images:ImageGeneration",
    "/v1/images/edits": "openai_images:ImageEdit",
    "/v1/images/variations": "openai_images:ImageVariation",
    "/v1/audio/speech": "openai_audio:Speech",
    "/v1/audio/transcriptions": "openai_audio:Transcription",
    "/v1/audio/translations": "openai_audio:Translation",
    "/v1/moderations": "openai_moderations:Moderations",
    "/v1/rerank": "rerank:Rerank",
}
"""Path -> where its operation is, below `instance.chute.dialects`."""

LOADED: dict[str, Operation] = {"/v1/chat/completions": CHAT}


def operation_of(path: str) -> Operation | None:
    """The operation of a path, loaded if it was not yet; `None` for paths that make no call."""
    found = LOADED.get(path)
    if found is None and path in PATHS:
        module, _, name = PATHS[path].partition(":")
        found = LOADED[path] = getattr(import_module(f"instance.chute.dialects.{module}"), name)()
    return found


def all_operations() -> Iterator[Operation]:
    """Every operation, in the order of `PATHS`."""
    for path in PATHS:
        found = operation_of(path)
        assert found is not None
        yield found
