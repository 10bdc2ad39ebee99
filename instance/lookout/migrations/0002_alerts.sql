-- Rules that are evaluated all the time. `spec` is the rule as JSON; `secrets` is what of its channel is secret, sealed.
CREATE TABLE alerts (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT NOT NULL UNIQUE,
    spec          TEXT NOT NULL,
    secrets       BLOB NOT NULL,
    enabled       INTEGER NOT NULL,
    standing      TEXT NOT NULL,
    last_fired_ns INTEGER,
    created_at_ns INTEGER NOT NULL
) STRICT;

-- One row for each time that a rule fired; `resolved_at_ns` is null while it does.
CREATE TABLE alert_history (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    rule_id        INTEGER NOT NULL,
    rule_name      TEXT NOT NULL,
    metric         TEXT NOT NULL,
    value          REAL NOT NULL,
    threshold      REAL NOT NULL,
    peak           REAL NOT NULL,
    message        TEXT NOT NULL,
    trace_ids      TEXT NOT NULL,
    delivered      INTEGER NOT NULL,
    error          TEXT NOT NULL,
    fired_at_ns    INTEGER NOT NULL,
    resolved_at_ns INTEGER
) STRICT;

CREATE INDEX alert_history_by_time ON alert_history (fired_at_ns);

-- Notices on their way to a channel, and what became of them.
CREATE TABLE alert_deliveries (
    id            TEXT PRIMARY KEY,
    rule_id       INTEGER NOT NULL,
    history_id    INTEGER,
    event         TEXT NOT NULL,
    notice        TEXT NOT NULL,
    status        TEXT NOT NULL,
    attempts      INTEGER NOT NULL,
    next_at_ns    INTEGER NOT NULL,
    http_status   INTEGER,
    error         TEXT NOT NULL,
    created_at_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX alert_deliveries_waiting ON alert_deliveries (next_at_ns) WHERE status = 'waiting';
CREATE INDEX alert_deliveries_by_rule ON alert_deliveries (rule_id, created_at_ns);

CREATE TABLE alert_beginnings (
    one INTEGER PRIMARY KEY CHECK (one = 1)
) STRICT;
