-- Roles of the health store on PostgreSQL, each with what its programs need and nothing more.
--
-- Run in the store's database, by its owner with CREATEROLE or by a superuser, after the schema was made and again after
-- each upgrade; again is no error:
--
--   psql -v ON_ERROR_STOP=1 -d vmpulse -f roles.sql
--
-- Neither role may log in: make a user for each daemon, a member of one of them
-- (CREATE ROLE host17 LOGIN PASSWORD '...' IN ROLE vmpulse_hostmon).

BEGIN;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'vmpulse_hostmon') THEN
        CREATE ROLE vmpulse_hostmon NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'vmpulse_controller') THEN
        CREATE ROLE vmpulse_controller NOLOGIN;
    END IF;
END
$$;

REVOKE ALL ON SCHEMA vmpulse FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA vmpulse FROM PUBLIC, vmpulse_hostmon, vmpulse_controller;
GRANT USAGE ON SCHEMA vmpulse TO vmpulse_hostmon, vmpulse_controller;

SET LOCAL search_path = vmpulse;
GRANT SELECT ON schema_version TO vmpulse_hostmon, vmpulse_controller;

-- Host monitors: vmpulse-hostmond. Their own row, what they see and hear, and the states that follow from it; no settings, no
-- registration, no events.
GRANT SELECT, UPDATE (change_sequence) ON cluster TO vmpulse_hostmon;
GRANT SELECT ON host, removed_vm TO vmpulse_hostmon;
GRANT SELECT, INSERT (uuid), UPDATE (trunk, mac, vlan, incarnation, versions, heartbeat_interval_us, heartbeat_at, state,
    reason, mode, blind, isolated, unknown_from, written_up_to, settings_version) ON host_monitor TO vmpulse_hostmon;
GRANT SELECT ON monitor_settings TO vmpulse_hostmon;
GRANT SELECT, UPDATE (state, state_changed_at, state_sequence, silence_from, suspended_by_administrator, shutdown,
    suspended_at, state_before_suspension, suspension_at, suspension_by, shutdown_at, shutdown_by, agent_seen_at,
    quiet_ended_at) ON vm TO vmpulse_hostmon;
GRANT SELECT, INSERT, UPDATE ON path, doorbell TO vmpulse_hostmon;
GRANT SELECT, INSERT, DELETE ON node_event, discovered, conflict, quiet_refusal, mode_change TO vmpulse_hostmon;
GRANT SELECT, INSERT, UPDATE, DELETE ON quiet TO vmpulse_hostmon;
GRANT SELECT, UPDATE, DELETE ON message TO vmpulse_hostmon;
GRANT SELECT, DELETE ON request TO vmpulse_hostmon;
GRANT SELECT, UPDATE (state, settled_at) ON progress TO vmpulse_hostmon;
-- A VM that is REMOVING goes when the last of its host monitors has answered, which that one writes.
GRANT DELETE ON vm TO vmpulse_hostmon;
GRANT SELECT, INSERT, UPDATE (removed_at) ON removed_vm TO vmpulse_hostmon;

-- Controllers, and whoever administers: vmpulse-controllerd, hamgr, hmmgr passthru. They register, set and ask; what host
-- monitors see they read and acknowledge.
GRANT SELECT, UPDATE ON cluster TO vmpulse_controller;
GRANT SELECT, INSERT, UPDATE (host_group), DELETE ON host TO vmpulse_controller;
-- A last heartbeat that a clock which was set back left in the future they set to now.
GRANT SELECT, INSERT (uuid), UPDATE (host_id, part_number, registered_mac, heartbeat_at, state, reason, mode, settings_version),
    DELETE ON host_monitor TO vmpulse_controller;
GRANT SELECT, INSERT, UPDATE, DELETE ON vm, path TO vmpulse_controller;
GRANT SELECT, DELETE ON doorbell TO vmpulse_controller;
GRANT SELECT, INSERT, UPDATE (removed_at), DELETE ON removed_vm TO vmpulse_controller;
GRANT SELECT, INSERT, UPDATE, DELETE ON application, request, progress, message, discovered, event, controller,
    monitor_settings TO vmpulse_controller;
GRANT SELECT, DELETE, UPDATE (told) ON quiet, quiet_refusal, mode_change TO vmpulse_controller;
GRANT SELECT, DELETE, UPDATE (acknowledged_at) ON conflict TO vmpulse_controller;
GRANT SELECT, INSERT, DELETE, UPDATE (acknowledged_at) ON node_event TO vmpulse_controller;

COMMIT;
