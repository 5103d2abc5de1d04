-- What messages are looked up by: kept by the one that writes, a block at a time.

-- name: setup
SELECT secret, unread FROM key_setup WHERE id = 1;

-- name: set_unread
UPDATE key_setup SET unread = ? WHERE id = 1;

-- name: set_keys
UPDATE message SET keys = v.column2 FROM (VALUES /*rows*/(?, ?)/*rows*/) AS v WHERE message.seq = v.column1;

-- name: count_block
SELECT count(*) FROM message WHERE seq >= ? AND seq < ?;

-- name: keys_of_block
SELECT seq, keys FROM message WHERE seq >= ? AND seq < ?;

-- name: forget_entries
DELETE FROM key_entry WHERE id >= ? AND id < ?;

-- name: insert_entries
INSERT INTO key_entry (id, entries, crc) VALUES /*rows*/(?, ?, ?)/*rows*/;

-- name: insert_block
INSERT INTO key_block (number, is_stale) VALUES (?, 0) ON CONFLICT (number) DO UPDATE SET is_stale = 0;

-- name: mark_stale
UPDATE key_block SET is_stale = 1 WHERE number IN (/*rows*/?/*rows*/);

-- name: stale_blocks
SELECT number FROM key_block INDEXED BY key_block_stale WHERE is_stale = 1 ORDER BY number DESC LIMIT ?;

-- name: blocks
SELECT number FROM key_block WHERE number >= ? AND number <= ? ORDER BY number DESC;

-- name: ends
-- The oldest and the newest message there is.
SELECT (SELECT min(seq) FROM message), (SELECT max(seq) FROM message);

-- name: bodies_upto
SELECT m.seq, c.name, b.bytes, m.crc FROM message m JOIN channel c ON c.id = m.channel LEFT JOIN whole_body b ON b.id = m.body
WHERE m.seq <= ? ORDER BY m.seq DESC LIMIT ?;

-- name: count_unread
SELECT count(*) FROM message WHERE seq <= ?;
