-- A fleet: :vms VMs on 1,000 hosts with two host monitors each, each VM with two beating paths. In trouble: 100 silent VMs, 100
-- state changes, doorbells and strangers. For the tests of plans, and for benches/fleet.rs.
SET search_path = vmpulse;
INSERT INTO host (id, machine_type, model, serial) SELECT n, 'QEMU', 'q35', to_char(n, 'FM000000')
FROM generate_series(1, 1000) n;
INSERT INTO host_monitor (id, uuid, host_id, trunk, heartbeat_at, state, mode)
SELECT n, format('ffffffff-0000-0000-0000-%s', to_char(n, 'FM000000000000')), 1 + n % 1000, 'trunkA', :now, 'UP',
       'GLOBAL' FROM generate_series(1, 2000) n;
INSERT INTO vm (id, uuid, name, host_id, state, state_changed_at, silence_from, state_sequence)
SELECT n, format('00000000-0000-0000-0000-%s', to_char(n, 'FM000000000000')), 'vm' || n, 1 + n % 1000, 'STARTED', 1, 1,
       CASE WHEN n % (:vms / 100) = 1 THEN n END FROM generate_series(1, :vms) n;
INSERT INTO path (vm_id, host_monitor_id, mac, version, counted, beating, missing_since, heard_at)
SELECT n, 1 + n % 1000 + which * 1000, '02:00:00:00:00:01', '2.1', 1, 1,
       CASE WHEN n % (:vms / 100) = 0 THEN :now - 60000000 END, 1
FROM generate_series(1, :vms) n, generate_series(0, 1) which;
INSERT INTO doorbell (vm_id, bit, sequence) SELECT n, 1, n FROM generate_series(1, 100) n;
INSERT INTO discovered (host_monitor_id, uuid, mac, kind, sequence)
SELECT 1 + n % 2000, 'uuid' || n, 'mac', 'UNMANAGED', CASE WHEN n <= 100 THEN n END FROM generate_series(1, 20000) n;
INSERT INTO removed_vm SELECT 'removed' || n, 1 FROM generate_series(1, 20000) n;
UPDATE cluster SET change_sequence = 1000000;
ANALYZE;
