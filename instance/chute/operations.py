"""Every path of `/v1` that makes a call, by its path."""

from __future__ import annotations

from instance.chute.dialects.anthropic.operation import Messages
from instance.chute.dialects.openai_audio import Speech, Transcription, Translation
from instance.chute.dialects.openai_chat import ChatCompletion
from instance.chute.dialects.openai_completions import Completion
from instance.chute.dialects.openai_embeddings import Embeddings
from instance.chute.dialects.openai_images import ImageEdit, ImageGeneration, ImageVariation
from instance.chute.dialects.openai_moderations import Moderations
from instance.chute.dialects.openai_responses.operation import Responses
from instance.chute.dialects.rerank import Rerank
from instance.chute.operation import Operation

CHAT = ChatCompletion()

OPERATIONS: dict[str, Operation] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": Completion(),
    "/v1/responses": Responses(),
    "/v1/messages": Messages(),
    "/v1/embeddings": Embeddings(),
    "/v1/images/generations": ImageGeneration(),
    "/v1/images/edits": ImageEdit(),
    "/v1/images/variations": ImageVariation(),
    "/v1/audio/speech": Speech(),
    "/v1/audio/transcriptions": Transcription(),
    "/v1/audio/translations": Translation(),
    "/v1/moderations": Moderations(),
    "/v1/rerank": Rerank(),
}
