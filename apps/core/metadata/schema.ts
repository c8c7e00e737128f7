/*
 * The metadata database, root/meta.db. Times are microseconds since the epoch, but for expires_at, which
 * is in milliseconds; labels and annotations are JSON objects.
 *
 *   meta               key, value                                 facts about this root: `uuid`
 *   namespaces         name | labels
 *   ├─ containers      ns, id | image, runtime, spec, snapshotter + snapshot_key, sandbox, labels
 *   │   └─ container_extensions   ns, id, name | type_url, value
 *   ├─ sandboxes       ns, id | sandboxer, runtime, spec, labels
 *   │   └─ sandbox_extensions     ns, id, name | type_url, value
 *   ├─ images          ns, name | media_type, digest, size, annotations, labels
 *   ├─ blobs           ns, digest | size, labels                  bytes: root/content/blobs/sha256/<hex>, shared
 *   ├─ ingests         id | ns, ref, expected, total, expires_at  bytes: root/content/ingest/<id>
 *   ├─ snapshots       id | ns, snapshotter, name, kind, parent → snapshots.id, labels, size, inodes
 *   │                                                             files: root/snapshots/<snapshotter>/<id>/{fs,work}
 *   └─ leases          ns, id | labels
 *       └─ lease_resources        ns, lease, type, resource
 *
 * A row is the truth; a file without a row is rubbish that the next start or collection removes.
 */

/** One SQL script per schema version, in order. Never edited once released: a change is a new entry. */
export const migrations: readonly string[] = [
  `
  CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

  CREATE TABLE namespaces (name TEXT PRIMARY KEY, labels TEXT NOT NULL DEFAULT '{}') STRICT, WITHOUT ROWID;

  CREATE TABLE containers (
    ns TEXT NOT NULL,
    id TEXT NOT NULL,
    image TEXT NOT NULL,
    runtime_name TEXT NOT NULL,
    runtime_options_type TEXT,
    runtime_options BLOB,
    spec_type TEXT,
    spec BLOB,
    snapshotter TEXT NOT NULL,
    snapshot_key TEXT NOT NULL,
    sandbox TEXT NOT NULL,
    labels TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (ns, id)
  ) STRICT;

  CREATE TABLE container_extensions (
    ns TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    type_url TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (ns, id, name),
    FOREIGN KEY (ns, id) REFERENCES containers (ns, id) ON DELETE CASCADE
  ) STRICT;

  CREATE TABLE images (
    ns TEXT NOT NULL,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    annotations TEXT NOT NULL,
    labels TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (ns, name)
  ) STRICT;

  CREATE TABLE blobs (
    ns TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    labels TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (ns, digest)
  ) STRICT;
  CREATE INDEX blobs_by_digest ON blobs (digest);

  CREATE TABLE ingests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    ns TEXT NOT NULL,
    ref TEXT NOT NULL,
    expected TEXT,
    total INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    UNIQUE (ns, ref)
  ) STRICT;

  CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    ns TEXT NOT NULL,
    snapshotter TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('active', 'view', 'committed')),
    parent INTEGER REFERENCES snapshots (id),
    labels TEXT NOT NULL,
    size INTEGER,
    inodes INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (ns, snapshotter, name)
  ) STRICT;
  CREATE INDEX snapshots_by_parent ON snapshots (parent);

  CREATE TABLE leases (
    ns TEXT NOT NULL,
    id TEXT NOT NULL,
    labels TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (ns, id)
  ) STRICT;

  CREATE TABLE lease_resources (
    ns TEXT NOT NULL,
    lease TEXT NOT NULL,
    type TEXT NOT NULL,
    resource TEXT NOT NULL,
    PRIMARY KEY (ns, lease, type, resource),
    FOREIGN KEY (ns, lease) REFERENCES leases (ns, id) ON DELETE CASCADE
  ) STRICT, WITHOUT ROWID;
  `,
  // Times were milliseconds.
  `
  UPDATE containers SET created_at = created_at * 1000, updated_at = updated_at * 1000;
  UPDATE images SET created_at = created_at * 1000, updated_at = updated_at * 1000;
  UPDATE blobs SET created_at = created_at * 1000, updated_at = updated_at * 1000;
  UPDATE ingests SET started_at = started_at * 1000;
  UPDATE snapshots SET created_at = created_at * 1000, updated_at = updated_at * 1000;
  UPDATE leases SET created_at = created_at * 1000;
  `,
  // Sandboxes; the containers that the restart monitor looks after.
  `
  CREATE TABLE sandboxes (
    ns TEXT NOT NULL,
    id TEXT NOT NULL,
    sandboxer TEXT NOT NULL,
    runtime_name TEXT NOT NULL,
    runtime_options_type TEXT,
    runtime_options BLOB,
    spec_type TEXT,
    spec BLOB,
    labels TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (ns, id)
  ) STRICT;

  CREATE TABLE sandbox_extensions (
    ns TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    type_url TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (ns, id, name),
    FOREIGN KEY (ns, id) REFERENCES sandboxes (ns, id) ON DELETE CASCADE
  ) STRICT;

  CREATE INDEX containers_monitored ON containers (ns, id)
    WHERE instr(labels, '"containerd.io/restart.status"') > 0;
  `,
];

/** Marks the file as ours: "BRTH". */
export const applicationId = 0x42525448;
