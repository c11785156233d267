-- When the object of a thin event is to be read again, event by event. New columns without a constraint: no row is read or rewritten, and
-- beside the previous version nothing is lost: what it sets aside has no time and is due at once.

-- How often the object of a waiting event was read in vain, and when it is to be read again. '-infinity': what it waited for is known, and it
-- is to be sent back. 'infinity': it waits for a charge that was read and may not speak. NULL where there is nothing to look at.
ALTER TABLE billing_events ADD COLUMN IF NOT EXISTS read_failures integer;
ALTER TABLE billing_events ADD COLUMN IF NOT EXISTS read_again_at timestamptz;
