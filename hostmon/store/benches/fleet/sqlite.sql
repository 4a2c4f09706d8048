-- The fleet of postgres.sql, without its strangers.
WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 1000)
INSERT INTO host (id, machine_type, model, serial) SELECT n, 'QEMU', 'q35', printf('%06d', n) FROM s;
WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 2000)
INSERT INTO host_monitor (id, uuid, host_id, trunk, heartbeat_at, state, mode)
SELECT n, printf('ffffffff-0000-0000-0000-%012d', n), 1 + n % 1000, 'trunkA', :now, 'UP', 'GLOBAL' FROM s;
WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < :vms)
INSERT INTO vm (id, uuid, name, host_id, state, state_changed_at, silence_from, state_sequence)
SELECT n, printf('00000000-0000-0000-0000-%012d', n), 'vm' || n, 1 + n % 1000, 'STARTED', 1, 1,
       CASE WHEN n % (:vms / 100) = 1 THEN n END FROM s;
INSERT INTO path (vm_id, host_monitor_id, mac, version, counted, beating, missing_since, heard_at)
SELECT v.id, m.id, '02:00:00:00:00:01', '2.1', 1, 1, CASE WHEN v.id % (:vms / 100) = 0 THEN :now - 60000000 END, 1
FROM vm v JOIN host_monitor m ON m.host_id = v.host_id;
INSERT INTO doorbell (vm_id, bit, sequence) SELECT id, 1, id FROM vm WHERE id <= 100;
