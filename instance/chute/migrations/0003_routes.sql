-- Routes and aliases set through the API; those of stockyard.toml are not here.
CREATE TABLE routes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    pattern TEXT NOT NULL,
    path TEXT NOT NULL,
    targets TEXT NOT NULL,
    fallback TEXT NOT NULL,
    sticky INTEGER NOT NULL,
    hedge_after_ms INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    enabled INTEGER NOT NULL,
    created_at_ns INTEGER NOT NULL,
    updated_at_ns INTEGER NOT NULL
);
CREATE TABLE aliases (
    alias TEXT PRIMARY KEY,
    entry TEXT NOT NULL,
    created_at_ns INTEGER NOT NULL,
    updated_at_ns INTEGER NOT NULL
) WITHOUT ROWID;
