"""The benchmark runs to its end on tiny data, and its page has every row. How fast it was nobody looks at."""
import os
import re
import signal
import subprocess
import time
import xml.etree.ElementTree

import pytest

from service import BUILD, ROOT, wait_for

TABLES = ["lineitem", "text_heavy", "numeric", "wide", "nested"]
EVERY_TABLE = ["limit: drain the query", "DuckDB COPY to /dev/null", "DuckDB COPY to a file", "ours to the sink"]
LINEITEM = ["DuckDB COPY to S3", "DuckDB COPY to the sink", "limit: upload to S3", "limit: upload to the sink", "ours, local store",
            "ours to S3, unsigned", "ours to S3, signed"]
CACHE = ROOT / ".cache" / "bench"


def start(output, *options):
    environment = os.environ | {"BUILD_DIR": str(BUILD)}
    return subprocess.Popen(["/usr/bin/python3", ROOT / "bench" / "run.py", "--smoke", "--output", output, *options], env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def sections(page):
    """The rows' cells by heading."""
    found = {}
    for part in re.split(r"^## ", page, flags=re.M)[1:]:
        heading, _, body = part.partition("\n")
        found[heading] = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.split("\n") if line.startswith("|")]
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    output = tmp_path_factory.mktemp("bench")
    run = start(output)
    told, _ = run.communicate(timeout=300)
    assert run.returncode == 0, told
    return output, (output / "RESULTS.md").read_text(encoding="utf-8")


def test_every_table_has_every_contestant(page):
    for name in TABLES:
        rows = next(rows for heading, rows in sections(page[1]).items() if heading.startswith(name + ":"))
        assert {r[0] for r in rows[2:]} == set(EVERY_TABLE + (LINEITEM if name == "lineitem" else []))
        for r in rows[2:]:
            for cell in r[1:7]:
                assert re.match(r"[\d,.]+$", cell) or r[0].startswith("limit: upload"), r


def test_every_target_has_a_figure(page):
    rows = sections(page[1])["Targets"][2:]
    assert {r[0] for r in rows} == set("1234567")
    missing = [r[1] for r in rows if "not measured" in r[3]]
    assert missing == ["worker's peak RssAnon, 20 GB against 1 GB (FULL=1)"]
    for r in rows:
        assert r[4] in ("reached", "**not reached**", "–"), r


def test_stages_sizes_and_loads_are_there(page):
    found = sections(page[1])
    assert found["Where the time goes"][0][1:] == ["query", "encode", "hash", "send (server)", "sum"]
    assert [r[0] for r in found["Where the time goes"][2:]] == [f"{t}, {w}" for t in TABLES for w in ("ours", "DuckDB")]
    assert len(found["Against size"]) == 2 + 4 and len(found["Ten at once"]) == 2 + 2 and len(found["Small jobs"]) == 2 + 6
    assert "postgres" in found["Small jobs"][-1][-1] and "swift" in found["Small jobs"][-1][-1]
    for text in ("nan", "inf ", "None"):
        assert text not in page[1]


def test_plots_are_drawn(page):
    named = re.findall(r"\]\((plots/[^)]*)\)", page[1])
    assert len(named) == 6
    for name in named:
        root = xml.etree.ElementTree.parse(page[0] / name).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and len(list(root)) > 10


def test_an_interrupt_leaves_nothing(page, tmp_path):
    """Nor does it leave processes: what was started here has our mark in its environment."""
    del page  # the data is there by now
    mark = f"BENCH_TEST={os.getpid()}-{time.monotonic_ns()}"
    os.environ.update([mark.split("=")])
    try:
        run = start(tmp_path)
    finally:
        del os.environ["BENCH_TEST"]
    for line in run.stdout:
        if "round 1" in line:
            break

    def marked():
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as f:
                    if mark.encode() in f.read():
                        found.append(int(pid))
            except OSError:
                pass
        return found

    assert len(marked()) > 3
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)
    assert run.returncode != 0
    wait_for(lambda: not marked(), "the end of all that was started")
    assert not [n for n in os.listdir(CACHE) if f"-{run.pid}-" in n]
