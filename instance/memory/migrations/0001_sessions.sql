-- What conversations remember. `identity` is a digest of team, key and the caller's own session id.
CREATE TABLE memory_sessions (
    id TEXT PRIMARY KEY,
    identity BLOB NOT NULL UNIQUE,
    origin TEXT NOT NULL,
    name TEXT NOT NULL,
    user_id TEXT NOT NULL,
    team_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    summary TEXT NOT NULL,
    summarised INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    pinned INTEGER NOT NULL,
    expires_at_ns INTEGER NOT NULL,
    updated_at_ns INTEGER NOT NULL
);
CREATE INDEX memory_sessions_by_update ON memory_sessions (updated_at_ns);
CREATE INDEX memory_sessions_by_expiry ON memory_sessions (expires_at_ns);
CREATE INDEX memory_sessions_by_user ON memory_sessions (user_id);

CREATE TABLE memory_messages (
    session_id TEXT NOT NULL REFERENCES memory_sessions (id) ON DELETE CASCADE,
    n INTEGER NOT NULL,
    message TEXT NOT NULL,
    digest BLOB NOT NULL,
    tokens INTEGER NOT NULL,
    cut INTEGER NOT NULL,
    at_ns INTEGER NOT NULL,
    PRIMARY KEY (session_id, n)
) WITHOUT ROWID;
