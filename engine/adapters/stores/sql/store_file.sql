-- The file of a store, looked at beside whoever writes it.

-- name: application_id
PRAGMA application_id;

-- name: user_version
PRAGMA user_version;

-- name: page_count
PRAGMA page_count;

-- name: page_size
PRAGMA page_size;

-- name: freelist_count
PRAGMA freelist_count;

-- name: auto_vacuum
PRAGMA auto_vacuum;

-- name: quick_check
PRAGMA quick_check(1);

-- name: integrity_check
PRAGMA integrity_check(1);

-- name: newest_received
SELECT received_at_us FROM message ORDER BY seq DESC LIMIT 1;
