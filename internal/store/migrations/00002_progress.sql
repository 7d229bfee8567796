-- How far each device's IMA list is counted in this boot.

-- +goose Up
CREATE TABLE progress (
    device   TEXT   NOT NULL PRIMARY KEY REFERENCES devices (id),
    under    TEXT   NOT NULL,
    entries  BIGINT NOT NULL,
    state    TEXT   NOT NULL,
    segments TEXT   NOT NULL
);

-- +goose Down
DROP TABLE progress;
