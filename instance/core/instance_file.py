"""`instance.json`: what the control plane hands a hosted instance at its start, read-only and outside the data folder."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from instance.core.errors import StockyardError

ENV_NAME = "STOCKYARD_INSTANCE_FILE"


class LedgerHead(BaseModel):
    """The newest ledger entry that the control plane saw of this tenant."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    seq: int = Field(ge=0)
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")


class InstanceFile(BaseModel):
    """Its presence makes an instance a hosted one. Fields of newer control planes are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    epoch: int = Field(ge=1)
    fresh: bool = True
    """Whether a database may be made; where one must be there, an empty one would overwrite its backup."""
    previous_head: LedgerHead | None = None
    instance_key: SecretStr
    secret_key: SecretStr
    slug: str = ""
    control_plane_url: str = ""
    allow_private_networks: bool = False
    """Whether providers at private addresses may be called: the operator's decision, which no setting loosens."""


def may_call_private_networks(hosted: InstanceFile | None) -> bool:
    """A self-hosted instance calls what its owner names; a hosted one what its operator allows."""
    return hosted is None or hosted.allow_private_networks


def read_instance_file(path: Path) -> InstanceFile:
    """The file's contents; raises `StockyardError` saying what is wrong, without showing a secret."""
    try:
        return InstanceFile.model_validate(json.loads(path.read_bytes()))
    except OSError as error:
        raise StockyardError("invalid_value", f"{path} cannot be read: {error.strerror}.", param=ENV_NAME) from None
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, row["loc"])) for row in error.errors(include_input=False))
        raise StockyardError("invalid_value", f"{path} has no usable value for: {wrong}.", param=ENV_NAME) from None
    except ValueError:
        raise StockyardError("invalid_value", f"{path} is not JSON.", param=ENV_NAME) from None
