"""deploy/: what can be held of it without a Docker engine. The programs run from the image's layout, as its user, without capabilities."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest
import yaml

from service import BUILD, ROOT, SERVER, Service, make_source

COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")
RUNTIME = DOCKERFILE[DOCKERFILE.rindex("\nFROM "):]


def instructions(text, name):
    return [line[len(name):].strip() for line in text.splitlines() if line.startswith(name + " ")]


def our_environment():
    """Of the container: the image's, then the composition's."""
    image = dict(pair.split("=", 1) for line in instructions(RUNTIME, "ENV") for pair in line.split())
    return image | COMPOSE["services"]["downloads-server"]["environment"]


def test_the_variables_are_those_of_the_server():
    names = set(subprocess.run([SERVER, "serve", "--print-names"], capture_output=True, text=True, check=True).stdout.split())
    assert set(our_environment()) <= names
    # a composition takes texts only: a number or a truth value of YAML may arrive as another text
    for name, service in COMPOSE["services"].items():
        assert all(isinstance(value, str) for value in service.get("environment", {}).values()), name


def test_their_values_are_taken(tmp_path):
    """Nothing of it is wrong by itself; that nobody answers is another matter, and another status."""
    given = {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) for name, value in our_environment().items()}
    given = {name: re.sub(r"\$\{\w+:\?\}", "given by the operator", value) for name, value in given.items()} | {
        "GOPIE_DS_DATA_DIR": str(tmp_path), "GOPIE_DS_POSTGRES_HOST": "127.0.0.1", "GOPIE_DS_POSTGRES_PORT": "1",
        "GOPIE_DS_S3_ENDPOINT": "http://127.0.0.1:1", "GOPIE_DS_STARTUP_WAIT": "1s"}
    done = subprocess.run([SERVER, "serve", "--check-config"], cwd=tmp_path, env={"PATH": os.environ["PATH"]} | given, capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 1, done.stderr  # 2: a value is wrong


def test_secrets_are_not_in_the_file():
    for name, service in COMPOSE["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|DBSTRING|MC_HOST", variable):
                assert re.search(r"\$\{\w+:\?\}", value), f"{name}: {variable} must be given, and has no default"


def test_what_is_named_is_there():
    services = COMPOSE["services"]
    for name, service in services.items():
        needs = service.get("depends_on", {})
        for other in needs:
            assert other in services, (name, other)
            if isinstance(needs, dict) and needs[other]["condition"] == "service_healthy":
                assert "healthcheck" in services[other] or (other == "downloads-server" and "HEALTHCHECK" in RUNTIME)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith("./") or source in COMPOSE["volumes"]
    ours = services["downloads-server"]
    assert (ROOT / "deploy" / ours["build"]["context"] / ours["build"]["dockerfile"]).exists()
    assert ours["cap_drop"] == ["ALL"] and ours["read_only"] is True and instructions(RUNTIME, "USER") == ["downloads"]
    grace, stop = (int(value.removesuffix("s")) for value in (our_environment()["GOPIE_DS_SHUTDOWN_GRACE"], ours["stop_grace_period"]))
    assert stop > grace + 5  # beyond it the server has 5 s to write down what it did not finish


def test_the_image_has_the_libraries():
    """The packages that the programs' libraries come from are installed in it."""
    installed = set(re.search(r"apt-get install -y --no-install-recommends ([^&]*)&&", RUNTIME).group(1).split())
    always = {"libc6", "libgcc-s1"}
    for program in (BUILD / "downloads-server", BUILD / "downloads-worker", ROOT / ".deps" / "duckdb" / "libduckdb.so"):
        needed = re.findall(r"NEEDED.*\[(.*)\]", subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=True).stdout)
        for library in needed:
            if library == "libduckdb.so":
                continue
            owners = subprocess.run(["dpkg", "-S", f"*/{library}"], capture_output=True, text=True, check=True).stdout
            packages = {line.split(":")[0] for line in owners.splitlines() if "x86_64-linux-gnu" in line or "/lib64/" in line}
            assert packages & (installed | always), (program.name, library, packages)


@pytest.fixture
def image():
    """The files of the image's last stage below a directory, as its COPY lines put them there. Not below pytest's own directory, which
    other users may not enter."""
    root = pathlib.Path(tempfile.mkdtemp(prefix="downloads-image-"))
    root.chmod(0o755)
    for line in instructions(RUNTIME, "COPY --from=build"):
        *sources, target = line.split()
        place = root / target.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        for source in sources:
            path = source.removeprefix("/src/")
            path = BUILD / path.removeprefix("build/") if path.startswith("build/") else ROOT / path
            shutil.copy(path, place)
    yield root
    shutil.rmtree(root)


def test_the_programs_run_as_in_the_image(image):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    home = image / instructions(RUNTIME, "WORKDIR")[0].lstrip("/")
    home.mkdir(parents=True)
    source = make_source(home / "shop.duckdb", "CREATE TABLE t AS SELECT range AS id FROM range(1000)")
    user = int(re.search(r"--uid (\d+)", RUNTIME).group(1))
    for path in (home, source):
        os.chown(path, user, user)
    programs = image / "opt" / "downloads-server"
    found = subprocess.run(["ldd", programs / "build" / "downloads-worker"], capture_output=True, text=True, check=True).stdout
    assert str(programs / ".deps" / "duckdb" / "libduckdb.so") in os.path.normpath(re.search(r"libduckdb.so => (\S+)", found).group(1))

    image_environment = dict(pair.split("=", 1) for line in instructions(RUNTIME, "ENV") for pair in line.split())
    service = Service(home, source, SANDBOX="required", SERVER_HOST="127.0.0.1", DATA_DIR=home / "data", LOGGER_FILE=image_environment["GOPIE_DS_LOGGER_FILE"],
                      LOGGER_MODE=image_environment["GOPIE_DS_LOGGER_MODE"])
    # the user of the image, no capability, none to be had
    service.command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all",
                       str(programs / "build" / "downloads-server")]
    with service:
        status = pathlib.Path(f"/proc/{service.process.pid}/status").read_text()
        assert re.search(rf"Uid:\s+{user}\s+{user}\s", status) and re.search(r"CapEff:\s+0+$", status, re.M)
        last = service.run("SELECT count(*) AS n FROM t")
        assert last.type == "complete", last.data
        assert service.fetch(last.data["message"]).body == b"n\n1000\n"
        assert service.request("GET", "/swagger/index.html", headers={}).status == 200
        refused = service.run("SELECT * FROM read_text('/etc/passwd')")
        assert refused.type == "error" and "root:" not in refused.data["message"]
        assert service.stop() == 0
