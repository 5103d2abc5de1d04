-- The index of what is queued, beside the rows: how many, and sums that any turned bit changes.

-- name: queued_rows
SELECT count(*), total(lane), total(id) FROM delivery NOT INDEXED WHERE state = 0;

-- name: queued_index
SELECT count(*), total(lane), total(id) FROM delivery INDEXED BY delivery_queued WHERE state = 0;

-- name: rebuild_queued_index
REINDEX delivery_queued;
