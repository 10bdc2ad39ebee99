-- One row for each call, in the order of instance/lookout/call_columns.py. `n` is the order of recording.
CREATE TABLE traces (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    parent_id TEXT NOT NULL,
    otel_trace_id TEXT NOT NULL,
    otel_span_id TEXT NOT NULL,
    service TEXT NOT NULL,
    operation TEXT NOT NULL,
    source TEXT NOT NULL,
    dialect_in TEXT NOT NULL,
    dialect_out TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    model_requested TEXT NOT NULL,
    status TEXT NOT NULL,
    http_status INTEGER NOT NULL,
    error_code TEXT NOT NULL,
    error_message TEXT NOT NULL,
    error_module TEXT NOT NULL,
    stream INTEGER NOT NULL,
    created_at_ns INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    ttft_us INTEGER,
    upstream_us INTEGER NOT NULL,
    overhead_us INTEGER NOT NULL,
    tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    tokens_cached INTEGER NOT NULL,
    tokens_reasoning INTEGER NOT NULL,
    usage_source TEXT NOT NULL,
    cost_nano INTEGER NOT NULL,
    saved_nano INTEGER NOT NULL,
    cache TEXT NOT NULL,
    attempts_count INTEGER NOT NULL,
    project TEXT NOT NULL,
    user_id TEXT NOT NULL,
    team_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    key_name TEXT NOT NULL,
    session_id TEXT NOT NULL,
    client_ip TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    bytes_out INTEGER NOT NULL,
    modules_active INTEGER NOT NULL,
    decisions_count INTEGER NOT NULL,
    safety_count INTEGER NOT NULL,
    detail TEXT NOT NULL,
    ledger_seq INTEGER
) STRICT;

CREATE UNIQUE INDEX traces_id ON traces (id);
CREATE INDEX traces_created ON traces (created_at_ns);
CREATE INDEX traces_key ON traces (key_id, created_at_ns);
CREATE INDEX traces_model ON traces (model, created_at_ns);

-- Found by few calls, so most calls pay nothing for them. A request id that was made here is the trace's id again.
CREATE INDEX traces_failed ON traces (created_at_ns) WHERE status NOT IN ('ok', 'cache_hit');
CREATE INDEX traces_safety ON traces (created_at_ns) WHERE safety_count > 0;
CREATE INDEX traces_session ON traces (session_id, created_at_ns) WHERE session_id <> '';
CREATE INDEX traces_request ON traces (request_id) WHERE request_id <> 'req_' || substr(id, 4);
CREATE INDEX traces_project ON traces (project, created_at_ns) WHERE project <> 'default';
CREATE INDEX traces_team ON traces (team_id, created_at_ns) WHERE team_id <> '';

-- Texts of the trace with the same `n`, kept only when captured. A text shorter than its size is deflated (zlib). Whoever
-- deletes traces deletes these too: a foreign key would cost a look-up for each call.
CREATE TABLE trace_bodies (
    n             INTEGER PRIMARY KEY,
    request       BLOB NOT NULL,
    request_size  INTEGER NOT NULL,
    response      BLOB NOT NULL,
    response_size INTEGER NOT NULL
) STRICT;

-- Sums by hour, from which costs and overviews are read without walking the calls.
CREATE TABLE trace_hours (
    hour          INTEGER NOT NULL,
    provider      TEXT NOT NULL,
    model         TEXT NOT NULL,
    project       TEXT NOT NULL,
    team_id       TEXT NOT NULL,
    user_id       TEXT NOT NULL,
    key_id        TEXT NOT NULL,
    requests      INTEGER NOT NULL,
    errors        INTEGER NOT NULL,
    cache_hits    INTEGER NOT NULL,
    tokens_in     INTEGER NOT NULL,
    tokens_out    INTEGER NOT NULL,
    cost_nano     INTEGER NOT NULL,
    saved_nano    INTEGER NOT NULL,
    duration_us   INTEGER NOT NULL,
    PRIMARY KEY (hour, provider, model, project, team_id, user_id, key_id)
) STRICT, WITHOUT ROWID;
