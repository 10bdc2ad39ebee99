-- Calls of each calendar month (UTC) that a plan's quota counts; folded from the journal with the traces.
CREATE TABLE quota_months (
    starts_minute INTEGER PRIMARY KEY,
    calls INTEGER NOT NULL
);
