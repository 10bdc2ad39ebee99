-- The first definition of each tool that a team (or a key without one) offered, by SHA-256.
CREATE TABLE tool_pins (
    owner         TEXT NOT NULL,
    name          TEXT NOT NULL,
    digest        BLOB NOT NULL,
    pinned_at_ns  INTEGER NOT NULL,
    PRIMARY KEY (owner, name)
) STRICT, WITHOUT ROWID;
