-- Answers that were recorded, by the hash of their request. `body` is a whole answer, `events` a stream's bytes; one may be empty.
CREATE TABLE mock_recordings (
    key           TEXT PRIMARY KEY,
    kind          TEXT NOT NULL,
    model         TEXT NOT NULL,
    body          BLOB NOT NULL,
    events        BLOB NOT NULL,
    native        TEXT NOT NULL,
    recorded_at_ns INTEGER NOT NULL
) STRICT;
