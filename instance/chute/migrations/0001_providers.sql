-- Providers set through the API. NULL: what the configuration or the bundled table says. The key is sealed.
CREATE TABLE providers (
    name TEXT PRIMARY KEY,
    type TEXT,
    base_url TEXT,
    api_key_sealed BLOB,
    auth TEXT,
    headers TEXT,
    models TEXT,
    region TEXT,
    priority INTEGER,
    timeout_s REAL,
    enabled INTEGER,
    created_at_ns INTEGER NOT NULL,
    updated_at_ns INTEGER NOT NULL
) WITHOUT ROWID;
