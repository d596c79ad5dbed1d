"""The original's side of the database."""

# What gopie-server's own migration does (once; it keeps count of its steps).
GOPIE_MIGRATION = [
    'CREATE EXTENSION IF NOT EXISTS "uuid-ossp"',
    "CREATE TYPE download_status AS ENUM ('pending', 'processing', 'completed', 'failed', 'expired')",
    """CREATE TABLE IF NOT EXISTS downloads (
        id uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
        sql text NOT NULL,
        dataset_id text NOT NULL,
        status download_status NOT NULL DEFAULT 'pending',
        "format" text NOT NULL,
        pre_signed_url text,
        error_message text,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz,
        completed_at timestamptz,
        user_id text NOT NULL,
        org_id text NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS idx_downloads_dataset_id ON downloads (dataset_id)",
    "CREATE INDEX IF NOT EXISTS idx_downloads_status ON downloads (status)",
]


def gopie_migrates(pg, database):
    for statement in GOPIE_MIGRATION:
        pg.execute(statement, dbname=database)
