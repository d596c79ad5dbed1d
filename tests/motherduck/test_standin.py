"""Jobs on MotherDuck, through the whole server, with a stand-in for MotherDuck's extension (standin/standin.cpp): what the
real service does, it cannot show; what we send, and what we do when it is slow, refuses, dies or is asked for the token, it can."""
import base64
import os
import pathlib
import subprocess
import time

import pytest

from motherduck import ROOT, TOKEN, leaves_nothing
from service import DEADLINE, SERVER, make_source, wait_for


def text_of(service, sql):
    """The downloaded file."""
    last = service.run(sql)
    assert last.type == "complete", last.data
    return service.fetch(last.data["message"]).body.decode()


def value(service, sql):
    return text_of(service, f"SELECT {sql} AS x").split("\n")[1]


def error_of(service, sql, **form):
    last = service.run(sql, **form)
    assert last.type == "error", last.data
    leaves_nothing(service)
    assert not any(last.data["download_id"] in name for name in service.files())
    return last.data["message"].removeprefix("Failed during data processing: ")


def test_a_result(standin, serve):
    service = serve(standin.directory)
    assert text_of(service, "SELECT count(*) AS n, max(name) AS m FROM t") == "n,m\n1000000,name 999999\n"
    assert text_of(service, "FROM kinds") == 'd,z,l\n1.50,2024-01-02 01:04:05+00,"[1, NULL]"\n'
    last = service.run("SELECT *, [{'a': d, 'b': z, 'c': '\\x00'::BLOB}] AS s, l[2:] AS t, row('10'::BIT) AS r FROM kinds", format="ndjson",
                       options={"decimals": "string"})
    assert last.type == "complete", last.data
    assert service.fetch(last.data["message"]).body.decode() == (
        '{"d":"1.50","z":"2024-01-02 01:04:05+00","l":[1,null],"s":[{"a":"1.50","b":"2024-01-02 01:04:05+00","c":"\\\\x00"}],'
        '"t":[null],"r":{"":"10"}}\n')
    assert error_of(service, "INSERT INTO t VALUES (1, 'x')").startswith("only statements that return rows")
    assert "nosuch" in error_of(service, "SELECT nosuch FROM t")


def test_options_as_they_come(standin, serve):
    service = serve(standin.directory)
    given = {name: value(service, f"standin_given('{name}')") for name in (
        "motherduck_attach_mode", "motherduck_saas_mode", "custom_user_agent", "autoinstall_known_extensions",
        "autoload_known_extensions", "allow_community_extensions", "extension_directory", "attach_access")}
    version = subprocess.run([SERVER, "version"], capture_output=True, text=True).stdout.split()[1]
    assert given == {"motherduck_attach_mode": "single", "motherduck_saas_mode": "true",
                     "custom_user_agent": f"downloads-server/{version}", "autoinstall_known_extensions": "false",
                     "autoload_known_extensions": "false", "allow_community_extensions": "false",
                     "extension_directory": "/proc/self/cwd/extensions", "attach_access": "read_only"}
    assert value(service, f"md5(standin_given('motherduck_token')) = md5('{TOKEN[:-10]}' || '{TOKEN[-10:]}')") == "true"


def test_a_token_that_may_write_is_used_too(standin, serve):
    standin.configure(read_scaling="no")
    service = serve(standin.directory)
    assert value(service, "standin_given('attach_access')") == "other"


def test_settings_that_saas_mode_has_locked(standin, serve):
    standin.configure(lock="yes")
    service = serve(standin.directory)
    assert text_of(service, "FROM kinds").split(",")[3] == "2024-01-02 01:04:05+00"
    assert text_of(service, "SELECT count(*) AS n FROM t") == "n\n1000000\n"


def test_a_wrong_token(standin, serve):
    standin.configure(token="another-token-than-ours")
    service = serve(standin.directory)
    message = error_of(service, "SELECT 1")
    assert message == "the data source's error is withheld, since it contains its access token"


def test_a_sign_in_is_tried_again(standin, serve):
    standin.configure(token="another-token-than-ours")
    service = serve(standin.directory, MAX_ATTEMPTS=2, RETRY_DELAY="10ms")
    stream, job = service.begin("SELECT 1")
    assert list(stream.events())[-1].type == "error"
    assert [a["error_code"] for a in service.get("/downloads/" + job)["attempts"]] == ["source_unavailable"] * 2


def test_an_unknown_database(standin, serve):
    service = serve(standin.directory, MOTHERDUCK_DB_NAME="nosuch")
    assert "no database/share named 'nosuch'" in error_of(service, "SELECT 1")


def test_a_sign_in_that_takes_too_long(standin, serve):
    standin.configure(sign_in_ms=600000)
    service = serve(standin.directory, MOTHERDUCK_TIMEOUT="1s")
    assert error_of(service, "SELECT 1") == "signing in to MotherDuck took longer than 1 seconds"
    assert wait_for(lambda: service.workers() == [], "no worker")


def test_cancel_while_signing_in(standin, serve):
    standin.configure(sign_in_ms=600000)
    service = serve(standin.directory)
    stream, job = service.begin("SELECT 1")
    service.wait_worker()
    began = time.monotonic()
    assert service.request("DELETE", f"/downloads/{job}").status == 204
    assert stream.until(lambda e: e.type == "error")
    wait_for(lambda: service.workers() == [], "no worker")
    leaves_nothing(service)
    assert time.monotonic() - began < DEADLINE / 2  # a sign-in would last ten minutes


def test_a_connection_that_dies_in_the_middle(standin, serve):
    service = serve(standin.directory)
    message = error_of(service, "SELECT standin_lose(id), repeat('x', 200) FROM t")
    assert "the connection to MotherDuck was lost" in message


# Around the courtesy that refuses what shows settings by name.
STOLEN = "(SELECT value FROM query('SELECT value FROM duckdb_settings() WHERE name=''motherduck_token'''))"


def sql_for_all_encodings():
    yield f"SELECT {STOLEN} AS x"
    for form in ("upper({})", "lower({})", "reverse({})", "hex({})", "lower(hex({}))", "to_base64({}::BLOB)",
                 "to_base64(('a' || {})::BLOB)", "to_base64(('ab' || {} || 'c')::BLOB)",
                 "replace(replace(to_base64({}::BLOB), '+', '-'), '/', '_')", "{}::BLOB", "[{}]", "{{'a': {}}}",
                 "'prefix' || {} || 'suffix'", "substr({}, 20)"):
        yield f"SELECT {form.format(STOLEN)} AS x"


@pytest.fixture
def plain(standin, serve):
    return serve(standin.directory)


def test_the_token_asked_for_by_sql(plain):
    for sql in sql_for_all_encodings():
        assert error_of(plain, sql) == "the result contains the access token of the data source", sql


FORMS = [{"format": "csv", "compression": "gzip"}, {"format": "tsv", "compression": "zstd"}, {"format": "json"},
         {"format": "ndjson", "compression": "gzip"}, {"format": "xlsx"}]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(form.values()))
def test_the_token_in_every_form_of_a_file(plain, form):
    """In the middle of rows, where the file does not show it as it is."""
    for sql in (f"SELECT id, name || CASE WHEN id = 3000 THEN {STOLEN} ELSE '' END AS x FROM t ORDER BY id LIMIT 5000",
                f"SELECT name, reverse({STOLEN}) AS x FROM t ORDER BY id LIMIT 5000"):
        assert error_of(plain, sql, **form) == "the result contains the access token of the data source", sql


def test_the_token_at_the_border_of_two_parts(plain):
    part = 4 << 20
    for before in (1, 10, len(TOKEN) - 1):
        pad = part - before - len("x\n")
        sql = f"SELECT repeat('y', {pad}) || {STOLEN} AS x"
        assert error_of(plain, sql) == "the result contains the access token of the data source", before


def test_the_token_in_an_error(plain):
    message = error_of(plain, f"SELECT error({STOLEN})")
    assert message == "the query's error contains the access token of the data source"


def test_the_token_as_a_name(plain):
    half = len(TOKEN) - 10
    message = error_of(plain, f"FROM query('SELECT 1 AS \"' || '{TOKEN[:half]}' || '{TOKEN[half:]}' || '\"')")
    assert message == "the result contains the access token of the data source"


def test_the_token_in_what_is_printed(plain):
    assert text_of(plain, "SELECT standin_print('hello') AS x") == "x\nprinted\n"
    wait_for(lambda: any("worker: hello" in line for line in plain.log), "the words in the log")
    assert text_of(plain, f"SELECT standin_print({STOLEN}) AS x") == "x\nprinted\n"
    wait_for(lambda: any("withheld" in line for line in plain.log), "the note in the log")


def test_functions_that_show_it_are_refused_by_name(plain):
    for sql in ("FROM duckdb_settings()", "SELECT current_setting('motherduck_token')"):
        assert "cannot be used in a download" in error_of(plain, sql)
    assert "PRAGMA" in error_of(plain, "PRAGMA print_md_token")


def test_honest_data_that_looks_alike(plain):
    """A token of somebody else, with the same beginning, is data."""
    other = TOKEN[:-4] + "XyZ1"
    assert text_of(plain, f"SELECT '{other}' AS x") == f"x\n{other}\n"


def test_the_token_is_not_seen_from_outside(standin, serve):
    standin.configure(sign_in_ms=600000)
    service = serve(standin.directory)
    stream, _ = service.begin("SELECT 1")
    worker = pathlib.Path(f"/proc/{service.wait_worker()}")
    seen = (worker / "environ").read_bytes() + (worker / "cmdline").read_bytes()
    assert b"downloads-worker" in seen and TOKEN[-20:].encode() not in seen
    stream.close()
    service.stop(9)


def test_the_box_holds_on_the_clients_threads(plain):
    refused = {"EPERM": ["executable memory", "unix socket", "raw socket", "netlink", "listen", "setuid", "exec"],
               "EACCES": ["read /etc/passwd", "write /tmp/x", "write /proc/self/cwd/extensions/v1.5.5/linux_amd64/sales.duckdb"],
               "ok": ["read /etc/hosts", "write /proc/self/cwd/x"]}
    for answer, questions in refused.items():
        for question in questions:
            assert value(plain, f"standin_probe('{question}')") == answer, question
    for port in (53, 80, 443):  # nobody listens here, or somebody does
        assert value(plain, f"standin_probe('connect {port}')") in ("ECONNREFUSED", "ok")
    if os.geteuid() == 0:
        assert value(plain, "standin_probe('uid')") == "65534"
        landlock = subprocess.run([SERVER.parent / "downloads-worker", "--check-sandbox"], capture_output=True, text=True).stdout
        if int(landlock.split("abi ")[1].split()[0]) >= 4:
            assert value(plain, "standin_probe('connect 5432')") == "EACCES"


READS = ("/etc/passwd", "/proc/self/environ", "/proc/self/maps", "/proc/self/fd/3", "/proc/self/cwd/../../jobs.db", "/tmp/*")


@pytest.mark.parametrize("lock", ["no", "yes"])
def test_files_stay_out_of_reach(standin, serve, lock):
    """Where the client locks the settings before us, the box alone must do."""
    standin.configure(lock=lock)
    service = serve(standin.directory)
    for path in READS:
        last = service.run(f"FROM query('SELECT content FROM read_blob(''{path}'')')")
        assert last.type == "error" or last.data["rows"] == 0, path
    for path in ("/", "/proc/self/*", "/tmp/*"):
        last = service.run(f"FROM query('FROM glob(''{path}'')')")
        assert last.type == "error" or last.data["rows"] == 0, path
    assert "cannot be used" in error_of(service, "FROM read_text('/etc/hosts')")


def test_check_config(standin, tmp_path):
    environment = {"GOPIE_DS_MOTHERDUCK_DB_NAME": "sales", "GOPIE_DS_MOTHERDUCK_TOKEN": TOKEN,
                   "GOPIE_DS_DUCKDB_EXTENSION_DIR": str(standin.directory), "GOPIE_DS_DUCKDB_UNSIGNED_EXTENSIONS": "true"}
    check = lambda **more: subprocess.run([SERVER, "serve", "--check-config"], env=environment | more, cwd=tmp_path,
                                          capture_output=True, text=True, timeout=DEADLINE)
    done = check()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "extension    ok: MotherDuck's extension for DuckDB v1.5.5 (linux_amd64)" in done.stdout
    assert "source       ok: md:sales" in done.stdout
    done = check(GOPIE_DS_MOTHERDUCK_DB_NAME="nosuch")
    assert done.returncode == 1 and "no database/share named 'nosuch'" in done.stdout
    done = check(GOPIE_DS_MOTHERDUCK_TOKEN="short")
    assert done.returncode == 2 and "GOPIE_DS_MOTHERDUCK_TOKEN: a token of 5 bytes" in done.stderr
    done = check(GOPIE_DS_SPILL_LIMIT="255MiB")
    assert done.returncode == 2 and "GOPIE_DS_SPILL_LIMIT" in done.stderr
    assert list(tmp_path.rglob("check.*")) == []
    done = check(GOPIE_DS_MOTHERDUCK_DB_NAME="a?b=c")
    assert done.returncode == 2 and "GOPIE_DS_MOTHERDUCK_DB_NAME" in done.stderr


def test_the_command_that_verifies_with_a_real_token(standin):
    """It is for a real token; here it verifies that it works."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GOPIE_DS_")}
    environment |= {"GOPIE_DS_MOTHERDUCK_DB_NAME": "sales", "GOPIE_DS_MOTHERDUCK_TOKEN": TOKEN,
                    "GOPIE_DS_DUCKDB_EXTENSION_DIR": str(standin.directory), "GOPIE_DS_DUCKDB_UNSIGNED_EXTENSIONS": "true"}
    command = [ROOT / "tools" / "verify-motherduck", "SELECT count(*) AS n FROM t"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=4 * DEADLINE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("n\n1000000\n") == 2 and done.stdout.endswith("== verified\n")
    standin.configure(token="another-token-than-ours")
    assert subprocess.run(command, env=environment, capture_output=True, timeout=4 * DEADLINE).returncode != 0


def file_of(service, directory, sql, **fields):
    """A Parquet file's last event and its path."""
    last = service.run(sql, format="parquet", **fields)
    assert last.type == "complete", last.data
    path = directory / "result.parquet"
    path.write_bytes(service.fetch(last.data["message"]).body)
    return last, path


def test_parquet_is_relayed(standin, serve, tmp_path):
    """SaaS mode has no COPY: an instance of the worker's own writes, of the same types and rows."""
    service = serve(standin.directory)
    last, path = file_of(service, tmp_path, "SELECT id, name, [name, NULL] AS l, {'a': id} AS s FROM t")
    assert last.data["rows"] == 1000000
    expected = f"SELECT id, name, [name, NULL] AS l, {{'a': id}} AS s FROM d.t"
    make_source(tmp_path / "check.duckdb", f"ATTACH '{standin.beside / 'sales.duckdb'}' AS d (READ_ONLY)",
                f"CREATE TABLE missing AS ({expected}) EXCEPT ALL FROM '{path}'", f"INSERT INTO missing FROM '{path}' EXCEPT ALL {expected}",
                "SELECT CASE WHEN count(*) > 0 THEN error('rows differ') END FROM missing")
    last, _ = file_of(service, tmp_path, "FROM t", row_limit=5000)
    assert last.data["rows"] == 5000
    last, _ = file_of(service, tmp_path, "FROM t", byte_limit=1400)
    assert 0 < last.data["rows"] <= 100


def test_the_token_in_parquet(plain):
    """In compressed pages it could not be seen."""
    half = len(TOKEN) - 10
    for sql in (f"SELECT {STOLEN} AS x", f"SELECT [{STOLEN}] AS x", f"SELECT {{'a': [{STOLEN}]}} AS x", f"SELECT {STOLEN}::BLOB AS x",
                f"SELECT to_base64({STOLEN}::BLOB) AS x", f"SELECT id, CASE WHEN id = 999999 THEN {STOLEN} END AS x FROM t",
                f"FROM query('SELECT 1 AS \"' || '{TOKEN[:half]}' || '{TOKEN[half:]}' || '\"')"):
        last = plain.run(sql, format="parquet")
        assert last.type == "error" and "contains the access token" in last.data["message"], sql
        leaves_nothing(plain)
