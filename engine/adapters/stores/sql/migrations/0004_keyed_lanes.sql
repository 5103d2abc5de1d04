-- Kept free: 0004 is the key and the priority of deliveries.
SELECT 1;
