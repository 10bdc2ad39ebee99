"""Whether new calls may be begun: yes, until a cause blocks it; yes again when no cause is left."""

from __future__ import annotations

import logging
import threading

log = logging.getLogger("stockyard.journal")


class Availability:
    """Causes that forbid new calls, each with its reason for people. Safe in threads."""

    def __init__(self) -> None:
        self.available = True
        self.reason = ""
        """Of the newest cause; empty while available."""
        self._causes: dict[str, str] = {}
        self._lock = threading.Lock()

    def block(self, cause: str, reason: str) -> None:
        """Begin no new calls until `unblock` of the same cause."""
        with self._lock:
            if self._causes.get(cause) != reason:
                log.error("calls are refused: %s", reason)
                self._causes[cause] = reason
            self.reason = reason
            self.available = False

    def unblock(self, cause: str) -> None:
        """The cause is gone."""
        if cause not in self._causes:
            return
        with self._lock:
            log.warning("no longer: %s", self._causes.pop(cause, ""))
            reasons = list(self._causes.values())
            self.reason = reasons[-1] if reasons else ""
            self.available = not reasons

    def blocked_by(self, cause: str) -> bool:
        """Whether this cause is one of those that forbid calls now."""
        return cause in self._causes
