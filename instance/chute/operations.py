"""Every path of `/v1` that makes a call, by its path."""

from __future__ import annotations

from instance.chute.dialects.anthropic.operation import Messages
from instance.chute.dialects.openai_chat import ChatCompletion
from instance.chute.dialects.openai_completions import Completion
from instance.chute.dialects.openai_responses.operation import Responses
from instance.chute.operation import Operation

CHAT = ChatCompletion()

OPERATIONS: dict[str, Operation] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": Completion(),
    "/v1/responses": Responses(),
    "/v1/messages": Messages(),
}
