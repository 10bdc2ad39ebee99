-- Series of calls: several rows may exist for one bucket and series; readers add them up.
CREATE TABLE call_statistics (
    resolution_s INTEGER NOT NULL,
    start_s INTEGER NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    team_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    project TEXT NOT NULL,
    calls INTEGER NOT NULL,
    tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    tokens_cached INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    saved_nano INTEGER NOT NULL,
    outcomes BLOB NOT NULL,
    errors BLOB NOT NULL,
    latency_us BLOB NOT NULL,
    ttft_us BLOB NOT NULL,
    overhead_us BLOB NOT NULL
);

CREATE INDEX call_statistics_by_time ON call_statistics (resolution_s, start_s);
