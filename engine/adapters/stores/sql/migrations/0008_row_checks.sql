-- Checksums over what stands in a row beside the bytes (engine/adapters/stores/row_checks.py). Null: a row from
-- before this step, which nothing is known of.
ALTER TABLE message ADD COLUMN row_crc INTEGER;
ALTER TABLE delivery ADD COLUMN row_crc INTEGER;
