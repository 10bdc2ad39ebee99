-- Tickets of calls that wait for people. `approvers` and `votes` are JSON.
CREATE TABLE approvals (
    id             TEXT PRIMARY KEY,
    status         TEXT NOT NULL,
    rule           TEXT NOT NULL,
    needed         INTEGER NOT NULL,
    approvers      TEXT NOT NULL,
    four_eyes      INTEGER NOT NULL,
    request_sha256 TEXT NOT NULL,
    trace_id       TEXT NOT NULL,
    key_id         TEXT NOT NULL,
    user_id        TEXT NOT NULL,
    team_id        TEXT NOT NULL,
    model          TEXT NOT NULL,
    remembers      TEXT NOT NULL,
    votes          TEXT NOT NULL,
    created_at_ns  INTEGER NOT NULL,
    expires_at_ns  INTEGER NOT NULL,
    decided_at_ns  INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX approvals_created ON approvals (created_at_ns);
CREATE INDEX approvals_pending ON approvals (request_sha256, key_id) WHERE status = 'pending';

-- What was approved once and for all: a team's use of a model, a system message by its digest.
CREATE TABLE approved_before (
    what           TEXT PRIMARY KEY,
    approval_id    TEXT NOT NULL,
    approved_at_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
