-- What a device's manufacturer certified beside the EK, and the EK's own key,
-- which no two devices share whatever templates they show it by.

-- +goose Up
ALTER TABLE devices ADD COLUMN ek_key TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN idevid_kind TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN idevid_manufacturer TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN idevid_serial TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN idevid_model TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN idevid_problem TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX devices_ek_key_taken ON devices (ek_key) WHERE ek_key <> '';
ALTER TABLE enrollments ADD COLUMN idevid_public BYTEA;
ALTER TABLE enrollments ADD COLUMN idevid_kind TEXT NOT NULL DEFAULT '';
ALTER TABLE enrollments ADD COLUMN idevid_manufacturer TEXT NOT NULL DEFAULT '';
ALTER TABLE enrollments ADD COLUMN idevid_serial TEXT NOT NULL DEFAULT '';
ALTER TABLE enrollments ADD COLUMN idevid_model TEXT NOT NULL DEFAULT '';
ALTER TABLE enrollments ADD COLUMN idevid_problem TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE enrollments DROP COLUMN idevid_problem;
ALTER TABLE enrollments DROP COLUMN idevid_model;
ALTER TABLE enrollments DROP COLUMN idevid_serial;
ALTER TABLE enrollments DROP COLUMN idevid_manufacturer;
ALTER TABLE enrollments DROP COLUMN idevid_kind;
ALTER TABLE enrollments DROP COLUMN idevid_public;
DROP INDEX devices_ek_key_taken;
ALTER TABLE devices DROP COLUMN idevid_problem;
ALTER TABLE devices DROP COLUMN idevid_model;
ALTER TABLE devices DROP COLUMN idevid_serial;
ALTER TABLE devices DROP COLUMN idevid_manufacturer;
ALTER TABLE devices DROP COLUMN idevid_kind;
ALTER TABLE devices DROP COLUMN ek_key;
