"""One key of a pool as it is configured."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from instance.chute.module_secrets import SecretText
from instance.chute.modules.other.pooled_key import PooledKey
from instance.chute.provider_spec import BadProvider, check_key


class KeyRow(BaseModel):
    """One key of a provider, and what it may be used for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100, description="Name that traces show.")
    provider: str = Field(min_length=1, max_length=63, description="The provider it belongs to.")
    key: SecretText = Field(default=SecretStr(""), description="The key; sealed at rest, shown by its last four.")
    weight: int = Field(default=1, ge=1, le=1000, description="Its share of the calls, relative to the others.")
    models: list[str] = Field(default=["*"], max_length=100, description="Globs of the models it may be used for.")
    rpm: int = Field(default=0, ge=0, le=10**9, description="Requests a minute; 0: no limit.")
    tpm: int = Field(default=0, ge=0, le=10**12, description="Tokens a minute; 0: no limit.")
    usd_day: float = Field(default=0.0, ge=0, le=1e9, description="Dollars a day (UTC); 0: no limit.")

    @field_validator("key")
    @classmethod
    def _usable(cls, key: SecretStr) -> SecretStr:
        text = key.get_secret_value()
        if not text:
            raise ValueError("the key is missing: give it, it is not stored here")
        try:
            check_key(text)
        except BadProvider as error:
            raise ValueError(error.message) from None
        return key

    def made(self) -> PooledKey:
        """The key, unused."""
        return PooledKey(
            self.provider,
            self.name,
            self.key.get_secret_value(),
            weight=self.weight,
            models=tuple(self.models),
            rpm=self.rpm,
            tpm=self.tpm,
            usd_day=self.usd_day,
        )
