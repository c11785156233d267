-- When the object of a thin event is to be read again, event by event.
-- Safe on a running system: new columns are nullable, which rewrites no row. Beside the previous version nothing is lost: what it sets
-- aside has no time and is due at once.

-- How often the object of a waiting event was read in vain, and when it is to be read again. NULL where no object is waited for.
ALTER TABLE billing_events ADD COLUMN read_failures integer CHECK (read_failures >= 0);
ALTER TABLE billing_events ADD COLUMN read_again_at timestamptz;
