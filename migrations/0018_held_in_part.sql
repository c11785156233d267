-- What went back or was lost of escrows that are held, for the gauge of what is. Building these indexes reads both tables once and holds
-- their writers up meanwhile, not their readers; with millions of escrows, build them beforehand with CREATE INDEX CONCURRENTLY (the same
-- names), and this file finds them.
CREATE INDEX IF NOT EXISTS escrow_transactions_held_in_part ON escrow_transactions (currency)
    WHERE status = 'held' AND (captured < amount OR refunded_told > 0 OR refunded_outside > 0 OR refunded_ours <> '{}');
CREATE INDEX IF NOT EXISTS escrow_disputes_lost ON escrow_disputes (escrow_id) WHERE stage = 'lost';
