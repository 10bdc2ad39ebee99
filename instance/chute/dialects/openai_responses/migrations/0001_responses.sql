-- Responses that were made here and may be continued by `previous_response_id`, and those that a provider keeps.
-- `owner` is `team:NAME` or `key:ID`; `provider` is empty for our own, whose `body` is sealed JSON `{"input", "response"}`;
-- a provider's has no body. `previous_id` is the response of ours that it continued.
CREATE TABLE responses (
    id            TEXT PRIMARY KEY,
    owner         TEXT NOT NULL,
    provider      TEXT NOT NULL,
    previous_id   TEXT NOT NULL,
    created_at_ns INTEGER NOT NULL,
    expires_at_ns INTEGER NOT NULL,
    size_bytes    INTEGER NOT NULL,
    body          BLOB NOT NULL
) STRICT;

CREATE INDEX responses_by_expiry ON responses (expires_at_ns, size_bytes);
