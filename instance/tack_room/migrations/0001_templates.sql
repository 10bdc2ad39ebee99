-- Named prompts. A version is never changed; a label says which versions it serves, and in which shares.
CREATE TABLE templates (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    tags TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('draft', 'active', 'archived')),
    created_at_ns INTEGER NOT NULL,
    updated_at_ns INTEGER NOT NULL
);

CREATE TABLE template_versions (
    template_id INTEGER NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    content TEXT NOT NULL,
    author TEXT NOT NULL,
    change_note TEXT NOT NULL,
    created_at_ns INTEGER NOT NULL,
    PRIMARY KEY (template_id, version)
);

CREATE TABLE template_labels (
    template_id INTEGER NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
    label TEXT NOT NULL,
    variants TEXT NOT NULL,
    updated_at_ns INTEGER NOT NULL,
    PRIMARY KEY (template_id, label)
) WITHOUT ROWID;

-- Calls of each version by day, in days since 1970.
CREATE TABLE template_days (
    template_id INTEGER NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    day INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (template_id, version, day)
) WITHOUT ROWID;
