-- Stopping, removing, host groups and settings of host monitors, schema 4.

ALTER TABLE host ADD COLUMN host_group TEXT;
CREATE INDEX host_by_group ON host (host_group) WHERE host_group IS NOT NULL;

-- What the sequence was when the host was registered: an hsTag of an earlier host with the same id is not above it.
ALTER TABLE host ADD COLUMN created_sequence INTEGER NOT NULL DEFAULT 0;

-- What host monitors accept if nobody says otherwise of one of them or of their host, and the highest of it, which is
-- spoken with guests that can. `settings_version` grows with every change of settings.
ALTER TABLE cluster ADD COLUMN accepted_versions TEXT NOT NULL DEFAULT '2.0-2.1';
ALTER TABLE cluster ADD COLUMN running_version TEXT NOT NULL DEFAULT '2.1';
ALTER TABLE cluster ADD COLUMN settings_version INTEGER NOT NULL DEFAULT 0;

-- The settings that it said to be in force; 0: its own file's.
ALTER TABLE host_monitor ADD COLUMN settings_version INTEGER NOT NULL DEFAULT 0;

-- Settings of host monitors: of one, of those of a host, of all (the row with neither). What is said of one goes before
-- what is said of its host, that before what is said of all. NULL inherits.
CREATE TABLE monitor_settings (
    id INTEGER PRIMARY KEY,
    host_id INTEGER UNIQUE REFERENCES host (id) ON DELETE CASCADE,
    host_monitor_id INTEGER UNIQUE REFERENCES host_monitor (id) ON DELETE CASCADE,
    log_level TEXT,
    heartbeat_interval_ms INTEGER CHECK (heartbeat_interval_ms BETWEEN 100 AND 60000),
    store_heartbeat_interval_ms INTEGER CHECK (store_heartbeat_interval_ms BETWEEN 100 AND 60000),
    versions TEXT,
    -- When it was changed last, as a number of `cluster.settings_version`.
    version INTEGER NOT NULL,
    CHECK (host_id IS NULL OR host_monitor_id IS NULL)
) STRICT;

INSERT INTO monitor_settings (id, version) VALUES (1, 0);

-- Heartbeats were heard on it since the VM was registered: a VM is STARTED again when every such path beats.
ALTER TABLE path ADD COLUMN verified INTEGER NOT NULL DEFAULT 0 CHECK (verified IN (0, 1));
UPDATE path SET verified = beating;

-- VMs whose host monitors are still to answer.
CREATE INDEX vm_leaving ON vm (id) WHERE state IN ('STOPPING', 'REMOVING');

-- What became of the requests about VMs, by the tags that their callers were given: `request` holds only what is still
-- to be done. Texts, because it outlives what it is about. Bounded: the newest are kept.
CREATE TABLE progress (
    tag INTEGER PRIMARY KEY,
    action TEXT NOT NULL CHECK (action IN ('START_VM', 'STOP_VM', 'REMOVE_VM')),
    vm TEXT NOT NULL,
    host_monitor TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('ASKED', 'DONE', 'REPLACED', 'GIVEN_UP')),
    asked_at INTEGER NOT NULL,
    -- When it left ASKED.
    settled_at INTEGER
) STRICT;

CREATE INDEX progress_by_vm ON progress (vm, tag);
CREATE INDEX progress_open ON progress (tag) WHERE state = 'ASKED';
