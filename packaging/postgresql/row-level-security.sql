-- Optional: the server itself sees to it that each host monitor writes its own rows only. Without it that is what the
-- programs do, and nothing stops a host that was broken into. What it enforces, and what not: docs/operating/postgresql.md.
--
-- After roles.sql, in the store's database, by the schema's owner or a superuser, and again after each upgrade:
--
--   psql -v ON_ERROR_STOP=1 -d vmpulse -f row-level-security.sql
--
-- Every host monitor needs a row here before it can write (uuid: `uuid` in hostmon.toml, `hmmgr status`); the monitors of
-- one host may share a login:
--
--   INSERT INTO vmpulse.host_monitor_login (host_monitor, login) VALUES ('5ac3e0dc-...', 'host17');

BEGIN;

SET LOCAL search_path = vmpulse, pg_temp;
SET LOCAL client_min_messages = warning;

CREATE TABLE IF NOT EXISTS host_monitor_login (
    host_monitor TEXT COLLATE "C" PRIMARY KEY,
    login NAME NOT NULL
);
REVOKE ALL ON host_monitor_login FROM PUBLIC, vmpulse_hostmon, vmpulse_controller;

-- Whoever logged in, not the role that is set: that can be changed.
CREATE OR REPLACE FUNCTION own_monitors() RETURNS SETOF BIGINT
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = vmpulse, pg_temp AS $$
    SELECT m.id FROM host_monitor_login l JOIN host_monitor m ON m.uuid = l.host_monitor WHERE l.login = session_user
$$;

CREATE OR REPLACE FUNCTION is_own_uuid(asked TEXT) RETURNS BOOLEAN
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = vmpulse, pg_temp AS $$
    SELECT EXISTS (SELECT FROM host_monitor_login WHERE host_monitor = asked AND login = session_user)
$$;

-- VMs whose rows it may write: those of its host; and one of another host that came by (MOVED), while no host monitor at
-- its home hears it beat.
CREATE OR REPLACE FUNCTION is_own_vm(asked BIGINT) RETURNS BOOLEAN
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = vmpulse, pg_temp AS $$
    SELECT EXISTS (SELECT FROM vm v JOIN host_monitor m ON m.host_id = v.host_id JOIN host_monitor_login l
                   ON l.host_monitor = m.uuid WHERE v.id = asked AND l.login = session_user)
        OR (EXISTS (SELECT FROM path p JOIN host_monitor m ON m.id = p.host_monitor_id JOIN host_monitor_login l
                    ON l.host_monitor = m.uuid WHERE p.vm_id = asked AND l.login = session_user)
            AND NOT EXISTS (SELECT FROM vm v JOIN host_monitor m ON m.host_id = v.host_id
                            JOIN path p ON p.vm_id = v.id AND p.host_monitor_id = m.id
                            WHERE v.id = asked AND p.counted = 1 AND p.beating = 1))
$$;

CREATE OR REPLACE FUNCTION is_own_vm_uuid(asked TEXT) RETURNS BOOLEAN
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = vmpulse, pg_temp AS $$
    SELECT coalesce((SELECT is_own_vm(id) FROM vm WHERE uuid = asked), FALSE)
$$;

CREATE OR REPLACE FUNCTION is_removing(asked TEXT) RETURNS BOOLEAN
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = vmpulse, pg_temp AS $$
    SELECT EXISTS (SELECT FROM vm WHERE uuid = asked AND state = 'REMOVING')
$$;

REVOKE ALL ON FUNCTION own_monitors(), is_own_uuid(TEXT), is_own_vm(BIGINT), is_own_vm_uuid(TEXT), is_removing(TEXT) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION own_monitors(), is_own_uuid(TEXT), is_own_vm(BIGINT), is_own_vm_uuid(TEXT), is_removing(TEXT)
    TO vmpulse_hostmon;

-- What a guest says of itself through a monitor that has no right to it is left out without an error: an error would be
-- given again for ever, and everything else of that monitor would wait behind it.
CREATE OR REPLACE FUNCTION leave_out_foreign_vm() RETURNS TRIGGER LANGUAGE plpgsql SET search_path = vmpulse, pg_temp AS $$
BEGIN
    IF pg_has_role(session_user, 'vmpulse_controller', 'MEMBER') OR NOT pg_has_role(session_user, 'vmpulse_hostmon', 'MEMBER') THEN
        RETURN NEW;
    END IF;
    IF is_own_vm(NEW.vm_id) THEN
        RETURN NEW;
    END IF;
    RETURN NULL;
END
$$;

DO $$
DECLARE
    name TEXT;
BEGIN
    -- Anew each time, so that an upgrade may change them.
    FOR name IN SELECT format('DROP POLICY %I ON %I', policyname, tablename) FROM pg_policies WHERE schemaname = 'vmpulse' LOOP
        EXECUTE name;
    END LOOP;
    FOREACH name IN ARRAY ARRAY['host_monitor', 'path', 'node_event', 'discovered', 'conflict', 'vm', 'doorbell', 'quiet',
                                'quiet_refusal', 'message', 'request', 'mode_change', 'progress', 'removed_vm'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY controllers ON %I TO vmpulse_controller USING (TRUE) WITH CHECK (TRUE)', name);
    END LOOP;
    -- A VM's state follows from what all monitors hear, so each reads that.
    FOREACH name IN ARRAY ARRAY['host_monitor', 'path', 'vm', 'discovered', 'conflict', 'doorbell', 'quiet', 'quiet_refusal',
                                'removed_vm', 'request'] LOOP
        EXECUTE format('CREATE POLICY reads ON %I FOR SELECT TO vmpulse_hostmon USING (TRUE)', name);
    END LOOP;
    -- Its own rows, by the column that names their monitor.
    FOREACH name IN ARRAY ARRAY['path', 'node_event', 'discovered', 'conflict', 'mode_change'] LOOP
        EXECUTE format('CREATE POLICY own ON %I TO vmpulse_hostmon
                        USING (host_monitor_id = ANY (ARRAY(SELECT own_monitors())))
                        WITH CHECK (host_monitor_id = ANY (ARRAY(SELECT own_monitors())))', name);
    END LOOP;
    -- Rows that hang on a VM.
    FOREACH name IN ARRAY ARRAY['doorbell', 'quiet', 'quiet_refusal'] LOOP
        EXECUTE format('CREATE POLICY own ON %I TO vmpulse_hostmon USING (is_own_vm(vm_id)) WITH CHECK (is_own_vm(vm_id))', name);
        EXECUTE format('DROP TRIGGER IF EXISTS leave_out_foreign_vm ON %I', name);
        EXECUTE format('CREATE TRIGGER leave_out_foreign_vm BEFORE INSERT ON %I FOR EACH ROW
                        EXECUTE FUNCTION leave_out_foreign_vm()', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['message', 'request'] LOOP
        EXECUTE format('CREATE POLICY own ON %I TO vmpulse_hostmon
                        USING (host_monitor_id = ANY (ARRAY(SELECT own_monitors())) OR is_own_vm(vm_id))', name);
    END LOOP;
END
$$;

-- Itself. An update of another's row is an error and not left out: a login without its row above shall not believe that
-- its writes are kept.
CREATE POLICY joins ON host_monitor FOR INSERT TO vmpulse_hostmon WITH CHECK (is_own_uuid(uuid));
CREATE POLICY own ON host_monitor FOR UPDATE TO vmpulse_hostmon USING (TRUE) WITH CHECK (is_own_uuid(uuid));

-- The states that follow from what it sees and hears.
CREATE POLICY own ON vm FOR UPDATE TO vmpulse_hostmon USING (is_own_vm(id)) WITH CHECK (TRUE);

-- A VM that an administrator had removed goes when the last of its monitors has answered, or does not run any more: any
-- monitor may see to that, and to nothing else. Who answered for a VM is recorded by its own monitors.
CREATE POLICY leaves ON vm FOR DELETE TO vmpulse_hostmon USING (state = 'REMOVING');
CREATE POLICY leaves ON removed_vm FOR INSERT TO vmpulse_hostmon WITH CHECK (is_removing(uuid));
CREATE POLICY leaves_again ON removed_vm FOR UPDATE TO vmpulse_hostmon USING (is_removing(uuid));
CREATE POLICY own ON progress TO vmpulse_hostmon USING (is_own_uuid(host_monitor) OR is_own_vm_uuid(vm));

-- A handshake of a VM ends what others recorded of it: that it speaks another version, and that it once was a guest there.
CREATE POLICY ends ON conflict FOR DELETE TO vmpulse_hostmon USING (kind = 'VERSION' AND is_own_vm_uuid(uuid));
CREATE POLICY ends ON discovered FOR DELETE TO vmpulse_hostmon
    USING (kind = 'MOVED' AND sequence IS NULL AND is_own_vm_uuid(uuid));

COMMIT;
