-- What was changed through the API: only what differs from the defaults and the configuration file.
CREATE TABLE modules (
    name TEXT PRIMARY KEY,
    enabled INTEGER,
    config TEXT NOT NULL DEFAULT '{}',
    priority REAL,
    updated_at_ns INTEGER NOT NULL
) WITHOUT ROWID;
