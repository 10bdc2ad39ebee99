CREATE TABLE budgets (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    scope TEXT NOT NULL DEFAULT '{}',
    limit_nano INTEGER NOT NULL,
    period TEXT NOT NULL,
    rolling INTEGER NOT NULL DEFAULT 0,
    timezone TEXT NOT NULL DEFAULT 'UTC',
    action TEXT NOT NULL DEFAULT 'block',
    warn_at_pct TEXT NOT NULL DEFAULT '[50,80,100]',
    enabled INTEGER NOT NULL DEFAULT 1,
    created_at_ns INTEGER NOT NULL,
    updated_at_ns INTEGER NOT NULL,
    reset_at_ns INTEGER NOT NULL DEFAULT 0
);

-- What calls cost, summed by minute and by whom a budget can name; folded from the journal with the traces, and kept
-- longer than they are, so that no period is forgotten.
CREATE TABLE spend (
    minute INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    team TEXT NOT NULL,
    project TEXT NOT NULL,
    user TEXT NOT NULL,
    model TEXT NOT NULL,
    tags TEXT NOT NULL,
    cost_nano INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (minute, key_id, team, project, user, model, tags)
) WITHOUT ROWID;
