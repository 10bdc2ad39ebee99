-- Evidence packs; their files lie in the data folder under evidence/ID.zip. `include` and `manifest` are JSON.
CREATE TABLE evidence_packs (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    description   TEXT NOT NULL,
    include       TEXT NOT NULL,
    filter        TEXT NOT NULL,
    date_from     TEXT NOT NULL,
    date_to       TEXT NOT NULL,
    event_count   INTEGER NOT NULL DEFAULT 0,
    first_seq     INTEGER NOT NULL DEFAULT 0,
    last_seq      INTEGER NOT NULL DEFAULT 0,
    hash          TEXT NOT NULL DEFAULT '',
    size_bytes    INTEGER NOT NULL DEFAULT 0,
    manifest      TEXT NOT NULL DEFAULT '[]',
    status        TEXT NOT NULL,
    error         TEXT NOT NULL DEFAULT '',
    created_at_ns INTEGER NOT NULL,
    created_by    TEXT NOT NULL
) STRICT;
