-- Baselines: numbers and vectors of answers, never their texts. `samples` is deflated JSON, `vectors` deflated float16.
CREATE TABLE drift_baselines (
    series        TEXT PRIMARY KEY,
    samples       BLOB NOT NULL,
    vectors       BLOB NOT NULL,
    updated_at_ns INTEGER NOT NULL
) STRICT;

-- What drifted, one row from its beginning to its end.
CREATE TABLE drift_events (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    series         TEXT NOT NULL,
    metric         TEXT NOT NULL,
    baseline       TEXT NOT NULL,
    now            TEXT NOT NULL,
    q              REAL,
    effect         REAL,
    detected_at_ns INTEGER NOT NULL,
    ended_at_ns    INTEGER
) STRICT;

CREATE INDEX drift_events_by_time ON drift_events (detected_at_ns);

-- Past answers to each canary: their vectors (float16) and lengths, the newest last.
CREATE TABLE drift_canaries (
    name        TEXT PRIMARY KEY,
    asked_on    TEXT NOT NULL,
    lengths     TEXT NOT NULL,
    vectors     BLOB NOT NULL
) STRICT;
