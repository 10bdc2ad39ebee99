"""Perplexity's API under `/perplexity`: turns that alternate, sources beside every chunk, the message so far repeated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from instance.mock_upstream.checking import Problem, dotted, refused
from instance.mock_upstream.conversation import Said, Usage
from instance.mock_upstream.dialect import bearer
from instance.mock_upstream.dialects.openai import OpenAiLike
from instance.mock_upstream.dialects.openai_chat import ChatForm
from instance.mock_upstream.dialects.perplexity_schema import PERPLEXITY
from instance.mock_upstream.exchange import Call, Event, Request, sse
from instance.mock_upstream.replies import Failure

SOURCES: list[dict[str, Any]] = [
    {"url": "https://example.com/first", "title": "The first source"},
    {"url": "https://example.org/second", "title": "The second source"},
]
"""What is cited when the script names no sources."""


class PerplexityForm(ChatForm):
    answer_id = "mock-perplexity"
    fingerprint = None

    def usage(self, usage: Usage) -> dict[str, Any]:
        made: dict[str, Any] = {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.completion,
            "total_tokens": usage.total,
            "search_context_size": "low",
            "cost": {
                "input_tokens_cost": usage.prompt / 1e6,
                "output_tokens_cost": usage.completion / 1e6,
                "request_cost": 0.005,
                "total_cost": 0.005 + usage.total / 1e6,
            },
        }
        if usage.reasoning:
            made |= {"reasoning_tokens": usage.reasoning, "citation_tokens": 7, "num_search_queries": 1}
        return made

    def told_usage(self, said: Said) -> dict[str, Any]:
        return {**self.usage(said.usage), **(said.reply.usage or {})}

    def _beside(self, said: Said) -> dict[str, Any]:
        sources = said.reply.citations or SOURCES
        return {
            "citations": [source["url"] for source in sources],
            "search_results": [
                {
                    "title": source.get("title", ""),
                    "url": source["url"],
                    "date": source.get("date", "2026-01-01"),
                    "last_updated": None,
                    "snippet": source.get("text", ""),
                    "source": "web",
                }
                for source in sources
            ],
        }

    def message(self, said: Said) -> dict[str, Any]:
        return {"role": "assistant", "content": "".join(self._pieces(said))}

    def whole(self, body: dict[str, Any], said: Said) -> dict[str, Any]:
        return {**super().whole(body, said), **self._beside(said)} | said.reply.more

    def _pieces(self, said: Said) -> Iterator[str]:
        if said.reasoning:
            # the tag is cut, as tokens do
            yield "<thi"
            yield "nk>\n"
            yield from said.reasoning_pieces
            yield "\n</th"
            yield "ink>\n\n"
        yield from said.pieces

    def events(self, body: dict[str, Any], said: Said) -> Iterator[Event]:
        so_far = ""
        pieces = list(self._pieces(said)) or [""]
        for place, piece in enumerate([*pieces, ""]):
            so_far += piece
            last = place == len(pieces)
            delta = {"role": "assistant", "content": piece}
            choice = {
                "index": 0,
                "finish_reason": self.finish(said) if last else None,
                "message": {"role": "assistant", "content": so_far},
                "delta": delta,
            }
            made = {**self.chunk(body, said, [choice]), "usage": self.told_usage(said), **self._beside(said)}
            made["object"] = "chat.completion.done" if last else "chat.completion.chunk"
            yield sse(made | said.reply.more, piece=not last)
        yield Event(b"data: [DONE]\n\n")


class Perplexity(OpenAiLike):
    name = "perplexity"
    prefix = base_url_tail = "/perplexity"
    key_env = "PERPLEXITY_API_KEY"
    form = PerplexityForm()
    chat_schema = PERPLEXITY
    chat_path = "(?:/v1)?/chat/completions"
    models = ("sonar", "sonar-pro", "sonar-reasoning-pro")

    def authorize(self, call: Call, request: Request) -> None:
        bearer(call, "Invalid API key provided.")

    def invalid(self, problem: Problem, request: Request) -> Failure:
        return Failure(400, f"['body', '{dotted(problem.path)}']: {problem.message}", kind="bad_request")

    def error(self, failure: Failure) -> dict[str, Any]:
        kinds = {401: "authentication_error", 429: "rate_limit_exceeded", 400: "bad_request"}
        kind = failure.kind or kinds.get(failure.status, "internal_server_error")
        made = {"message": failure.message, "type": kind, "code": failure.code or failure.status}
        return {"error": made | dict(failure.details or {})}

    def check_chat(self, body: dict[str, Any], request: Request) -> None:
        wrong = {"kind": "invalid_message"}
        turns = [message["role"] for message in body["messages"]]
        while turns and turns[0] == "system":
            turns.pop(0)
        if "system" in turns:
            raise refused(400, "System messages must come before all others.", **wrong)
        if not turns or turns[-1] != "user":
            raise refused(400, "Last message must have role `user`.", **wrong)
        if any(role != ("user", "assistant")[place % 2] for place, role in enumerate(turns)):
            raise refused(
                400,
                "After the (optional) system message(s), user and assistant roles should be alternating.",
                **wrong,
            )
