-- What the fakes are chosen by when the settings name no secret; sealed.
CREATE TABLE mask_secret (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    sealed BLOB NOT NULL
);
