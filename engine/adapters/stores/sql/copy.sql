-- Copies of a store, and the way back from one.

-- name: facts
SELECT (SELECT count(*) FROM message), ifnull((SELECT min(seq) FROM message), 0), ifnull((SELECT max(seq) FROM message), 0),
  ifnull((SELECT received_at_us FROM message ORDER BY seq DESC LIMIT 1), 0),
  (SELECT count(*) FROM delivery INDEXED BY delivery_queued WHERE state = 0),
  (SELECT count(*) FROM delivery INDEXED BY delivery_aside WHERE (state = 2 OR state = 3) AND state = 2);

-- name: mark_queued
-- All of it may have been sent after the copy was made.
UPDATE delivery SET maybe_sent = 1, row_crc = row_crc + ((1 - maybe_sent) << 40) WHERE state = 0;

-- name: skip_seqs
INSERT INTO meta (key, value)
SELECT 'last_seq', ? + max(ifnull((SELECT max(seq) FROM message), 0),
  ifnull((SELECT value FROM meta WHERE key = 'last_seq'), 0))
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: skip_deliveries
INSERT INTO meta (key, value)
SELECT 'last_delivery', ? + max(ifnull((SELECT max(id) FROM delivery), 0),
  ifnull((SELECT value FROM meta WHERE key = 'last_delivery'), 0))
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: skip_bodies
INSERT INTO meta (key, value)
SELECT 'last_body', ? + max(ifnull((SELECT max(id) FROM body), 0),
  ifnull((SELECT value FROM meta WHERE key = 'last_body'), 0))
ON CONFLICT (key) DO UPDATE SET value = excluded.value;
