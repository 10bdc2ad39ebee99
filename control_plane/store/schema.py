"""The control plane's tables. Changed only together with a migration in `migrations/versions`; a test compares the two.

Times are seconds since 1970 UTC (DOUBLE), money integer nano-dollars, hashes hexadecimal. Types are portable: the same
schema stands on SQLite and PostgreSQL.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

# What concerns this plane as a whole: `incarnation`.
meta = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("email", String(254), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("password_hash", String(256), nullable=False),  # scrypt; empty = no log-in by password
    Column("plan", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("delete_after", Double),
)

account_tokens = Table(
    "account_tokens",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("name", String(200), nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("prefix", String(40), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
)

# Sign-ups of the last hour, for their limits.
signups = Table(
    "signups",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Double, nullable=False, index=True),
    Column("address", String(64), nullable=False),
    Column("domain", String(254), nullable=False),
    Index("ix_signups_address_at", "address", "at"),
    Index("ix_signups_domain_at", "domain", "at"),
)

tenants = Table(
    "tenants",
    metadata,
    Column("slug", String(40), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("plan", String(64), nullable=False),
    Column("region", String(64), nullable=False),
    Column("desired", String(16), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("image", String(300), nullable=False),
    Column("incarnation", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("wake_requested_at", Double),
    Column("sleep_requested_at", Double),
    Column("restart_requested_at", Double),
    Column("verify_requested_at", Double),
    Column("last_request_at", Double),
    Column("nap_after_s", Integer, nullable=False),
    Column("sleep_after_s", Integer, nullable=False),
    Column("restore", JSON(none_as_null=True)),  # {at, epoch, source} while a restore is asked for
    Column("settings", JSON, nullable=False),
    Column("delete_after", Double),
    Column("purge_began_at", Double),
    Column("status", String(16), nullable=False),
    Column("failure", String(100), nullable=False),
    Column("next_action", String(200), nullable=False),
    Column("since", Double, nullable=False),
    Column("applied_incarnation", Integer, nullable=False),
    Column("applied_number", Integer, nullable=False),
    Column("purged_at", Double, index=True),
    Column("scheduled_next_at", Double),  # when its instance has something to do next, as it last said
    Column("suspend_after", Double, index=True),  # a suspension that was announced; its grace ends then
    Column("suspend_reason", String(500)),  # why it was announced
    Column(
        "quota", JSON(none_as_null=True)
    ),  # {month, calls, noted}: what its instance last said, and what was told of it
    Column("sealed_secrets", LargeBinary),  # instance key and secret key, wrapped by the master key; NULL once purged
)

keys = Table(
    "keys",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("tenant", ForeignKey("tenants.slug"), nullable=False, index=True),
    Column("name", String(200), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("prefix", String(40), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("models", JSON, nullable=False),
    Column("ip_allow", JSON, nullable=False),
    Column("rpm", Integer, nullable=False),
    Column("budget_month_nano", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("generation", Integer, nullable=False),
    Column("last_used_at", Double),  # as the instance last said; lags by a collection
)

epochs = Table(
    "epochs",
    metadata,
    Column("tenant", ForeignKey("tenants.slug"), nullable=False),
    Column("n", Integer, nullable=False),
    Column("parent", Integer),
    Column("restored", Boolean, nullable=False),  # the database began as a copy: its counters did not begin at zero
    Column("started_at", Double, nullable=False),
    Column("closed_at", Double),
    Column("first_txid", BigInteger),
    Column("confirmed_txid", BigInteger),
    Column("confirmed_at", Double),
    Column("verified_at", Double),
    Column("broken_at", Double),  # when it last did not verify; NULL once it did
    Column("expired_at", Double),  # when its replica was removed: older than its plan keeps
    Column("reaches_back_to", Double),  # the oldest time it restores to, since older copies were removed
    Column("bytes", BigInteger, nullable=False),
    Column("ledger_seq", BigInteger, nullable=False),
    Column("ledger_hash", String(64), nullable=False),
    PrimaryKeyConstraint("tenant", "n"),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("tenant", String(40), nullable=False),
    Column("at", Double, nullable=False),
    Column("actor", String(100), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("message", Text, nullable=False),
    Column("detail", JSON, nullable=False),
    Index("ix_events_tenant_id", "tenant", "id"),
    Index("ix_events_at", "at"),
)

# The same hash chain as an instance's ledger: instance/brand/chain.py.
ledger = Table(
    "ledger",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("created_at", String(32), nullable=False),
    Column("event_type", String(64), nullable=False),
    Column("actor", String(100), nullable=False),
    Column("resource", String(200), nullable=False),
    Column("action", String(64), nullable=False),
    Column("detail", Text, nullable=False),  # canonical JSON, exactly as hashed
    Column("trace_id", String(64)),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index("ix_ledger_resource_seq", "resource", "seq"),
)


def _counters() -> list[Column[int]]:
    names = ("requests", "errors", "tokens_in", "tokens_out", "cost_nano", "bytes_out")
    return [Column(name, BigInteger, nullable=False) for name in names]


# The last cumulative reading of an instance's counters; key_id 0 = the whole instance.
usage_readings = Table(
    "usage_readings",
    metadata,
    Column("tenant", String(40), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("key_id", Integer, nullable=False),
    Column("at", Double, nullable=False),
    *_counters(),
    PrimaryKeyConstraint("tenant", "epoch", "key_id"),
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("tenant", String(40), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("day", String(10), nullable=False),
    Column("key_id", Integer, nullable=False),
    *_counters(),
    Column("storage_bytes", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "epoch", "day", "key_id"),
    Index("ix_usage_days_tenant_day", "tenant", "day"),
)

# The same two by the model that was called; kept apart, as a model's name is the tenant's to choose.
usage_model_readings = Table(
    "usage_model_readings",
    metadata,
    Column("tenant", String(40), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("model", String(200), nullable=False),
    Column("at", Double, nullable=False),
    *_counters(),
    PrimaryKeyConstraint("tenant", "epoch", "model"),
)

usage_model_days = Table(
    "usage_model_days",
    metadata,
    Column("tenant", String(40), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("day", String(10), nullable=False),
    Column("model", String(200), nullable=False),
    *_counters(),
    PrimaryKeyConstraint("tenant", "epoch", "day", "model"),
    Index("ix_usage_model_days_tenant_day", "tenant", "day"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("caller", String(100), nullable=False),
    Column("key", String(128), nullable=False),
    Column("request_sha256", String(64), nullable=False),  # of method, path and body
    Column("status", Integer, nullable=False),  # 0 while the first request is still running
    Column("answer", Text, nullable=False),  # without any secret
    Column("secret", Boolean, nullable=False),  # the first answer held one
    Column("created_at", Double, nullable=False, index=True),
    PrimaryKeyConstraint("caller", "key"),
)
