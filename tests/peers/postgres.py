"""A real PostgreSQL on a free port of 127.0.0.1, its data in a temporary directory.

    with Postgres() as pg:
        with pg.connect() as db: ...          # psycopg2, as the superuser
        pg.pause(); pg.resume()               # SIGSTOP and SIGCONT of all of its processes
        pg.kill(); pg.start()                 # as after a crash

What is committed is on the disk only with durable=True. All users come by password over TCP.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid

import psycopg2

BIN = "/usr/lib/postgresql/15/bin"
SUPERUSER = "postgres"
PASSWORD = "a password's \\ odd % signs äß"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def unprivileged():
    """Arguments for subprocess: PostgreSQL and PgBouncer refuse to be root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def give_away(path):
    owner = unprivileged()
    if owner:
        os.chown(path, owner["user"], owner["group"])


def wait_until(condition, seconds=30, what="it"):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)


def runs(pid):
    """False for a zombie, too: whose parent is gone waits for init."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Postgres:
    def __init__(self, durable=False, settings=None, encoding="UTF8"):
        self.directory = tempfile.mkdtemp(prefix="pg-test-", dir="/tmp")
        give_away(self.directory)
        self.data = os.path.join(self.directory, "data")
        self.host, self.port, self.process = "127.0.0.1", free_port(), None
        self.user, self.password = SUPERUSER, PASSWORD
        self.log = os.path.join(self.directory, "log")
        password_file = os.path.join(self.directory, "password")
        with open(password_file, "w", encoding="utf-8") as f:
            f.write(PASSWORD)
        give_away(password_file)
        subprocess.run(
            [f"{BIN}/initdb", "-D", self.data, "-U", SUPERUSER, "-A", "scram-sha-256", "--pwfile", password_file,
             "-E", encoding, "--locale=C.UTF-8" if encoding == "UTF8" else "--locale=C", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, cwd="/tmp", **unprivileged())
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "60",
                   "shared_buffers": "32MB", "log_min_messages": "warning",
                   "fsync": "on" if durable else "off", "full_page_writes": "on" if durable else "off"}
        options.update(settings or {})
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="utf-8") as f:
            for name, value in options.items():
                f.write(f"{name} = '{value}'\n")
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([f"{BIN}/postgres", "-D", self.data, "-p", str(self.port)], cwd="/tmp",
                                            stdout=log, stderr=log, **unprivileged())

        def answers():
            if self.process.poll() is not None:
                with open(self.log, encoding="utf-8", errors="replace") as f:
                    raise RuntimeError("postgres did not start: " + f.read()[-2000:])
            try:
                self.connect().close()
                return True
            except psycopg2.OperationalError:
                return False

        wait_until(answers, 60, "the start of Postgres")

    def connect(self, dbname="postgres", user=None, password=None, autocommit=True):
        db = psycopg2.connect(host=self.host, port=self.port, dbname=dbname, user=user or self.user,
                              password=self.password if password is None else password, connect_timeout=5)
        db.autocommit = autocommit
        return db

    def execute(self, sql, *args, dbname="postgres"):
        db = self.connect(dbname)
        try:
            with db.cursor() as c:
                c.execute(sql, args or None)
                return c.fetchall() if c.description else None
        finally:
            db.close()

    def new_database(self, template="template0", **options):
        name = "db_" + uuid.uuid4().hex[:12]
        more = " ".join(f"{k} {v}" for k, v in options.items())
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} {more}")
        return name

    def _pids(self):
        children = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        with open(children, encoding="ascii") as f:
            return [self.process.pid] + [int(p) for p in f.read().split()]

    def _signal_all(self, number):
        for pid in self._pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def pause(self):
        """Stands still: connections are taken by the kernel, and nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def resume(self):
        self._signal_all(signal.SIGCONT)

    def kill(self):
        """As by a crash of the machine, as far as a process can tell."""
        pids = self._pids()
        self._signal_all(signal.SIGKILL)
        self.process.wait()
        wait_until(lambda: not any(runs(p) for p in pids), what="the end of Postgres")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.resume()
            self.process.send_signal(signal.SIGINT)  # "fast": disconnects clients
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def close(self):
        if self.process.poll() is None:
            self.kill()  # nothing of it stays
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
