-- Users, sessions and API tokens.

-- name: users
SELECT name, password, grants, must_change, until_us, is_disabled, created_us, changed_us FROM user ORDER BY name;

-- name: user
SELECT name, password, grants, must_change, until_us, is_disabled, created_us, changed_us FROM user WHERE name = ?;

-- name: add_user
INSERT INTO user (name, password, grants, must_change, until_us, is_disabled, created_us, changed_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING;

-- name: set_password
UPDATE user SET password = ?, must_change = ?, until_us = ?, changed_us = ?
WHERE name = ? AND (? = '' OR password = ?);

-- name: has_password
SELECT 1 FROM user WHERE name = ? AND password = ? AND NOT is_disabled;

-- name: set_grants
UPDATE user SET grants = ?, changed_us = ? WHERE name = ?;

-- name: set_disabled
UPDATE user SET is_disabled = ?, changed_us = ? WHERE name = ?;

-- name: session
SELECT hash, user, created_us, seen_us, until_us, address FROM session WHERE hash = ?;

-- name: sessions
SELECT hash, user, created_us, seen_us, until_us, address FROM session WHERE user = ? ORDER BY created_us, hash;

-- name: open_session
INSERT INTO session (hash, user, created_us, seen_us, until_us, address) VALUES (?, ?, ?, ?, ?, ?);

-- name: seen_session
UPDATE session SET seen_us = ? WHERE hash = ?;

-- name: close_session
DELETE FROM session WHERE hash = ?;

-- name: close_sessions
DELETE FROM session WHERE user = ? AND hash <> ?;

-- name: forget_ended_sessions
DELETE FROM session WHERE until_us <= ?;

-- name: forget_oldest_sessions
DELETE FROM session WHERE hash IN
  (SELECT hash FROM session WHERE user = ? ORDER BY created_us DESC, hash LIMIT -1 OFFSET ?);

-- name: tokens
SELECT name, hash, grants, created_us, created_by, until_us, is_revoked FROM api_token ORDER BY name;

-- name: token
SELECT name, hash, grants, created_us, created_by, until_us, is_revoked FROM api_token WHERE hash = ?;

-- name: add_token
INSERT INTO api_token (name, hash, grants, created_us, created_by, until_us, is_revoked)
VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING;

-- name: revoke_token
UPDATE api_token SET is_revoked = 1 WHERE name = ?;

-- name: audit_sent
SELECT last FROM audit_sent;

-- name: set_audit_sent
INSERT INTO audit_sent (id, last) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET last = max(last, excluded.last);

-- name: second_factor
SELECT user, secret, last_step, recovery, created_us FROM second_factor WHERE user = ?;

-- name: set_second_factor
INSERT INTO second_factor (user, secret, last_step, recovery, created_us) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (user) DO NOTHING;

-- name: use_step
UPDATE second_factor SET last_step = ? WHERE user = ? AND last_step < ?;

-- name: set_recovery
UPDATE second_factor SET recovery = ? WHERE user = ?;

-- name: clear_second_factor
DELETE FROM second_factor WHERE user = ?;
