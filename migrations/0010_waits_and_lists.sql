-- When the object of a thin event is to be read again, event by event; and indexes for whoever lists events.
-- Safe on a running system that is small. New columns are nullable, which rewrites no row, and beside the previous version nothing is lost:
-- what it sets aside has no time and is due at once. Building an index reads each partition of billing_events once and holds its writers up
-- meanwhile. With millions of archived events, build the same indexes on each partition beforehand (docs/DATABASE.md says how).

-- How often the object of a waiting event was read in vain, and when it is to be read again. '-infinity': what it waited for is known, and it
-- is to be sent back. 'infinity': it waits for a charge that was read and may not speak. NULL where there is nothing to look at.
ALTER TABLE billing_events ADD COLUMN IF NOT EXISTS read_failures integer CHECK (read_failures >= 0);
ALTER TABLE billing_events ADD COLUMN IF NOT EXISTS read_again_at timestamptz;
CREATE INDEX billing_events_released ON billing_events (created) WHERE read_again_at = '-infinity';

-- Lists by outcome, the last recorded first: of those that are rare. What is common is found soon enough in the order of recorded_at.
CREATE INDEX billing_events_rare ON billing_events (outcome, recorded_at DESC)
    WHERE outcome IN ('rejected', 'waiting', 'parked');
-- Lists by type.
CREATE INDEX billing_events_by_type ON billing_events (type, recorded_at DESC);
