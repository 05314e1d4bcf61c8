-- Tasks: one row each, from acceptance to the end of their retention.
CREATE TABLE tasks (
    job_id      TEXT PRIMARY KEY,
    body_sha256 TEXT NOT NULL,
    owner       TEXT NOT NULL,
    state       TEXT NOT NULL,
    model       TEXT NOT NULL,
    session_id  TEXT,
    created_at  REAL NOT NULL,
    ended_at    REAL,
    request     TEXT NOT NULL,
    info        TEXT NOT NULL,
    decision    TEXT,
    frames      BLOB
) WITHOUT ROWID;

CREATE INDEX tasks_open ON tasks (created_at) WHERE ended_at IS NULL;
CREATE INDEX tasks_created ON tasks (created_at);
CREATE INDEX tasks_ended ON tasks (ended_at) WHERE ended_at IS NOT NULL;

-- Small things by kind and id: nodes, deployments, catalog entries, keys.
CREATE TABLE documents (
    kind  TEXT NOT NULL,
    id    TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
