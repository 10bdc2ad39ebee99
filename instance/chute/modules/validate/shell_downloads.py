"""Downloads that a shell script runs: in a pipe, by way of a file or of a variable."""

from __future__ import annotations

import re

from instance.chute.modules.validate.shell_words import INTERPRETERS, has_letter, unquoted, value_of

FETCHES = frozenset(("curl", "wget", "fetch", "aria2c", "http"))
FETCHED = re.compile(r"(?:\$\(|`|<\()\s*(?:sudo )?(?:curl|wget)\b")
_CHECKS = frozenset("sha256sum sha512sum sha1sum shasum gpg gpgv cosign minisign".split())
_CURL_VALUED = "AbCcdeFHhKmPQrTtUuwXxyYz"
_LOCATION = re.compile(r"(?:https?|ftp)://[^\s\"']+")
_OWN_PROGRAM = frozenset("-m -c -e -n -ne -pe -p -E -r".split())


def runs_input(words: list[str]) -> bool:
    """Whether a command runs what it reads: an interpreter that is given no program of its own."""
    if words[0] not in INTERPRETERS:
        return False
    rest = words[1:]
    if rest and rest[0] in _OWN_PROGRAM:
        return False
    return all(word.startswith("-") for word in rest[:1]) or rest[:1] in (["/dev/stdin"], ["<("])


class Downloads:
    """What was downloaded so far: names of files and of variables. What was compared with a checksum or signature is forgotten."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self.variables: set[str] = set()

    def note(self, words: list[str], redirected_to: str) -> None:
        """A command that may download; `redirected_to` is the file that its output goes to."""
        if words[0] in _CHECKS:
            self._files.clear()
        if words[0] not in FETCHES:
            return
        if redirected_to:
            self._files.add(_plain(redirected_to))
        location = next((found.group() for word in words[1:] if (found := _LOCATION.search(word))), "")
        own = location.partition("?")[0].rstrip("/").rpartition("/")[2]
        if words[0] == "curl":
            named = value_of(words, "-o", "--output") or self._clustered(words)
            if has_letter(words, "O", _CURL_VALUED + "o") or "--remote-name" in words:
                self._files.add(_plain(own))
        elif words[0] == "wget":
            named = value_of(words, "-O", "--output-document") or self._clustered(words) or own
        else:
            named = value_of(words, "-o", "--output")
        if named and named not in ("-", "/dev/stdout"):
            self._files.add(_plain(named))

    def _clustered(self, words: list[str]) -> str:
        """The file behind a cluster of options that ends with the one for it: `-fsSLo file`, `-qO file`."""
        letter = "o" if words[0] == "curl" else "O"
        for place, word in enumerate(words[:-1]):
            if re.fullmatch(rf"-[a-zA-Z]+{letter}", word):
                return words[place + 1]
        return ""

    def runs(self, words: list[str], written: str) -> bool:
        """Whether a command runs a file or the text that was downloaded; `written` is its first word as it stands."""
        if not self._files and not self.variables:
            return False
        if words[0] in INTERPRETERS or words[0] in ("source", "."):
            program = next((word for word in words[1:] if not word.startswith("-")), "")
            place = words.index("-c") + 1 if "-c" in words[:-1] else 0
            if place and self._names(words[place]):
                return True
            return _plain(program) in self._files or self._names(program)
        if words[0] == "eval":
            return any(map(self._names, words[1:]))
        return "/" in written and _plain(written) in self._files

    def _names(self, word: str) -> bool:
        variable = re.fullmatch(r"\$\{?(\w+)\}?", unquoted(word))
        return variable is not None and variable.group(1) in self.variables

    def said(self, words: list[str]) -> bool:
        """Whether a command prints what was downloaded into a variable."""
        return words[0] in ("echo", "printf") and any(map(self._names, words[1:]))


def _plain(path: str) -> str:
    return unquoted(path).removeprefix("./")
