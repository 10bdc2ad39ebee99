"""What is new in a request: its texts since the last answer, which are not the system's."""

from __future__ import annotations

from instance.chute.answer import JSON
from instance.chute.text import request_texts

SYSTEM = ("system", "developer")


def new_texts(req: JSON) -> list[str]:
    """The user's and tools' texts behind the last answer in the conversation, in order; all texts of what is no conversation."""
    messages = req.get("messages")
    if type(messages) is not list:
        return request_texts(req)
    new: list[JSON] = []
    for message in reversed(messages):
        if type(message) is not dict:
            break
        role = message.get("role")
        if role == "assistant":
            break
        if role not in SYSTEM:
            new.append(message)
    if len(new) == 1 and len(new[0]) == 2 and "role" in new[0]:  # as nearly every question is
        content = new[0].get("content")
        if type(content) is str:
            return [content] if content else []
    return request_texts({"messages": new[::-1]})


def last_user_texts(req: JSON, count: int = 1) -> list[str]:
    """The texts of the last messages of the user, the latest first; of what is no conversation, its prompt."""
    messages = req.get("messages")
    if type(messages) is not list:
        return ["\n".join(request_texts(req))]
    found = []
    for message in reversed(messages):
        if type(message) is dict and message.get("role") == "user":
            content = message.get("content")
            if len(message) == 2 and type(content) is str:  # as nearly every one is
                text = content
            else:
                text = "\n".join(request_texts({"messages": [message]}))
            if text:
                found.append(text)
            if len(found) == count:
                break
    return found
