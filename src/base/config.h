/* The configuration: environment over `config.env` over default.
 *
 * Every variable is one row of the table in config.c: its name, kind, limits, default and the line that documents it.
 * The help text, config.env.example and README.md are held against that table by tests. */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"

enum job_store_kind { JOB_STORE_SQLITE, JOB_STORE_POSTGRES };
enum object_store_kind { OBJECT_STORE_LOCAL, OBJECT_STORE_S3 };
enum source_kind { SOURCE_DUCKDB, SOURCE_MOTHERDUCK };
enum s3_addressing { S3_ADDRESSING_PATH, S3_ADDRESSING_VIRTUAL };
enum s3_sign_payload { S3_SIGN_PAYLOAD_AUTO, S3_SIGN_PAYLOAD_ON, S3_SIGN_PAYLOAD_OFF };
enum s3_sse { S3_SSE_NONE, S3_SSE_AES256, S3_SSE_KMS };
enum sandbox_choice { SANDBOX_CHOICE_REQUIRED, SANDBOX_CHOICE_BEST_EFFORT, SANDBOX_CHOICE_OFF };

/* Texts are never NULL, but "" where nothing was given. Durations are milliseconds, sizes bytes. */
struct config {
    char *server_host; /* "": decided by main.c */
    uint64_t server_port;
    char *s3_access_key, *s3_secret_key, *s3_region, *s3_endpoint, *s3_bucket;
    uint64_t s3_grow_after; /* parts */
    char *s3_session_token, *s3_ca_file, *s3_public_endpoint, *s3_sse_kms_key_id;
    bool s3_ssl, s3_equal_parts;
    uint64_t s3_addressing;   /* enum s3_addressing */
    uint64_t s3_sign_payload; /* enum s3_sign_payload */
    uint64_t s3_sse;          /* enum s3_sse */
    uint64_t s3_part_size, s3_timeout, s3_url_expiry;
    uint64_t log_level; /* enum log_level */
    char *log_file;
    uint64_t log_mode; /* enum log_mode */
    char *motherduck_db_name, *motherduck_token;
    uint64_t motherduck_timeout, motherduck_spares;
    char *duckdb_extension_dir;
    bool duckdb_unsigned_extensions;
    char *postgres_host, *postgres_db, *postgres_user, *postgres_password;
    uint64_t postgres_port;
    uint64_t postgres_sslmode; /* index of config_sslmode_name() */
    uint64_t startup_wait;
    uint64_t job_lease, job_renewal; /* job_renewal is at most half of job_lease */
    uint64_t queue_workers, queue_size;
    uint64_t org_max_queued;  /* 0: decided by settings.c */
    uint64_t org_max_running; /* 0: no bound */
    uint64_t max_attempts;    /* failures that end a job */
    uint64_t max_rescues;
    uint64_t retry_delay;
    char *data_dir;
    uint64_t job_store;    /* enum job_store_kind */
    uint64_t object_store; /* enum object_store_kind */
    bool object_store_is_default;
    uint64_t source;       /* enum source_kind */
    char *duckdb_path;
    char *cors_origins; /* commas between them */
    char *public_url; /* no slash at its end; "": decided by main.c */
    uint64_t worker_memory; /* 0: decided by main.c */
    uint64_t worker_threads; /* 0: decided by main.c */
    char *worker_user;
    uint64_t spill_limit;
    uint64_t source_wait, source_idle;
    uint64_t job_timeout, stall_timeout;
    uint64_t row_limit, byte_limit; /* of every file; 0: no bound */
    uint64_t shutdown_grace;
    uint64_t sandbox; /* enum sandbox_choice; sandbox_is_default tells whether it was chosen */
    bool sandbox_is_default;
    uint64_t max_connections;
};

/* Reads `file` (may be absent) and `environment` ("NAME=value" strings, NULL-terminated). Every wrong or missing value
 * is a line in `problems`; false if there is one. `ret` is filled in any case, with the default where a value was wrong,
 * so that the caller can look for more problems; release it. `notes` takes what is only odd. */
MUST_CHECK bool config_load(struct config *ret, const char *file, char *const *environment, struct buf *problems,
                            struct buf *notes);
void config_release(struct config *c);

/* As libpq spells it; NULL: not given, so that libpq's own default (PGSSLMODE) holds. */
const char *config_sslmode_name(const struct config *c);

/* The table for people: name, default, meaning. */
void config_print_help(FILE *out);

/* One "NAME" a line: for the tests that hold documents against the table. */
void config_print_names(FILE *out);

#endif
