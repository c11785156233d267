-- What waits is found by what it waits for, and by why.
-- Safe on a running system that is small. Building an index reads each partition of billing_events once and holds its writers up
-- meanwhile, although only waiting events get an entry. With millions of archived events, build the same indexes on each partition
-- beforehand, outside of a transaction, and this file only attaches them (docs/DATABASE.md says how).
CREATE INDEX billing_events_waiting_for ON billing_events USING gin (waiting_for) WHERE waiting_for IS NOT NULL;
CREATE INDEX billing_events_waiting ON billing_events (reason) WHERE status = 'waiting';
