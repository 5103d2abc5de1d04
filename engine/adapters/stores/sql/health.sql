-- The index of what is queued, beside the rows: how many, and sums that any turned bit changes.

-- name: queued_rows
-- Behind that, the same of the indexes of lanes with keys: how many have one, what waits, and what is urgent.
SELECT count(*), total(lane), total(id),
  count(key), total(next_at_us > 0), total(next_at_us), total(urgent = 1), total(id * (urgent = 1))
FROM delivery NOT INDEXED WHERE state = 0;

-- name: queued_index
SELECT count(*), total(lane), total(id) FROM delivery INDEXED BY delivery_queued WHERE state = 0;

-- name: keyed_index
-- Each key beside that of its row.
SELECT
  (SELECT count(*) FROM delivery e INDEXED BY delivery_of_key CROSS JOIN delivery r NOT INDEXED ON r.id = e.id
    WHERE e.state = 0 AND e.key IS NOT NULL AND r.state = 0 AND r.key = e.key AND r.lane = e.lane),
  (SELECT count(*) FROM delivery INDEXED BY delivery_waiting WHERE state = 0 AND next_at_us > 0),
  (SELECT total(next_at_us) FROM delivery INDEXED BY delivery_waiting WHERE state = 0 AND next_at_us > 0),
  (SELECT count(*) FROM delivery INDEXED BY delivery_urgent WHERE state = 0 AND urgent = 1),
  (SELECT total(id) FROM delivery INDEXED BY delivery_urgent WHERE state = 0 AND urgent = 1);

-- name: rebuild_key_index
REINDEX delivery_of_key;

-- name: rebuild_waiting_index
REINDEX delivery_waiting;

-- name: rebuild_urgent_index
REINDEX delivery_urgent;

-- name: left_behind
-- What waits in a store of any schema: queued and held deliveries, messages that are held or not processed.
SELECT
  (SELECT count(*) FROM delivery WHERE state = 0),
  (SELECT count(*) FROM delivery WHERE (state = 2 OR state = 3) AND state = 2),
  (SELECT count(*) FROM message
    WHERE (state = 0 OR state = 3 OR state = 4 OR state = 5) AND (state = 0 OR state = 3));

-- name: rebuild_queued_index
REINDEX delivery_queued;
