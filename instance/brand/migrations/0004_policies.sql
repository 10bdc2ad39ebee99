-- Policies; `scope` and `conditions` are JSON. `version` counts the changes of a policy.
CREATE TABLE policies (
    id             TEXT PRIMARY KEY,
    name           TEXT NOT NULL UNIQUE,
    version        INTEGER NOT NULL,
    action         TEXT NOT NULL,
    description    TEXT NOT NULL,
    message        TEXT NOT NULL,
    replacement    TEXT NOT NULL,
    retention_days INTEGER NOT NULL,
    scope          TEXT NOT NULL,
    conditions     TEXT NOT NULL,
    dry_run        INTEGER NOT NULL,
    enabled        INTEGER NOT NULL,
    created_at_ns  INTEGER NOT NULL,
    updated_at_ns  INTEGER NOT NULL
) STRICT;

CREATE TABLE policy_violations (
    id            INTEGER PRIMARY KEY,
    policy_id     TEXT NOT NULL,
    name          TEXT NOT NULL,
    version       INTEGER NOT NULL,
    condition     TEXT NOT NULL,
    action        TEXT NOT NULL,
    dry_run       INTEGER NOT NULL,
    trace_id      TEXT NOT NULL,
    key_id        TEXT NOT NULL,
    team_id       TEXT NOT NULL,
    model         TEXT NOT NULL,
    created_at_ns INTEGER NOT NULL
) STRICT;

CREATE INDEX policy_violations_policy ON policy_violations (policy_id, created_at_ns);
CREATE INDEX policy_violations_created ON policy_violations (created_at_ns);
