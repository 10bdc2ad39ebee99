"""The progress of `/api/pull`: a model on its way to the server."""

from __future__ import annotations

from instance.chute.answer import JSON
from instance.chute.dialects.ollama.lines import LineSplitter


class PullProgress:
    """Reads the lines of a pull. `done` with the last; `error` holds what went wrong."""

    def __init__(self, model: str) -> None:
        self.done = False
        self.error = ""
        self._model = model
        self._lines = LineSplitter()
        self._said = ""

    def feed(self, block: bytes) -> list[str]:
        """What is new, in words (`pulling llama3.2: 45 %`), each step once. Raises `StreamBroken`."""
        news = []
        for obj in self._lines.feed(block) if block else self._lines.close():
            words = self._words(obj)
            if words and words != self._said:
                self._said = words
                news.append(words)
        return news

    def _words(self, obj: JSON) -> str:
        if obj.get("error"):
            self.error = str(obj["error"])
            return ""
        status = str(obj.get("status") or "")
        if status == "success":
            self.done = True
        total, completed = obj.get("total"), obj.get("completed")
        if type(total) is int and total > 0 and type(completed) is int:
            return f"pulling {self._model}: {completed * 100 // total} %"
        return f"pulling {self._model}: {status}"
