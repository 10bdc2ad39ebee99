-- Streams as they left, replayed from their trace. `events` is deflated JSON: [[microseconds since the call's start, choices], …].
CREATE TABLE stream_captures (
    trace_id      TEXT PRIMARY KEY,
    created_at_ns INTEGER NOT NULL,
    team_id       TEXT NOT NULL,
    model         TEXT NOT NULL,
    truncated     INTEGER NOT NULL,
    done          INTEGER NOT NULL,
    events        BLOB NOT NULL
) STRICT;

CREATE INDEX stream_captures_by_age ON stream_captures (created_at_ns);
