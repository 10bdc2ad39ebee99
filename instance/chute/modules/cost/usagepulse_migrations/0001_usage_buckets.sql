-- What calls used, by period, dimension and value: each period of each resolution is complete by itself.
CREATE TABLE usage_buckets (
    resolution_s     INTEGER NOT NULL,
    start_s          INTEGER NOT NULL,
    dimension        TEXT NOT NULL,
    value            TEXT NOT NULL,
    requests         INTEGER NOT NULL,
    errors           INTEGER NOT NULL,
    blocked          INTEGER NOT NULL,
    estimated        INTEGER NOT NULL,
    tokens_in        INTEGER NOT NULL,
    tokens_out       INTEGER NOT NULL,
    tokens_cached    INTEGER NOT NULL,
    tokens_reasoning INTEGER NOT NULL,
    cost_nano        INTEGER NOT NULL,
    saved_nano       INTEGER NOT NULL,
    PRIMARY KEY (resolution_s, dimension, start_s, value)
) STRICT, WITHOUT ROWID;

-- Up to which call everything is counted; `active` is 0 while the module is off.
CREATE TABLE usage_position (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    n      INTEGER NOT NULL,
    active INTEGER NOT NULL
) STRICT;

INSERT INTO usage_position (one, n, active) VALUES (1, 0, 0);
