-- Order within a key: `key` is what `order_by` gave for the delivery (null where its destination had none), `urgent`
-- whether `priority` was true of it. Both are of the moment it was routed.
ALTER TABLE delivery ADD COLUMN key TEXT;
ALTER TABLE delivery ADD COLUMN urgent INTEGER NOT NULL DEFAULT 0;

-- What orders a lane ('' for none), and the first delivery that was stored under it: what came before it was not.
ALTER TABLE lane ADD COLUMN order_by TEXT NOT NULL DEFAULT '';
ALTER TABLE lane ADD COLUMN keyed_from INTEGER NOT NULL DEFAULT 0;
-- Of the last unclean stop of a lane with keys: what had an id up to this one and was queued then may have been sent.
ALTER TABLE lane ADD COLUMN doubt_upto INTEGER NOT NULL DEFAULT 0;
ALTER TABLE lane ADD COLUMN doubt_at_us INTEGER NOT NULL DEFAULT 0;

-- The first of a key, and what is behind it. Nothing of it is kept for lanes without keys. `state` is in these
-- indexes only so that they can be read without their rows.
CREATE INDEX delivery_of_key ON delivery (lane, key, state) WHERE state = 0 AND key IS NOT NULL;
-- What was tried and waits for its time: of a lane with keys, one for each key that is held up.
CREATE INDEX delivery_waiting ON delivery (lane, state, next_at_us) WHERE state = 0 AND next_at_us > 0;
CREATE INDEX delivery_urgent ON delivery (lane, state, urgent) WHERE state = 0 AND urgent = 1;
