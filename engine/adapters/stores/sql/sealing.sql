-- Encryption at rest: the store's keys.

-- name: sealing
SELECT store, state, progress FROM sealing WHERE id = 1;

-- name: set_up
INSERT INTO sealing (id, store, state, progress) VALUES (1, ?, ?, '');

-- name: set_state
UPDATE sealing SET state = ?, progress = ? WHERE id = 1;

-- name: forget_sealing
DELETE FROM sealing;

-- name: keys
SELECT number, key_id, wrapped, created_us, wrapped_us, used FROM sealing_key ORDER BY number;

-- name: insert_key
INSERT INTO sealing_key (number, key_id, wrapped, created_us, wrapped_us, used) VALUES (?, ?, ?, ?, ?, ?);

-- name: wrap_key
UPDATE sealing_key SET key_id = ?, wrapped = ?, wrapped_us = ? WHERE number = ?;

-- name: count_ahead
UPDATE sealing_key SET used = used + ? WHERE number = ?;

-- name: forget_key
DELETE FROM sealing_key WHERE number = ?;

-- name: forget_keys
DELETE FROM sealing_key;

-- name: set_search_secret
UPDATE key_setup SET secret = ? WHERE id = 1;

-- name: shadow_bodies
-- Bodies as one value each, opened. A view of the connection stands before the store's own, and may call its functions.
CREATE TEMP VIEW whole_body (id, bytes) AS
SELECT id, CASE WHEN length(bytes) > 0 THEN opened_body(id, bytes) ELSE ifnull(
  (SELECT CAST(group_concat(opened_piece(p.body, p.number, p.bytes), '') AS BLOB)
    FROM (SELECT body, number, bytes FROM main.body_piece WHERE body = b.id ORDER BY number) p), bytes) END
FROM main.body b;
