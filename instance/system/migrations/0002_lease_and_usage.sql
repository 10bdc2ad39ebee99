-- Until when keys are accepted without a word from the control plane (hosted, plans with a lease); at most one row.
CREATE TABLE key_lease (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    renewed_at_ns INTEGER NOT NULL,
    ends_at_ns    INTEGER NOT NULL
) STRICT;

-- What each key and each model did, by day (UTC, days since 1970). `kind` is key or model; all days that lie further back than
-- the last few are summed under day 0, so that a name's days together are all that it ever did.
CREATE TABLE usage_days (
    day        INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    requests   INTEGER NOT NULL,
    errors     INTEGER NOT NULL,
    tokens_in  INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    cost_nano  INTEGER NOT NULL,
    bytes_out  INTEGER NOT NULL,
    PRIMARY KEY (day, kind, name)
) STRICT, WITHOUT ROWID;
