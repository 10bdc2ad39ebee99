-- Judgements of answers. `rating` is as it was given on its `scale` (thumbs -1..1, or 1..5), `score` the same from -1 to 1; `tags` is
-- JSON. One row for each trace and rater; a token's digest makes it work once.
CREATE TABLE feedback (
    id            TEXT PRIMARY KEY,
    trace_id      TEXT NOT NULL,
    request_id    TEXT NOT NULL,
    answer_id     TEXT NOT NULL,
    rater         TEXT NOT NULL,
    source        TEXT NOT NULL,
    user_email    TEXT NOT NULL,
    key_id        TEXT NOT NULL,
    team_id       TEXT NOT NULL,
    provider      TEXT NOT NULL,
    model         TEXT NOT NULL,
    template      TEXT NOT NULL,
    experiment    TEXT NOT NULL,
    variant       TEXT NOT NULL,
    rule          TEXT NOT NULL,
    rating        INTEGER NOT NULL,
    scale         INTEGER NOT NULL,
    score         REAL NOT NULL,
    tags          TEXT NOT NULL,
    comment       TEXT NOT NULL,
    correction    TEXT NOT NULL,
    review        TEXT NOT NULL,
    note          TEXT NOT NULL DEFAULT '',
    created_at_ns INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX feedback_rater ON feedback (trace_id, rater);
CREATE INDEX feedback_created ON feedback (created_at_ns);
CREATE INDEX feedback_model ON feedback (model, created_at_ns);
CREATE INDEX feedback_review ON feedback (created_at_ns) WHERE review = 'open';

CREATE TABLE feedback_tokens_used (
    digest        BLOB PRIMARY KEY,
    expires_at_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
