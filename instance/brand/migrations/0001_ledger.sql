-- The hash-chained ledger. `created_at` is RFC 3339 with microseconds and `detail` RFC 8785 JSON, both exactly as hashed.
-- AUTOINCREMENT remembers the highest `seq` ever given, so that entries dropped from the end leave a gap too.
CREATE TABLE ledger (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    created_at TEXT NOT NULL,
    event_type TEXT NOT NULL,
    actor      TEXT NOT NULL,
    resource   TEXT NOT NULL,
    action     TEXT NOT NULL,
    detail     TEXT NOT NULL,
    trace_id   TEXT,
    prev_hash  BLOB NOT NULL,
    hash       BLOB NOT NULL
) STRICT;

CREATE INDEX ledger_trace_id ON ledger (trace_id) WHERE trace_id IS NOT NULL;

-- Calls are nearly all entries; what is not a call is found through these, which cost a call nothing.
CREATE INDEX ledger_event_type ON ledger (event_type) WHERE event_type <> 'proxy_request';
CREATE INDEX ledger_actor ON ledger (actor) WHERE event_type <> 'proxy_request';

-- The Ed25519 keys that sign the head; the private half is sealed under the instance's secret key.
CREATE TABLE ledger_signing_keys (
    id             INTEGER PRIMARY KEY,
    created_at_ns  INTEGER NOT NULL,
    public_key     BLOB NOT NULL,
    sealed_private BLOB NOT NULL
) STRICT;
