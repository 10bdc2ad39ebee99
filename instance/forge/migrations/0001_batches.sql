-- Work that may wait. Bodies and answers are sealed under the instance's key; a body is gone once its job has ended.
CREATE TABLE batches (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    priority INTEGER NOT NULL,
    single INTEGER NOT NULL,
    team TEXT NOT NULL,
    key_id TEXT NOT NULL,
    client_ip TEXT NOT NULL,
    total INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    concurrency INTEGER NOT NULL,
    max_cost_nano INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL DEFAULT 0,
    callback_url TEXT NOT NULL DEFAULT '',
    callback_secret BLOB NOT NULL DEFAULT x'',
    callback_due INTEGER NOT NULL DEFAULT 0,
    paused INTEGER NOT NULL DEFAULT 0,
    created_at_ns INTEGER NOT NULL,
    started_at_ns INTEGER NOT NULL DEFAULT 0,
    completed_at_ns INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX batches_by_time ON batches (created_at_ns DESC);
CREATE INDEX batches_open ON batches (status) WHERE status IN ('queued', 'running');
CREATE TABLE batch_jobs (
    batch_id TEXT NOT NULL,
    n INTEGER NOT NULL,
    custom_id TEXT NOT NULL,
    path TEXT NOT NULL,
    model TEXT NOT NULL,
    headers TEXT NOT NULL,
    body BLOB,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    lease_until_ns INTEGER NOT NULL DEFAULT 0,
    http_status INTEGER NOT NULL DEFAULT 0,
    answer BLOB,
    trace_id TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (batch_id, n)
) WITHOUT ROWID;
CREATE INDEX batch_jobs_open ON batch_jobs (batch_id, n) WHERE status IN ('queued', 'running');
