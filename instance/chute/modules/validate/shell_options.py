"""What the options of a shell command say: that a certificate is not checked, or a password."""

from __future__ import annotations

import re

from instance.chute.modules.safety.secret_values import given_password
from instance.chute.modules.validate.code_credentials import in_header, is_credential
from instance.chute.modules.validate.shell_words import has_letter, unquoted
from instance.chute.modules.validate.transport_checks import unchecked, unchecked_by_variable

SAYS = frozenset("echo printf : logger read".split())
"""They only say their words."""
_UNCHECKED_HOST = re.compile(r"(?i)stricthostkeychecking[= ]\"?(?:no|off)\b")
_ABOUT_CHECKS = re.compile(r"(?i)ssl|tls|verif|secure|cert|trust|httpsverify")
_CURL_VALUED = "AbCcdeFHhKmoPQrTtUuwXxyYz"
_SIGNS_IN = frozenset(
    ("docker", "podman", "sshpass", "redis-cli", "az", "helm", "oc", "vault", "mosquitto_pub", "mysqldump")
)
"""Their `-p` or `-a` is a password."""


def is_unchecked(words: list[str]) -> bool:
    """Whether a command does not check a certificate or the key of a host."""
    name = words[0]
    if name in SAYS or name in ("grep", "rg", "sed", "man"):
        return False
    if any(map(_UNCHECKED_HOST.search, words[1:])):
        return True
    if name == "curl":
        return has_letter(words, "k", _CURL_VALUED) or "--insecure" in words or "--proxy-insecure" in words
    if not _ABOUT_CHECKS.search(" ".join(words)):
        return False
    for place, word in enumerate(words[1:], 1):
        option, sign, value = unquoted(word).partition("=")
        following = unquoted(words[place + 1]) if place + 1 < len(words) else ""
        if option in (
            "--no-check-certificate",
            "--no-verify-ssl",
            "--trusted-host",
            "--insecure-skip-tls-verify",
            "--skip-tls-verify",
        ):
            return value.lower() != "false"
        if option == "--insecure" and name in ("helm", "http", "https", "argocd", "mc", "grpcurl", "vault", "oc"):
            return True
        setting = option.rpartition(".")[2].rpartition("::")[2].lstrip("-")
        if unchecked(setting, value if sign else following) or (
            setting in ("verify", "check-certificate", "Verify-Peer") and value.lower() in ("no", "false")
        ):
            return True
        if unchecked_by_variable(option, value) and sign:
            return True
    return False


def gives_password(words: list[str]) -> bool:
    """Whether a command is given a password or key in its words."""
    if words[0] in SAYS:  # `echo NAME=value >> .env`
        pairs = [unquoted(word).partition("=") for word in words[1:]]
        return any(name.isidentifier() and is_credential(name, value) for name, _, value in pairs)
    for place, word in enumerate(words[1:], 1):
        option, sign, value = word.partition("=")
        following = words[place + 1] if place + 1 < len(words) else ""
        if option in ("-H", "--header") or word.startswith(("-H'", '-H"')):
            header, _, said = unquoted(following if option in ("-H", "--header") else word[2:]).partition(":")
            if in_header(header, said.strip()):
                return True
        elif option.startswith("--") and is_credential(option.lstrip("-"), unquoted(value if sign else following)):
            return True
        elif option in ("-p", "-a", "--passphrase") and words[0] in _SIGNS_IN and given_password(unquoted(following)):
            return not re.fullmatch(r"[\d:./]+\w*", unquoted(following))  # a port
        elif "pass:" in word and given_password(unquoted(word).partition("pass:")[2]):
            return True
    return False
