-- A store of form 1, as versions 0.1 make it on MariaDB, in the database that is chosen. On MySQL the collation is utf8mb4_0900_bin.
SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION';
CREATE TABLE IF NOT EXISTS journal (
    position BIGINT PRIMARY KEY,
    prev BIGINT NOT NULL,
    stream VARCHAR(255) NOT NULL,
    version BIGINT NOT NULL,
    lane BIGINT NOT NULL,
    id VARCHAR(255) NOT NULL,
    type VARCHAR(255) NOT NULL,
    time BIGINT NOT NULL,
    data LONGTEXT NOT NULL,
    meta LONGTEXT NOT NULL,
    UNIQUE (stream, version)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS head (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    epoch VARCHAR(255) NOT NULL,
    position BIGINT NOT NULL,
    time BIGINT NOT NULL,
    lanes LONGTEXT NOT NULL,
    rebuilding LONGTEXT
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS batches (
    writer VARCHAR(255) PRIMARY KEY NOT NULL,
    id VARCHAR(255) NOT NULL,
    last BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS migrations (
    version BIGINT PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    applied_at VARCHAR(255) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;
CREATE TABLE "accounts" (id VARCHAR(255) PRIMARY KEY NOT NULL, version BIGINT NOT NULL, "owner" VARCHAR(255), "rank" BIGINT, "remark" LONGTEXT, doc LONGTEXT NOT NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;
CREATE TABLE "order" (id VARCHAR(255) PRIMARY KEY NOT NULL, version BIGINT NOT NULL, doc LONGTEXT NOT NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;
CREATE INDEX "accounts__by_owner" ON "accounts" ("owner", id);
CREATE INDEX "accounts__by_rank" ON "accounts" ("rank", "owner", id);

INSERT INTO migrations (version, name, applied_at) VALUES (1, 'journal, head, batches and collections', '2025-12-01T08:00:00Z');
INSERT INTO journal (position, prev, stream, version, lane, id, type, time, data, meta) VALUES
    (1, 0, 'account:ada', 1, 3, 'evt_00000000000000000000000001', 'account.opened', 1764576000000000,
     '{"name": "Ada"}', '{"schema":1,"actor":"system","correlation":"req-1"}'),
    (2, 0, 'account:cay', 1, 2, 'evt_00000000000000000000000002', 'account.opened', 1764576001000000,
     '{"name": "Cay"}', '{"schema":1,"actor":"system","correlation":"req-1"}'),
    (3, 1, 'account:ada', 2, 3, 'evt_00000000000000000000000003', 'account.ranked', 1764576002000000,
     '{"rank": 7,  "by": 1.50}', '{"schema":1,"actor":"system","correlation":"req-1"}');
INSERT INTO head (one, epoch, position, time, lanes, rebuilding) VALUES
    (1, '01937fb2-5800-7000-8000-000000000001', 3, 1764576002000000, '[0,0,2,3]', NULL);
INSERT INTO batches (writer, id, last) VALUES ('accounts', '01937fb2-5800-7000-8000-000000000b03', 3);
INSERT INTO "accounts" (id, version, "owner", "rank", "remark", doc) VALUES
    ('ada', 2, 'Ada', 7, 'the first', '{"name": "Ada",  "rank": 7}'),
    ('cay', 1, NULL, NULL, NULL, '{"name": "Cay"}'),
    ('zoe', 1, 'Zoë', 3, NULL, '{"name": "Zoë"}');
INSERT INTO "order" (id, version, doc) VALUES ('o1', 1, '{"sum": 1050}');
