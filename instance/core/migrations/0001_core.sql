-- Facts about this database: `epoch` (which life of it this is), `secret_check` (sealed; shows whether the secret key is
-- the right one), `pending_epoch` and `replaced_head` (left by a restore, until the next start).
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Up to where the journal was folded; written in the transaction that folds. One row.
CREATE TABLE journal_position (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    epoch    TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    segment  INTEGER NOT NULL
) STRICT;

-- Records that a fold refused, whole, with the reason: the journal goes on without them.
CREATE TABLE journal_rejected (
    epoch          TEXT NOT NULL,
    sequence       INTEGER NOT NULL,
    kind           INTEGER NOT NULL,
    frame          BLOB NOT NULL,
    error          TEXT NOT NULL,
    rejected_at_ns INTEGER NOT NULL,
    PRIMARY KEY (epoch, sequence)
) STRICT, WITHOUT ROWID;

-- What the API changed, by path; the value is JSON.
CREATE TABLE settings (
    path          TEXT PRIMARY KEY,
    value         TEXT NOT NULL,
    updated_at_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys made here, by the SHA-256 of their text. `scopes`, `models` and `ip_allow` are JSON lists; `origin` is `local`, or
-- `env` for the one that STOCKYARD_ADMIN_KEY gives. Times are nanoseconds, 0 for never. AUTOINCREMENT: an id in the
-- ledger never comes to mean another key.
CREATE TABLE keys (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    digest            BLOB NOT NULL UNIQUE,
    prefix            TEXT NOT NULL,
    name              TEXT NOT NULL,
    kind              TEXT NOT NULL,
    scopes            TEXT NOT NULL,
    user_id           TEXT NOT NULL,
    team_id           TEXT NOT NULL,
    models            TEXT NOT NULL,
    ip_allow          TEXT NOT NULL,
    rpm               INTEGER NOT NULL,
    budget_month_nano INTEGER NOT NULL,
    created_at_ns     INTEGER NOT NULL,
    expires_at_ns     INTEGER NOT NULL,
    revoked_at_ns     INTEGER NOT NULL,
    last_used_ns      INTEGER NOT NULL,
    origin            TEXT NOT NULL CHECK (origin IN ('local', 'env'))
) STRICT;
