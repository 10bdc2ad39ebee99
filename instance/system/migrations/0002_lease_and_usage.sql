-- Until when keys are accepted without a word from the control plane (hosted, plans with a lease); at most one row.
CREATE TABLE key_lease (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    renewed_at_ns INTEGER NOT NULL,
    ends_at_ns    INTEGER NOT NULL
) STRICT;

-- Counters of each model by the name it was called under, as usage_totals of each key. Names beyond a limit count as "other".
CREATE TABLE usage_models (
    model      TEXT PRIMARY KEY,
    requests   INTEGER NOT NULL,
    errors     INTEGER NOT NULL,
    tokens_in  INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    cost_nano  INTEGER NOT NULL,
    bytes_out  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What each key and each model did on each of the last days (UTC, days since 1970). `kind` is key or model.
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
