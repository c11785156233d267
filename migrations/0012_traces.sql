-- A column without a default or a constraint: no row is read or rewritten, and the previous version leaves it empty.

-- The W3C trace context of the request, event or command that wanted the call, so that the call is a part of its trace.
ALTER TABLE stripe_operations ADD COLUMN IF NOT EXISTS traceparent text;
