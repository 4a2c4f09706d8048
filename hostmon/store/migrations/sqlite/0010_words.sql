-- When guests said what they said of themselves, schema 10: a word that a host monitor read or wrote late does not undo a newer
-- one. By this store's clock; NULL: not known, so that nothing is overtaken by it.

-- Last SUSPEND or RESUME, and the host monitor that wrote it (none: the controller ended the suspension).
ALTER TABLE vm ADD COLUMN suspension_at INTEGER;
ALTER TABLE vm ADD COLUMN suspension_by INTEGER;
-- The SHDN in force as it was told first, and the host monitor that wrote it.
ALTER TABLE vm ADD COLUMN shutdown_at INTEGER;
ALTER TABLE vm ADD COLUMN shutdown_by INTEGER;
-- The path's last handshake.
ALTER TABLE path ADD COLUMN opened_at INTEGER;
