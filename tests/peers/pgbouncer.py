"""A real PgBouncer before a Postgres of postgres.py: one server connection serves many clients, a transaction each."""

import os
import shutil
import subprocess
import tempfile

import psycopg2

from .postgres import free_port, give_away, unprivileged, wait_until


def _quoted(text):
    return '"' + text.replace('"', '""') + '"'


class PgBouncer:
    def __init__(self, postgres, users=None, pool_size=2):
        """`users`: further (name, password) pairs. All databases of the server are reached by their name."""
        self.postgres, self.host, self.port = postgres, "127.0.0.1", free_port()
        self.user, self.password = postgres.user, postgres.password
        self.directory = tempfile.mkdtemp(prefix="pgbouncer-test-", dir="/tmp")
        give_away(self.directory)
        self._write("users", "".join(f"{_quoted(u)} {_quoted(p)}\n"
                                     for u, p in [(self.user, self.password), *(users or [])]))
        self._write("ini", f"""[databases]
* = host={postgres.host} port={postgres.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {self.directory}/users
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 200
server_login_retry = 1
logfile = {self.directory}/log
pidfile =
""")
        with open(os.path.join(self.directory, "out"), "wb") as out:
            self.process = subprocess.Popen(["/usr/sbin/pgbouncer", "-q", f"{self.directory}/ini"], cwd="/tmp",
                                            stdout=out, stderr=out, **unprivileged())

        def answers():
            assert self.process.poll() is None, "PgBouncer did not start"
            try:
                self.connect().close()
                return True
            except psycopg2.OperationalError:
                return False

        wait_until(answers, 30, "the start of PgBouncer")

    def _write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        give_away(path)

    def connect(self, dbname="postgres"):
        db = psycopg2.connect(host=self.host, port=self.port, dbname=dbname, user=self.user, password=self.password,
                              connect_timeout=5)
        db.autocommit = True
        return db

    def close(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
