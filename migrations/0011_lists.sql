-- Indexes for what waits to be sent back, and for whoever lists events. Building one reads each partition of billing_events once and holds its
-- writers up meanwhile, not its readers. With millions of archived events, build the same indexes on each partition beforehand
-- (docs/DATABASE.md says how).

-- What is to be sent back.
CREATE INDEX billing_events_released ON billing_events (created) WHERE read_again_at = '-infinity';
-- Lists by outcome, the last recorded first: of those that are rare. What is common is found soon enough in the order of recorded_at.
CREATE INDEX billing_events_rare ON billing_events (outcome, recorded_at DESC)
    WHERE outcome IN ('rejected', 'waiting', 'parked');
-- Lists by type.
CREATE INDEX billing_events_by_type ON billing_events (type, recorded_at DESC);
