"""The time zone of a form: that of the session, and of TIMESTAMPTZ as text, byte for byte what DuckDB gives under SET TimeZone."""
import json
import re

import pytest

from worker import ROOT, make_source, run_job, start  # noqa: F401

# Whole, half and quarter hours, both hemispheres, one that skipped a day, one that has seconds in its early offsets, fixed ones.
ZONES = ["UTC", "Etc/UTC", "GMT", "Asia/Kolkata", "Asia/Kathmandu", "America/New_York", "America/St_Johns", "Europe/Amsterdam",
         "Europe/Dublin", "Africa/Monrovia", "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Kiritimati", "Etc/GMT+12", "EST5EDT"]

TABLE = """CREATE TABLE t AS SELECT ts, {'a': ts, 'l': [ts, NULL]} AS nested, ts::VARCHAR AS text_here, i FROM (
    SELECT i, make_timestamptz(i * 357000000007 - 2500000000000000) AS ts FROM range(14000) r(i)
    UNION ALL SELECT -1, unnest([NULL, '1884-01-01 00:00:00+00', '1900-01-01 00:00:00.5+00',
        '1937-06-30 22:00:00+00', '1972-01-07 00:44:30+00', '2011-12-30 09:59:59.999999+00', '2011-12-30 10:00:00+00',
        '2024-03-31 01:00:00+00', '2024-10-27 00:30:00+00', '2024-10-27 01:30:00+00', '0044-03-15 (BC) 12:00:00+00']::TIMESTAMPTZ[]))
    ORDER BY ALL"""

SQL = """SELECT i, ts, nested, [ts] AS list, MAP {1: ts} AS map, ts::VARCHAR AS cast_here, ts::DATE AS day, ts::TIMESTAMP AS local,
    ts::TIMETZ AS tz, date_part('hour', ts) AS hour, date_trunc('day', ts) AS midnight, current_setting('TimeZone') AS zone
    FROM t ORDER BY ts, i"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("zones") / "zones.duckdb", "SET TimeZone='UTC'", TABLE,
                       "CREATE TABLE ends AS SELECT unnest(['-infinity', '290309-12-22 (BC) 00:00:00+00',"
                       "'294247-01-10 04:00:54.775806+00', 'infinity']::TIMESTAMPTZ[]) AS ts")


def copied(source, sql, zone, path, options="FORMAT csv, HEADER"):
    make_source(source, f"SET TimeZone='{zone}'", f"COPY ({sql}) TO '{path}' ({options})")
    return path.read_bytes()


def form(zone, **members):
    return json.dumps({"format": "csv", "options": {"timezone": zone}} | members)


def test_the_list_is_the_engines(tmp_path):
    listed = re.findall(r'"([^"]+)",', (ROOT / "src/format/timezones.c").read_text())
    path = tmp_path / "names.txt"
    make_source(tmp_path / "empty.duckdb", f"COPY (SELECT name FROM pg_timezone_names()) TO '{path}' (FORMAT csv, HEADER false)")
    names = path.read_text().split()
    assert len(names) > 400 and listed == sorted(set(names))


@pytest.mark.parametrize("zone", ZONES)
def test_every_byte(source, zone, tmp_path):
    job = run_job(source, SQL, tmp_path, threads=2, format=form(zone))
    assert job.done and job.broken == "", job.message
    assert job.data == copied(source, SQL, zone, tmp_path / "expected.csv")
    assert job.data.count(b"," + zone.encode() + b"\n") == job.rows > 14000


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
def test_first_and_last(source, zone, tmp_path):
    sql = "SELECT ts, [ts] AS l FROM ends ORDER BY ts"
    job = run_job(source, sql, tmp_path, format=form(zone))
    assert job.done and job.data == copied(source, sql, zone, tmp_path / "expected.csv")
    lines = job.data.split(b"\n")
    assert lines[1] == b"-infinity,[-infinity]" and lines[4] == b"infinity,[infinity]"


def test_a_session_without_a_zone_is_utc(source, tmp_path):
    job = run_job(source, "SELECT current_setting('TimeZone') AS zone, TIMESTAMPTZ '2024-06-01 12:00:00+02' AS ts", tmp_path)
    assert job.data == b"zone,ts\nUTC,2024-06-01 10:00:00+00\n"


def test_the_query_follows_the_zone(source, tmp_path):
    """What SQL makes of a text without an offset, of dates and of days is the session's to say."""
    sql = "SELECT TIMESTAMPTZ '2024-01-01 00:00:00' AS a, TIMESTAMPTZ '2024-01-01 20:00:00+00'::DATE AS d"
    job = run_job(source, sql, tmp_path, format=form("Asia/Kolkata"))
    assert job.data == b"a,d\n2024-01-01 00:00:00+05:30,2024-01-02\n"


def test_a_timestamptz_is_no_text_that_is_guarded(source, tmp_path):
    """By its type, though it comes as text in any zone but UTC; as do BIGNUM and INTERVAL."""
    sql = "SELECT ts, '-infinity' AS t, '-5'::BIGNUM AS b, INTERVAL '-3 days' AS i, -1.5 AS d FROM ends WHERE ts = '-infinity'"
    for zone in ("UTC", "America/New_York"):
        job = run_job(source, sql, tmp_path, format=json.dumps({"format": "csv", "options": {"timezone": zone, "excel_safe": True}}))
        assert job.data == b"ts,t,b,i,d\n-infinity,\"'-infinity\",-5,-3 days,-1.5\n" and job.altered == 1


def test_names_that_are_none(source, tmp_path):
    for zone in ("Mars/Olympus", "asia/kolkata", "UTC'; SET threads=64; --", "+05:30", "A" * 65):
        with pytest.raises(AssertionError, match="not a form"):
            run_job(source, "SELECT 1", tmp_path, format=form(zone))


def test_no_job_gets_the_zone_of_another(source, tmp_path):
    for zone in ("Asia/Kolkata", "UTC", "Pacific/Apia", "UTC"):
        job = run_job(source, "SELECT current_setting('TimeZone') AS zone", tmp_path, format=form(zone))
        assert job.data == b"zone\n" + zone.encode() + b"\n"


SETTINGS = [
    "SET TimeZone='Europe/Paris'", "SET GLOBAL TimeZone='Europe/Paris'", "RESET TimeZone", "SET lock_configuration=false", "SET threads=64",
    "PRAGMA timezone='Europe/Paris'", "SELECT 1; SET TimeZone='Europe/Paris'",
]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_the_settings_are_locked_behind_the_zone(source, zone, tmp_path):
    sql = "SELECT current_setting('lock_configuration') AS locked, current_setting('TimeZone') AS zone"
    assert run_job(source, sql, tmp_path, format=form(zone)).data == b"locked,zone\ntrue,%s\n" % zone.encode()
    for statement in SETTINGS:
        job = run_job(source, statement, tmp_path, format=form(zone))
        assert not job.done and job.broken == "" and job.code == "sql_refused"
    for statement in SETTINGS[:5]:
        quoted = statement.replace("'", "''")
        job = run_job(source, f"FROM query('{quoted}')", tmp_path, format=form(zone))
        assert not job.done and job.broken == "" and job.code in ("query_failed", "sql_refused")
