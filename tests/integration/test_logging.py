"""The log: two forms, a file that can be rotated, and nothing secret in it."""
import json
import re
import signal

from service import wait_for


def test_prod_is_one_json_object_a_line(service):
    server = service(LOGGER_MODE="prod")
    stream, job = server.begin("SELECT 1")
    list(stream.events())
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.log]
    assert all({"time", "level", "message"} <= set(line) for line in lines)
    assert {"created", "attempt 1"} <= {line["message"] for line in lines if line.get("download") == job}
    assert (server.directory / "gopie.log").read_text() == "".join(server.log)


def test_dev_is_for_people(service):
    server = service()
    assert server.stop() == 0
    assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+ (info|warn) ", server.log[0])


def test_levels(service):
    server = service(LOGGER_LEVEL="debug")
    server.run("SELECT 1")
    server.stop()
    server = service(LOGGER_MODE="prod", LOGGER_FILE="short.log")
    server.run("SELECT nothing")
    server.stop()
    assert {json.loads(line)["level"] for line in server.log} <= {"info", "warn", "error"}


def test_a_rotated_file_is_opened_anew(service):
    server = service()
    log = server.directory / "gopie.log"
    log.rename(server.directory / "gopie.log.1")
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: log.exists() and "opened anew" in log.read_text(), "the new file")
    server.run("SELECT 1")
    assert "created" in log.read_text()
    assert "created" not in (server.directory / "gopie.log.1").read_text()


def test_no_link_and_no_key_is_logged(service):
    server = service(LOGGER_LEVEL="debug")
    link = server.run("SELECT 1").data["message"]
    server.fetch(link)
    server.fetch(link[:-1] + "x")
    server.stop()
    log = "".join(server.log)
    assert link.split("signature=")[1] not in log and "signature" not in log
    assert (server.data / "link.key").read_text().strip() not in log
