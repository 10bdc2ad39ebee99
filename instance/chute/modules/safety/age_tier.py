"""The age tier of who calls: by its key, its team, a header, or the default, in this order."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, cast

from instance.chute.modules.safety.age_rules import TIERS
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.core.clock import Clock

HEADER = b"x-stockyard-age-tier"
TOKEN_MAX_S = 30 * 86_400
"""A signed tier that says it is valid for longer is not taken."""

Tier = Literal["child", "teen", "adult"]


class AgeTiers:
    """Which tier is whose. The header is `tier:expires:signature`: the signature is the hex HMAC-SHA-256 of `tier:expires` under
    the secret, `expires` in Unix seconds."""

    def __init__(
        self,
        default: Tier,
        by_key: Mapping[str, Tier],
        by_team: Mapping[str, Tier],
        secret: bytes,
        *,
        trust_header: bool,
    ) -> None:
        """`by_key`: of ids or names of keys. `by_team`: of globs of teams. `trust_header`: take the header without a signature too."""
        self._default = default
        self._by_key = by_key
        self._by_team = by_team
        self._secret = secret
        self._trust_header = trust_header
        self._by_header = bool(secret or trust_header)

    @property
    def only_adults(self) -> bool:
        """Whether nobody can have another tier."""
        return self._default == "adult" and not (self._by_key or self._by_team or self._by_header)

    def of(self, x: Exchange, clock: Clock) -> tuple[Tier, str]:
        """The caller's tier and what says so. Raises `age_token_invalid` for a header that cannot be believed."""
        by_header = self._of_header(x, clock) if self._by_header else None
        if self._by_key and x.principal is not None:
            for name in (str(x.principal.key_id), x.principal.name):
                if name in self._by_key:
                    return self._by_key[name], "key"
        if self._by_team and x.team:
            for glob, tier in self._by_team.items():
                if fnmatchcase(x.team, glob):
                    return tier, "team"
        return (by_header, "header") if by_header else (self._default, "default")

    def _of_header(self, x: Exchange, clock: Clock) -> Tier | None:
        """What the header says; nothing without one."""
        given = x.headers.get(HEADER)
        if given is None:
            return None
        tier, _, rest = given.decode("latin-1").strip().partition(":")
        if tier not in TIERS:
            raise _bad_token("It names no tier: child, teen or adult.")
        if not rest:
            if self._trust_header:
                return cast("Tier", tier)
            raise _bad_token("It is not signed.")
        expires, _, signature = rest.partition(":")
        right = hmac.new(self._secret, f"{tier}:{expires}".encode(), "sha256").hexdigest()
        if not self._secret or not hmac.compare_digest(right, signature.lower()):
            raise _bad_token("Its signature is wrong.")
        left_s = int(expires) - clock.wall_ns() // 10**9 if expires.isascii() and expires.isdigit() else -1
        if not 0 <= left_s <= TOKEN_MAX_S:
            raise _bad_token("It has expired, or says that it is valid for longer than 30 days.")
        return cast("Tier", tier)


def _bad_token(why: str) -> StockyardError:
    return StockyardError(
        "age_token_invalid",
        f"The header X-Stockyard-Age-Tier is not accepted. {why}",
        param="X-Stockyard-Age-Tier",
        retryable=False,
    )
