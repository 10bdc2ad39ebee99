-- What an agent's session has used and whether it was stopped; the session's name stands beside its digest for people.
CREATE TABLE agent_sessions (
    id TEXT PRIMARY KEY,
    used_at_ns INTEGER NOT NULL,
    state TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX agent_sessions_by_use ON agent_sessions (used_at_ns);
