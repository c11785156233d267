-- Whom news of an account concern. Building the index reads escrow_recipients once and holds its writers up meanwhile, not its readers;
-- with millions of escrows, build it beforehand with CREATE INDEX CONCURRENTLY (the same name), and this file finds it.

-- Of an account that has been paid a million times only those count that may still be paid.
CREATE INDEX IF NOT EXISTS escrow_recipients_to_tell ON escrow_recipients (account) WHERE status NOT IN ('paid', 'reversed', 'returned');
