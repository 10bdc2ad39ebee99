-- What calls of each key added up to since the instance was made; written with the fold, so exact after kill -9.
CREATE TABLE usage_totals (
    key_id             TEXT PRIMARY KEY,
    requests           INTEGER NOT NULL,
    errors             INTEGER NOT NULL,
    tokens_in          INTEGER NOT NULL,
    tokens_out         INTEGER NOT NULL,
    cost_nano          INTEGER NOT NULL,
    bytes_out          INTEGER NOT NULL,
    last_request_at_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The desired state that the control plane pushed last (hosted); one row.
CREATE TABLE pushed_state (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    incarnation   INTEGER NOT NULL,
    number        INTEGER NOT NULL,
    applied_at_ns INTEGER NOT NULL,
    body          TEXT NOT NULL
) STRICT;

-- First answers of POSTs with an Idempotency-Key, kept for a day; without secrets.
CREATE TABLE idempotent_answers (
    caller        BLOB NOT NULL,
    key           TEXT NOT NULL,
    path          TEXT NOT NULL,
    body_digest   BLOB NOT NULL,
    status        INTEGER NOT NULL,
    answer        BLOB NOT NULL,
    holds_secret  INTEGER NOT NULL,
    created_at_ns INTEGER NOT NULL,
    PRIMARY KEY (caller, key, path)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotent_answers_created ON idempotent_answers (created_at_ns);

CREATE TABLE users (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    email         TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    disabled      INTEGER NOT NULL DEFAULT 0,
    created_at_ns INTEGER NOT NULL
) STRICT;

-- Which key took the place of another.
CREATE TABLE key_rotations (
    key_id    INTEGER PRIMARY KEY,
    successor INTEGER NOT NULL
) STRICT;
