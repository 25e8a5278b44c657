-- A store of form 1, as versions 0.1 make it. The file also has its log beside it: PRAGMA journal_mode = WAL.
PRAGMA application_id = 1415007812;
CREATE TABLE journal (
    position INTEGER PRIMARY KEY,
    prev INTEGER NOT NULL,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    time INTEGER NOT NULL,
    data TEXT NOT NULL,
    meta TEXT NOT NULL,
    UNIQUE (stream, version)
) STRICT;
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch TEXT NOT NULL,
    position INTEGER NOT NULL,
    time INTEGER NOT NULL,
    lanes TEXT NOT NULL,
    rebuilding TEXT
) STRICT;
CREATE TABLE batches (
    writer TEXT PRIMARY KEY NOT NULL,
    id TEXT NOT NULL,
    last INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE migrations (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at TEXT NOT NULL
) STRICT;
CREATE TABLE "accounts" (id TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, "owner" TEXT, "rank" INTEGER, "remark" TEXT, doc TEXT NOT NULL) STRICT;
CREATE TABLE "order" (id TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, doc TEXT NOT NULL) STRICT;
CREATE INDEX "accounts__by_owner" ON "accounts" ("owner", id) WHERE "owner" IS NOT NULL;
CREATE INDEX "accounts__by_rank" ON "accounts" ("rank", "owner", id) WHERE "rank" IS NOT NULL;

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
