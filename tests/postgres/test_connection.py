"""How the store comes to its database: passwords, TLS, what is refused and with which words; and how many trips it makes."""

import os
import subprocess

import pytest

from peers.pg_proxy import PgProxy
from peers.postgres import Postgres, free_port, give_away
from store import Driver, refusal

PASSWORDS = ["'", '"', "\\", " ", " with spaces ", "%", "%20", "=", "a=b host=elsewhere", "pässwörd", "🦆", "$(id)", "@:/?#",
             "'); DROP TABLE downloads; --", "x" * 500]


@pytest.mark.parametrize("password", PASSWORDS, ids=range(len(PASSWORDS)))
def test_passwords_with_any_character(pg, database, password):
    role = f"role_{PASSWORDS.index(password)}"
    pg.execute(f"DROP ROLE IF EXISTS {role}")
    pg.execute(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD %s", password)
    try:
        with Driver(pg, database, user=role, password=password) as s:
            assert s.status(s.create()) == "pending"
        error = refusal(pg, database, user=role, password=password + "wrong")
        assert error.code == "configuration"
        assert "GOPIE_DS_POSTGRES_PASSWORD" in error.message
        assert len(password) < 5 or password not in error.message
    finally:
        pg.execute(f"DROP OWNED BY {role}", dbname=database)
        pg.execute(f"DROP ROLE {role}")


def test_what_is_refused_says_what_to_do(pg, database):
    for options, words in [
        ({"user": "nobody_of_that_name"}, "GOPIE_DS_POSTGRES_USER"),
        ({"password": ""}, "GOPIE_DS_POSTGRES_PASSWORD"),
        ({"JOB_STORE_SSLMODE": "require"}, "GOPIE_DS_POSTGRES_SSLMODE"),
        ({"JOB_STORE_SSLMODE": "verify-full"}, "GOPIE_DS_POSTGRES_SSLMODE"),
    ]:
        error = refusal(pg, database, PGPASSFILE="/dev/null", **options)
        assert error.code == "configuration" and words in error.message, error
    error = refusal(pg, "no_such_database")
    assert error.code == "configuration" and "GOPIE_DS_POSTGRES_DB" in error.message
    assert f"{pg.user}@127.0.0.1:{pg.port}/no_such_database" in error.message


def test_a_role_that_may_not_connect(pg, database):
    pg.execute("DROP ROLE IF EXISTS outsider")
    pg.execute("CREATE ROLE outsider LOGIN PASSWORD 'x'")
    pg.execute(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
    error = refusal(pg, database, user="outsider", password="x")
    assert error.code == "configuration" and "GRANT CONNECT" in error.message


class Nowhere:
    host, user, password = "127.0.0.1", "user", "password"

    def __init__(self):
        self.port = free_port()


def test_nobody_there(pg):
    error = refusal(Nowhere(), "db", timeout_ms=1000)
    assert error.code == "unavailable" and "Connection refused" in error.message and error.ms < 3000


def test_libpqs_own_variables_count_where_nothing_is_given(pg, database):
    with Driver(pg, "", user="", password="", PGDATABASE=database, PGUSER=pg.user, PGPASSWORD=pg.password) as s:
        s.create()
    assert pg.execute("SELECT count(*) FROM downloads", dbname=database) == [(1,)]


def openssl(directory, *args):
    subprocess.run(["openssl", *args], cwd=directory, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make_certificate(directory, name, subject, san=None):
    openssl(directory, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key",
            "-out", f"{name}.csr", "-subj", f"/CN={subject}")
    (directory / f"{name}.ext").write_text(f"subjectAltName={san}\n" if san else "basicConstraints=CA:FALSE\n")
    openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "2",
            "-CAcreateserial", "-extfile", f"{name}.ext", "-out", f"{name}.crt")
    os.chmod(directory / f"{name}.key", 0o600)


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A server with a certificate for 127.0.0.1 of a CA of our own; `certified` comes by a client certificate."""
    directory = tmp_path_factory.mktemp("tls")
    for ca in ("ca", "other"):
        openssl(directory, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-keyout", f"{ca}.key", "-out", f"{ca}.crt", "-subj", f"/CN={ca}")
    make_certificate(directory, "server", "127.0.0.1", "IP:127.0.0.1")
    make_certificate(directory, "client", "certified")
    with Postgres() as server:
        for file in ("server.crt", "server.key", "ca.crt"):
            (path := os.path.join(server.data, file))
            with open(path, "wb") as f:
                f.write((directory / file).read_bytes())
            os.chmod(path, 0o600)
            give_away(path)
        server.stop()
        with open(os.path.join(server.data, "postgresql.conf"), "a", encoding="utf-8") as f:
            f.write("ssl = on\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\nssl_ca_file = 'ca.crt'\n")
        with open(os.path.join(server.data, "pg_hba.conf"), "w", encoding="utf-8") as f:
            f.write("hostssl all certified 127.0.0.1/32 cert\nhost all all 127.0.0.1/32 scram-sha-256\n")
        server.start()
        server.execute("CREATE ROLE certified SUPERUSER LOGIN")
        server.certificates = directory
        yield server


def test_tls_with_a_server_that_is_verified(tls):
    name, ca = tls.new_database(), str(tls.certificates / "ca.crt")
    with Driver(tls, name, JOB_STORE_SSLMODE="verify-full", PGSSLROOTCERT=ca) as s:
        s.create()
        assert tls.execute("SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                           " WHERE application_name = 'downloads-server'") == [(True,)]
    with Driver(tls, name, user="certified", password="", JOB_STORE_SSLMODE="verify-ca", PGSSLROOTCERT=ca,
                PGSSLCERT=str(tls.certificates / "client.crt"), PGSSLKEY=str(tls.certificates / "client.key")) as s:
        s.create()


def test_tls_with_a_server_that_is_another(tls):
    other = str(tls.certificates / "other.crt")
    error = refusal(tls, "postgres", JOB_STORE_SSLMODE="verify-full", PGSSLROOTCERT=other)
    assert error.code == "configuration" and "certificate verify failed" in error.message
    assert "PGSSLROOTCERT" in error.message


def test_trips(pg, database):
    """A call that is alone, and a read, is one trip; a call among others one, and all of them one more."""
    with PgProxy(pg.host, pg.port) as proxy:
        proxy.user, proxy.password = pg.user, pg.password
        with Driver(proxy, database) as s:
            def trips(*words):
                before = proxy.trips
                answer = s.call(*words)
                return proxy.trips - before, answer

            n, (job,) = trips("create", "org", "user", 10)
            costs = {"create": n}
            costs["claim"], _ = trips("claim", "owner", 5)
            costs["note"], _ = trips("note", "owner", job, 1, "upload")
            costs["progress"], _ = trips("progress", job, 1, 10)
            costs["poll"], _ = trips("poll", "owner", 0, f"{job}:1")
            costs["renew"] = trips("poll", "owner", 1, f"{job}:1")[0] - 1
            costs["publish"], _ = trips("publish", "owner", job, 1)
            costs["expire"], _ = trips("expire", 10)
            costs["leftovers"], _ = trips("leftovers", 10)
            costs["remove"], _ = trips("remove", "org", job)
            assert set(costs.values()) == {1}, costs
            again = s.create()
            assert trips("get", "org", again)[0] == 1
            assert trips("list", "org", "user", 10)[0] == 1
            s.call("begin")
            assert trips("commit")[0] == 0  # nothing was asked
            s.call("begin")
            assert trips("create", "org", "user", 10)[0] == 1
            assert trips("claim", "owner", 5)[0] == 1
            assert trips("commit")[0] == 1
