"""The benchmark's data: made by SQL out of hashes of row numbers, hence the same in every run and on every machine, once
into a DuckDB file below the cache directory."""
import json
import os
import subprocess

# What TPC-H's comments are made of, more or less: words, now and then a comma or a full stop.
WORDS = """the foxes sleep furiously among final packages regular accounts haggle carefully along pending theodolites; quickly
ironic deposits are blithely above silent instructions, express requests nag slyly across bold dependencies. even platelets wake
daringly against special pinto beans, idle asymptotes cajole ruthlessly beneath unusual courts: fluffy dolphins detect thinly until
busy ideas boost permanently. close sauternes doze evenly about enticing sheaves, stealthy braids integrate never? dogged tithes
solve always inside sly warthogs! brave frays use quietly over thin excuses""".split()


def pool():
    """A text of 16 KiB out of WORDS, in an order that a small generator gives: comments are cut out of it."""
    state, text = 1, []
    while sum(len(w) + 1 for w in text) < 16384:
        state = (state * 1103515245 + 12345) % (1 << 31)
        text.append(WORDS[(state >> 16) % len(WORDS)])
    return " ".join(text)[:16384]


def of(what, salt, choices):
    """SQL: one of so many, by the hash of the row number."""
    return f"(hash({what} * 1024 + {salt}) % {choices})::BIGINT"


def quoted(value):
    return "'" + value.replace("'", "''") + "'"


def pick(values, salt, what="i"):
    return f"[{', '.join(quoted(v) for v in values)}][1 + {of(what, salt, len(values))}]"


def lineitem(rows):
    """TPC-H's lineitem: 16 columns, four lines an order, order keys with gaps as dbgen leaves them. `line` (1 to rows) is not
    part of it; by it a run takes as many rows as it wants."""
    parts = max(1, rows // 30)
    return f"""CREATE TABLE lineitem AS
 SELECT i + 1 AS line, (i // 32) * 32 + i // 4 % 8 + 1 AS l_orderkey, {of('i', 1, parts)} + 1 AS l_partkey,
  {of('i', 2, max(1, rows // 600))} + 1 AS l_suppkey, (i % 4 + 1)::INTEGER AS l_linenumber, quantity::DECIMAL(15,2) AS l_quantity,
  (quantity * ({of("i", 3, 120000)} + 90000) / 100)::DECIMAL(15,2) AS l_extendedprice,
  ({of('i', 4, 11)} / 100)::DECIMAL(15,2) AS l_discount, ({of('i', 5, 9)} / 100)::DECIMAL(15,2) AS l_tax,
  CASE WHEN day > 1260 THEN 'N' WHEN hash(i) % 2 = 0 THEN 'R' ELSE 'A' END AS l_returnflag,
  CASE WHEN day > 1260 THEN 'O' ELSE 'F' END AS l_linestatus, DATE '1992-01-02' + day AS l_shipdate,
  DATE '1992-01-31' + day - ({of('i', 6, 60)})::INTEGER AS l_commitdate, DATE '1992-01-03' + day + ({of('i', 7, 30)})::INTEGER AS l_receiptdate,
  {pick(['DELIVER IN PERSON', 'COLLECT COD', 'NONE', 'TAKE BACK RETURN'], 8)} AS l_shipinstruct,
  {pick(['REG AIR', 'AIR', 'RAIL', 'SHIP', 'TRUCK', 'MAIL', 'FOB'], 9)} AS l_shipmode,
  substring('{pool()}', 1 + {of('i', 10, 16340)}, 10 + {of('i', 11, 34)}) AS l_comment
 FROM (SELECT i, {of('i', 12, 50)} + 1 AS quantity, ({of('i // 4', 13, 2406)} + {of('i', 14, 121)})::INTEGER AS day
       FROM range({rows}) r(i))"""


def wide(rows):
    """200 columns of eight kinds; one value in nine is NULL."""
    kinds = [lambda n: of("i", n, 1000000), lambda n: f"{of('i', n, 10000)}::INTEGER", lambda n: f"{of('i', n, 1000000)} / 128.0",
             lambda n: f"({of('i', n, 1000000)} / 100)::DECIMAL(12,2)", lambda n: f"'value ' || {of('i', n, 1000)}",
             lambda n: f"DATE '2000-01-01' + ({of('i', n, 9000)})::INTEGER", lambda n: f"{of('i', n, 2)} = 1",
             lambda n: f"TIMESTAMP '2020-01-01' + to_seconds({of('i', n, 100000000)})"]
    columns = ", ".join(f"CASE WHEN {of('i', n + 300, 9)} = 0 THEN NULL ELSE {kinds[n % 8](n)} END AS c{n}" for n in range(200))
    return f"CREATE TABLE wide AS SELECT {columns} FROM range({rows}) r(i)"


def text(rows):
    """Quotes, commas, line ends, several scripts, long strings, empty ones and NULL."""
    long = f"repeat(substring('{pool()}', 1 + {of('i', 1, 16000)}, 50 + {of('i', 2, 300)}), 1 + {of('i', 3, 4)})"
    return f"""CREATE TABLE text_heavy AS
 SELECT i AS id, 'Straße ' || {of('i', 4, 900)} || ', 8000 Zürich' AS address,
  {pick(['नमस्ते दुनिया', '東京都千代田区', 'Ελληνικά και ελληνικά', 'emoji 🚀🎉 and more', 'plain words only', 'Ångström, Ørsted'], 5)}
   || ' ' || hash(i) AS title,
  CASE {of("i", 6, 6)} WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN 'said "no", then "yes, but ""later"", no' || i
   ELSE 'nothing to be quoted here, or is there ' || i END AS remark,
  CASE WHEN {of('i', 7, 5)} = 0 THEN 'first line' || chr(10) || 'second "line"' || chr(13) || chr(10) || 'third' ELSE 'one line' END AS lines,
  {long} AS description, '{{"key": "' || i || '", "tags": ["a", "b"], "text": "' || substring('{pool()}', 1 + {of('i', 8, 16000)}, 120) || '"}}' AS json,
  md5(i::VARCHAR) AS digest, {long} AS body
 FROM range({rows}) r(i)"""


def numeric(rows):
    """Doubles (short ones, any bits, very large and small), decimals of each width, timestamps of each precision."""
    return f"""CREATE TABLE numeric AS
 SELECT i AS id, {of('i', 1, 100000000)} / 100.0 AS price, sqrt(i + 1) AS root, (hash(i) / 1.8446744073709552e19) AS share,
  {of('i', 2, 2000000)} * exp({of('i', 3, 400)} - 200) AS magnitude, ({of('i', 4, 1000000)} / 64)::FLOAT AS single, sin(i)::FLOAT AS sine,
  ({of('i', 5, 9000)} / 100)::DECIMAL(4,2) AS rate, ({of('i', 6, 900000000)} / 1000)::DECIMAL(9,3) AS weight,
  ({of('i', 7, 1000000000000)} / 10000 - 40000000)::DECIMAL(18,4) AS amount,
  (hash(i)::DECIMAL(38,0) / 1000000)::DECIMAL(38,6) AS huge, TIMESTAMP '2015-03-01' + to_microseconds({of('i', 8, 300000000000000)}) AS at,
  (TIMESTAMP '2015-03-01' + to_seconds({of('i', 9, 300000000)}))::TIMESTAMP_S AS seconds,
  (TIMESTAMP '2015-03-01' + to_milliseconds({of('i', 10, 300000000000)}))::TIMESTAMP_MS AS millis,
  make_timestamp_ns(1425168000000000000 + {of('i', 11, 300000000000000000)}) AS nanos,
  TIMESTAMPTZ '2015-03-01 00:00:00+00' + to_microseconds({of('i', 12, 300000000000000)}) AS zoned,
  DATE '1950-01-01' + ({of('i', 13, 40000)})::INTEGER AS day, TIME '00:00:00' + to_microseconds({of('i', 14, 86400000000)}) AS clock
 FROM range({rows}) r(i)"""


def nested(rows):
    """Lists, structs, maps, and each in another."""
    return f"""CREATE TABLE nested AS
 SELECT i AS id, [{of('i', 1, 1000)}, {of('i', 2, 1000000)}, NULL, i] AS numbers,
  list_transform(range({of('i', 3, 6)}), x -> 'word, ' || (x * i) % 977) AS words,
  {{'city': {pick(['Delhi', 'Zürich', "São Paulo"], 4)}, 'zip': lpad(({of('i', 5, 99999)})::VARCHAR, 5, '0'), 'at': DATE '2020-01-01' + ({of('i', 6, 2000)})::INTEGER}} AS place,
  MAP {{'first': {of('i', 7, 100)} / 8.0, 'second "q"': i / 16.0}} AS weights,
  [{{'name': 'it''s ' || i % 17, 'n': i % 5}}, {{'name': NULL, 'n': {of('i', 8, 50)}}}] AS things
 FROM range({rows}) r(i)"""


MAKERS = {"lineitem": lineitem, "text_heavy": text, "numeric": numeric, "wide": wide, "nested": nested}
SIZES = {
    "smoke": {"lineitem": 20_000, "text_heavy": 1_000, "numeric": 2_000, "wide": 500, "nested": 2_000},
    "default": {"lineitem": 6_000_000, "text_heavy": 100_000, "numeric": 600_000, "wide": 80_000, "nested": 600_000},
    "full": {"lineitem": 60_000_000, "text_heavy": 1_000_000, "numeric": 6_000_000, "wide": 800_000, "nested": 6_000_000},
}
COLUMNS = {"lineitem": "* EXCLUDE (line)"}  # else all
WHAT = {
    "lineitem": "TPC-H's lineitem, 16 columns", "text_heavy": "quotes, commas, line ends, Unicode, long strings",
    "numeric": "doubles, decimals, timestamps", "wide": "200 columns", "nested": "lists, structs, maps",
}


def query(table, where=""):
    return f"SELECT {COLUMNS.get(table, '*')} FROM {table}{' WHERE ' + where if where else ''}"


def lines(count, size):
    """The query of so many lines out of lineitem's `size` rows: all of it as often as it goes, and the rest."""
    whole, rest = divmod(count, size)
    return " UNION ALL ".join([query("lineitem")] * whole + ([query("lineitem", f"line <= {rest}")] if rest else []))


def make(run, directory, kind):
    """The DuckDB file of the data, made where it is not there; `run` is tools/duckdb_run. Its path, and rows by table."""
    # The SQL is part of the name, so that other SQL makes another file.
    statements = [MAKERS[name](rows) for name, rows in SIZES[kind].items()]
    mark = f"{hash_of(json.dumps(statements)):016x}"
    path = os.path.join(directory, f"{kind}-{mark}.duckdb")
    if not os.path.exists(path):
        for name in os.listdir(directory):
            if name.startswith(kind + "-") and ".duckdb" in name:
                os.unlink(os.path.join(directory, name))
        subprocess.run([run, path + ".new", "SET preserve_insertion_order = true", "SET memory_limit = '4GB'", *statements, "CHECKPOINT"], check=True)
        os.replace(path + ".new", path)
    return path, SIZES[kind]


def hash_of(text_):
    value = 14695981039346656037  # FNV-1a
    for byte in text_.encode():
        value = (value ^ byte) * 1099511628211 % (1 << 64)
    return value
