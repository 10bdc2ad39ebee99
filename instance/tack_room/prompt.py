"""One version of a template, parsed once and rendered for each call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from instance.chute.answer import JSON
from instance.core.errors import StockyardError
from instance.tack_room.mustache import Node, TooLong, Unfilled, parse, render
from instance.tack_room.variables import BadValue, Variable, filled


class Prompt:
    """A version's content, ready to be rendered. Immutable."""

    __slots__ = ("_messages", "locked", "model", "params", "response_schema", "variables", "version")

    def __init__(self, version: int, content: Mapping[str, Any]) -> None:
        self.version = version
        self.model: str = content["model"]
        self.params: JSON = content["params"]
        self.locked = frozenset(content["locked"])
        self.response_schema: JSON | None = content["response_schema"]
        self.variables = [Variable.model_validate(each) for each in content["variables"]]
        self._messages = [(message, _parts(message["content"])) for message in content["messages"]]

    def render(self, given: Mapping[str, Any], max_chars: int) -> list[JSON]:
        """The messages with the values in their places. Raises `missing_variable` and `invalid_variable`, `param` the name."""
        try:
            values = filled(self.variables, given)
            left = max_chars
            messages: list[JSON] = []
            for message, parts in self._messages:
                texts = []
                for nodes in parts:
                    text = render(nodes, values, left)
                    left -= len(text)
                    texts.append(text)
                messages.append({**message, "content": _put_back(message["content"], texts)})
        except BadValue as problem:
            code = "missing_variable" if problem.missing else "invalid_variable"
            raise StockyardError(code, str(problem), param=problem.name, retryable=False) from None
        except Unfilled as problem:
            raise StockyardError(
                "missing_variable",
                f"The prompt needs a value for {problem.name!r}.",
                param=problem.name,
                retryable=False,
            ) from None
        except TooLong:
            raise StockyardError(
                "invalid_variable",
                f"With these values the prompt is longer than {max_chars} characters.",
                param="_template_vars",
                retryable=False,
            ) from None
        return messages

    def sample(self) -> dict[str, Any]:
        """Values that fit, for looking at the prompt without a call's own."""
        bare: dict[str, Any] = {"string": "sample", "number": 1, "boolean": True, "list": ["sample"], "object": {}}
        return {
            each.name: each.enum[0] if each.enum else bare[each.type] for each in self.variables if each.default is None
        }


def _parts(content: Any) -> list[tuple[Node, ...]]:
    if isinstance(content, str):
        return [parse(content)]
    return [parse(part["text"]) for part in content if isinstance(part.get("text"), str)]


def _put_back(content: Any, texts: list[str]) -> Any:
    if isinstance(content, str):
        return texts[0]
    left = iter(texts)
    return [{**part, "text": next(left)} if isinstance(part.get("text"), str) else dict(part) for part in content]
