-- Which target each session stays at; the session is a digest.
CREATE TABLE pinned_sessions (
    session BLOB PRIMARY KEY,
    target TEXT NOT NULL,
    key_name TEXT NOT NULL,
    used_at_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX pinned_sessions_by_use ON pinned_sessions (used_at_ns);
