-- A store of form 1, as versions 0.1 make it, in the schema that is chosen.
CREATE TABLE journal (
    position BIGINT PRIMARY KEY,
    prev BIGINT NOT NULL,
    stream TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    lane BIGINT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    time BIGINT NOT NULL,
    data TEXT COLLATE "C" NOT NULL,
    meta TEXT COLLATE "C" NOT NULL,
    UNIQUE (stream, version)
);
CREATE TABLE head (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    epoch TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    time BIGINT NOT NULL,
    lanes TEXT COLLATE "C" NOT NULL,
    rebuilding TEXT COLLATE "C"
);
CREATE TABLE batches (
    writer TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    last BIGINT NOT NULL
);
CREATE TABLE migrations (
    version BIGINT PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    applied_at TEXT COLLATE "C" NOT NULL
);
CREATE TABLE "accounts" (id TEXT COLLATE "C" PRIMARY KEY NOT NULL, version BIGINT NOT NULL, "owner" TEXT COLLATE "C", "rank" BIGINT, "remark" TEXT COLLATE "C", doc TEXT COLLATE "C" NOT NULL);
CREATE TABLE "order" (id TEXT COLLATE "C" PRIMARY KEY NOT NULL, version BIGINT NOT NULL, doc TEXT COLLATE "C" NOT NULL);
CREATE INDEX "accounts__by_owner" ON "accounts" ("owner", id) WHERE "owner" IS NOT NULL;
COMMENT ON INDEX "accounts__by_owner" IS 'CREATE INDEX "accounts__by_owner" ON "accounts" ("owner", id) WHERE "owner" IS NOT NULL';
CREATE INDEX "accounts__by_rank" ON "accounts" ("rank", "owner", id) WHERE "rank" IS NOT NULL;
COMMENT ON INDEX "accounts__by_rank" IS 'CREATE INDEX "accounts__by_rank" ON "accounts" ("rank", "owner", id) WHERE "rank" IS NOT NULL';

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
