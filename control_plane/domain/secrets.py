"""What an instance is handed at its start and nobody else learns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TenantSecrets:
    """`instance_key` (sy_inst_…) lets the plane in; `secret_key` seals the tenant's own secrets at rest."""

    instance_key: str
    secret_key: str

    def __repr__(self) -> str:
        return "TenantSecrets(…)"
