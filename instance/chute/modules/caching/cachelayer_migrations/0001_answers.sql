CREATE TABLE cached_answers (
    key BLOB PRIMARY KEY,
    body BLOB NOT NULL,
    created_at_ns INTEGER NOT NULL,
    expires_at_ns INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    model TEXT NOT NULL,
    team TEXT NOT NULL
) WITHOUT ROWID;

CREATE INDEX cached_answers_by_expiry ON cached_answers (expires_at_ns);
