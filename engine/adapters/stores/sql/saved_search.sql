-- Searches that people keep by a name.

-- name: saved_searches
SELECT id, owner, name, is_shared, text, created_us, changed_us FROM saved_search WHERE owner = ?
UNION
SELECT id, owner, name, is_shared, text, created_us, changed_us FROM saved_search WHERE is_shared
ORDER BY 3, 2;

-- name: saved_search
SELECT id, owner, name, is_shared, text, created_us, changed_us FROM saved_search WHERE id = ?;

-- name: count_of_owner
SELECT count(*) FROM saved_search WHERE owner = ?;

-- name: save_search
INSERT INTO saved_search (id, owner, name, is_shared, text, created_us, changed_us)
VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (owner, name) DO NOTHING;

-- name: change_search
UPDATE OR IGNORE saved_search SET name = ?, is_shared = ?, changed_us = ? WHERE id = ?;

-- name: drop_search
DELETE FROM saved_search WHERE id = ?;
