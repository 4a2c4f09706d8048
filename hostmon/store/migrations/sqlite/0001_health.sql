-- The health store, schema 1.
--
-- Times are microseconds since the Unix epoch (UTC) of the store's own clock, in columns ending in `_at`,
-- `_since` or `_from`. UUIDs are lower-case text. STRICT tables: a value of the wrong type is refused.

-- One row: what holds for everything, and the store's counters.
CREATE TABLE cluster (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    host_failure_detection_time_s INTEGER NOT NULL CHECK (host_failure_detection_time_s BETWEEN 90 AND 600),
    vm_failure_detection_speed TEXT NOT NULL CHECK (vm_failure_detection_speed IN ('fast', 'normal', 'slow')),
    -- Grows with everything that is reported until it is acknowledged: doorbells, state changes, discoveries.
    -- An hsTag names the value up to which its answer reported.
    change_sequence INTEGER NOT NULL,
    -- Added to every hsTag, so that a tag of another store, or a made-up one, is recognised as unknown.
    tag_salt INTEGER NOT NULL
) STRICT;

INSERT INTO cluster (id, host_failure_detection_time_s, vm_failure_detection_speed, change_sequence, tag_salt)
VALUES (1, 90, 'normal', 0, random());

-- A managed system: one hypervisor, known by what its firmware says of it.
CREATE TABLE host (
    id INTEGER PRIMARY KEY,
    machine_type TEXT NOT NULL,
    model TEXT NOT NULL,
    serial TEXT NOT NULL,
    UNIQUE (machine_type, model, serial)
) STRICT;

-- One per trunk. Without a host: it started before it was registered; registering its host adopts it.
CREATE TABLE host_monitor (
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,
    host_id INTEGER REFERENCES host (id),
    part_number INTEGER NOT NULL DEFAULT 0,
    registered_mac TEXT,
    -- What it says of itself when it starts.
    trunk TEXT,
    mac TEXT,
    vlan INTEGER,
    incarnation TEXT,
    versions TEXT,
    heartbeat_interval_us INTEGER NOT NULL DEFAULT 30000000 CHECK (heartbeat_interval_us > 0),
    heartbeat_at INTEGER,
    state TEXT NOT NULL DEFAULT 'DOWN' CHECK (state IN ('UP', 'DOWN', 'REMOVED')),
    reason INTEGER NOT NULL DEFAULT 0,
    mode TEXT NOT NULL DEFAULT 'DOWN' CHECK (mode IN ('GLOBAL', 'LOCAL', 'DOWN')),
    -- It cannot hear its trunk reliably, so its paths are unknown.
    blind INTEGER NOT NULL DEFAULT 0 CHECK (blind IN (0, 1))
) STRICT;

CREATE INDEX host_monitor_by_host ON host_monitor (host_id, uuid);

CREATE TABLE vm (
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    host_id INTEGER NOT NULL REFERENCES host (id),
    state TEXT NOT NULL CHECK
        (state IN ('ADDED', 'STARTING', 'STARTED', 'STOPPING', 'STOPPED', 'REMOVING', 'SUSPENDED', 'UNKNOWN')),
    state_changed_at INTEGER NOT NULL,
    -- Set when the state changes, NULL once that was acknowledged.
    state_sequence INTEGER,
    -- Silence before this moment counts for nothing: monitoring started or went on again here.
    silence_from INTEGER NOT NULL,
    -- SUSPENDED is either of these two, or both; the administrator's outlives restarts.
    suspended_by_administrator INTEGER NOT NULL DEFAULT 0 CHECK (suspended_by_administrator IN (0, 1)),
    shutdown TEXT CHECK (shutdown IN ('DAEMON', 'OS')),
    suspended_at INTEGER,
    -- STARTING or STARTED: what the VM returns to when its suspension ends.
    state_before_suspension TEXT CHECK (state_before_suspension IN ('STARTING', 'STARTED')),
    agent_seen_at INTEGER,
    -- NULL inherits.
    heartbeat_interval_ms INTEGER CHECK (heartbeat_interval_ms BETWEEN 100 AND 60000),
    vm_failure_detection_speed TEXT CHECK (vm_failure_detection_speed IN ('fast', 'normal', 'slow')),
    vm_failure_detection_time_ms INTEGER CHECK (vm_failure_detection_time_ms >= 300),
    -- What the controller last said of it.
    phase TEXT NOT NULL DEFAULT '',
    -- Tag of the report that the rows of `application` are from; 0 before the first.
    report_tag INTEGER NOT NULL DEFAULT 0,
    reported_at INTEGER
) STRICT;

CREATE INDEX vm_by_host ON vm (host_id, state);
CREATE INDEX vm_state_change ON vm (state_sequence) WHERE state_sequence IS NOT NULL;

-- Pending doorbell bits. Each ring of a bit gives it a new sequence, so an acknowledgement clears only what
-- it had seen.
CREATE TABLE doorbell (
    vm_id INTEGER NOT NULL REFERENCES vm (id) ON DELETE CASCADE,
    bit INTEGER NOT NULL CHECK (bit BETWEEN 0 AND 31),
    sequence INTEGER NOT NULL,
    PRIMARY KEY (vm_id, bit)
) STRICT, WITHOUT ROWID;

-- VM x host monitor.
CREATE TABLE path (
    vm_id INTEGER NOT NULL REFERENCES vm (id) ON DELETE CASCADE,
    host_monitor_id INTEGER NOT NULL REFERENCES host_monitor (id) ON DELETE CASCADE,
    mac TEXT NOT NULL,
    version TEXT NOT NULL,
    -- Heard beating or missing at some time since monitoring of the VM was started. Others, though opened, say
    -- nothing about the VM.
    counted INTEGER NOT NULL CHECK (counted IN (0, 1)),
    -- Heartbeats came since it was opened, and come.
    beating INTEGER NOT NULL CHECK (beating IN (0, 1)),
    -- Arrival of the last heartbeat; NULL while heartbeats come.
    missing_since INTEGER,
    -- It fell silent together with most of its trunk.
    common INTEGER NOT NULL DEFAULT 0 CHECK (common IN (0, 1)),
    -- Last handshake or first heartbeat after a silence.
    heard_at INTEGER NOT NULL,
    PRIMARY KEY (vm_id, host_monitor_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX path_by_host_monitor ON path (host_monitor_id);
-- What needs attention is found here, so its cost follows those in trouble and not the fleet.
CREATE INDEX path_missing ON path (vm_id) WHERE missing_since IS NOT NULL AND counted = 1;

-- The last report of each application of each VM.
CREATE TABLE application (
    vm_id INTEGER NOT NULL REFERENCES vm (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    uuid TEXT NOT NULL,
    status TEXT NOT NULL,
    colour TEXT NOT NULL CHECK (colour IN ('GREEN', 'YELLOW', 'RED', 'GRAY')),
    critical INTEGER NOT NULL CHECK (critical IN (0, 1)),
    monitored INTEGER NOT NULL CHECK (monitored IN (0, 1)),
    max_restart INTEGER NOT NULL,
    restarted INTEGER NOT NULL,
    version TEXT NOT NULL,
    last_result TEXT NOT NULL,
    last_change_age_s INTEGER NOT NULL,
    PRIMARY KEY (vm_id, name)
) STRICT, WITHOUT ROWID;

-- Requests to host monitors (TRANSACTION is a word of SQL). One of each kind per VM and host monitor:
-- a newer one replaces the older.
CREATE TABLE request (
    tag INTEGER PRIMARY KEY AUTOINCREMENT,
    host_monitor_id INTEGER NOT NULL REFERENCES host_monitor (id) ON DELETE CASCADE,
    vm_id INTEGER NOT NULL REFERENCES vm (id) ON DELETE CASCADE,
    opcode TEXT NOT NULL CHECK (opcode IN ('RECONSIDER', 'ASK_REPORT', 'REPORT_TAKEN')),
    message_tag INTEGER CHECK ((message_tag IS NULL) = (opcode = 'RECONSIDER')),
    created_at INTEGER NOT NULL,
    UNIQUE (host_monitor_id, vm_id, opcode)
) STRICT;

CREATE INDEX request_by_vm ON request (vm_id);
CREATE INDEX request_by_age ON request (created_at);

-- Application-report exchanges: at most one per VM in each state, a newer one replaces the older.
CREATE TABLE message (
    tag INTEGER PRIMARY KEY AUTOINCREMENT,
    vm_id INTEGER NOT NULL REFERENCES vm (id) ON DELETE CASCADE,
    -- Who was asked; once it arrived: who received it.
    host_monitor_id INTEGER NOT NULL REFERENCES host_monitor (id) ON DELETE CASCADE,
    state TEXT NOT NULL CHECK (state IN ('ASKED', 'ARRIVED', 'TAKEN')),
    asked_at INTEGER NOT NULL,
    arrived_at INTEGER,
    -- The XML as the agent sent it; only while it waits to be taken.
    payload BLOB CHECK ((payload IS NOT NULL) = (state = 'ARRIVED')),
    UNIQUE (vm_id, state)
) STRICT;

CREATE INDEX message_by_state ON message (state, tag);

-- Adapter and node events of a host monitor, until acknowledged. Bounded per host monitor.
CREATE TABLE node_event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    host_monitor_id INTEGER NOT NULL REFERENCES host_monitor (id) ON DELETE CASCADE,
    happened_at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;

CREATE INDEX node_event_by_host_monitor ON node_event (host_monitor_id, id);

-- Guests that showed themselves and are not monitored VMs of the host they were seen on. Bounded per host
-- monitor: a flood of made-up guests replaces its own rows.
CREATE TABLE discovered (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    host_monitor_id INTEGER NOT NULL REFERENCES host_monitor (id) ON DELETE CASCADE,
    -- As it came, at most 64 bytes; lower case if it is a UUID.
    uuid TEXT NOT NULL,
    mac TEXT NOT NULL,
    -- Running version, if its handshake completed.
    version TEXT NOT NULL DEFAULT '',
    kind TEXT NOT NULL CHECK (kind IN ('MOVED', 'MANAGED', 'UNMANAGED', 'CANNOT_MANAGE')),
    -- NULL once it was acknowledged.
    sequence INTEGER,
    UNIQUE (host_monitor_id, uuid, mac)
) STRICT;

CREATE INDEX discovered_by_uuid ON discovered (uuid);
CREATE INDEX discovered_pending ON discovered (sequence) WHERE sequence IS NOT NULL;

-- Version conflicts, and UUIDs from two MACs. Bounded per host monitor.
CREATE TABLE conflict (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    host_monitor_id INTEGER NOT NULL REFERENCES host_monitor (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('VERSION', 'UUID')),
    uuid TEXT NOT NULL,
    mac TEXT NOT NULL,
    text TEXT NOT NULL,
    first_seen_at INTEGER NOT NULL,
    UNIQUE (host_monitor_id, kind, uuid, mac)
) STRICT;

CREATE INDEX conflict_by_uuid ON conflict (uuid, kind);

-- Tombstones: a late heartbeat does not bring a removed VM back.
CREATE TABLE removed_vm (
    uuid TEXT PRIMARY KEY,
    removed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What the controller found. An incident's key is unique while the incident is open.
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    recorded_at INTEGER NOT NULL,
    incident TEXT NOT NULL,
    open INTEGER NOT NULL CHECK (open IN (0, 1)),
    name TEXT NOT NULL,
    severity TEXT NOT NULL CHECK (severity IN ('Critical', 'Warning', 'Maintenance', 'Informational')),
    entity TEXT NOT NULL,
    resource TEXT NOT NULL,
    description TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX event_open_incident ON event (incident) WHERE open = 1;

-- Controllers, by host name.
CREATE TABLE controller (
    name TEXT PRIMARY KEY,
    pid INTEGER NOT NULL,
    version TEXT NOT NULL,
    poll_interval_ms INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
