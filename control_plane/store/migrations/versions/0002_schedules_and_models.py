"""When instances have something to do, announced suspensions, last use of keys, fate of backups, usage by model, sign-ups."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("tenants") as table:
        table.add_column(sa.Column("scheduled_next_at", sa.Double(), nullable=True))
        table.add_column(sa.Column("suspend_after", sa.Double(), nullable=True))
        table.add_column(sa.Column("suspend_reason", sa.String(length=500), nullable=True))
        table.add_column(sa.Column("quota", sa.JSON(), nullable=True))
        table.create_index("ix_tenants_suspend_after", ["suspend_after"], unique=False)
    with op.batch_alter_table("keys") as table:
        table.add_column(sa.Column("last_used_at", sa.Double(), nullable=True))
    with op.batch_alter_table("epochs") as table:
        table.add_column(sa.Column("broken_at", sa.Double(), nullable=True))
        table.add_column(sa.Column("expired_at", sa.Double(), nullable=True))
        table.add_column(sa.Column("reaches_back_to", sa.Double(), nullable=True))
    op.create_table(
        "usage_model_readings",
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("tokens_in", sa.BigInteger(), nullable=False),
        sa.Column("tokens_out", sa.BigInteger(), nullable=False),
        sa.Column("cost_nano", sa.BigInteger(), nullable=False),
        sa.Column("bytes_out", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "epoch", "model", name=op.f("pk_usage_model_readings")),
    )
    op.create_table(
        "usage_model_days",
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("tokens_in", sa.BigInteger(), nullable=False),
        sa.Column("tokens_out", sa.BigInteger(), nullable=False),
        sa.Column("cost_nano", sa.BigInteger(), nullable=False),
        sa.Column("bytes_out", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "epoch", "day", "model", name=op.f("pk_usage_model_days")),
    )
    op.create_index("ix_usage_model_days_tenant_day", "usage_model_days", ["tenant", "day"], unique=False)
    op.create_index("ix_events_at", "events", ["at"], unique=False)
    op.create_table(
        "signups",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("domain", sa.String(length=254), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signups")),
    )
    op.create_index(op.f("ix_signups_at"), "signups", ["at"], unique=False)
    op.create_index("ix_signups_address_at", "signups", ["address", "at"], unique=False)
    op.create_index("ix_signups_domain_at", "signups", ["domain", "at"], unique=False)
