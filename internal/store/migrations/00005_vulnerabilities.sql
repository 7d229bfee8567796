-- Imported records of known vulnerabilities, found by their names and by the
-- packages that they affect, and how current they are. The zero time is that of
-- Go, in microseconds.

-- +goose Up
CREATE TABLE vulnerabilities (
    id        TEXT   NOT NULL PRIMARY KEY,
    modified  BIGINT NOT NULL,
    withdrawn BIGINT NOT NULL,
    severity  TEXT   NOT NULL,
    names     TEXT   NOT NULL,
    packages  TEXT   NOT NULL,
    record    TEXT   NOT NULL
);
CREATE INDEX vulnerabilities_by_severity ON vulnerabilities (severity, id);

CREATE TABLE vulnerability_names (
    name TEXT NOT NULL,
    id   TEXT NOT NULL REFERENCES vulnerabilities (id),
    PRIMARY KEY (name, id)
);
CREATE INDEX vulnerability_names_by_id ON vulnerability_names (id);

-- package is the ecosystem and the name, or a package URL without its version.
CREATE TABLE vulnerability_packages (
    package TEXT NOT NULL,
    id      TEXT NOT NULL REFERENCES vulnerabilities (id),
    PRIMARY KEY (package, id)
);
CREATE INDEX vulnerability_packages_by_id ON vulnerability_packages (id);

CREATE TABLE vulnerability_feeds (
    name     TEXT   NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    at       BIGINT NOT NULL
);

-- +goose Down
DROP TABLE vulnerability_feeds;
DROP TABLE vulnerability_packages;
DROP TABLE vulnerability_names;
DROP TABLE vulnerabilities;
