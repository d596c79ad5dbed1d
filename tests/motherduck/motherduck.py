"""What the tests of MotherDuck share: places, the token, and the stand-in for its extension as a directory."""
import pathlib
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from service import wait_for  # noqa: E402

CACHE = ROOT / "build" / "motherduck"
TOKEN = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJlbWFpbCI6ImFubkBleGFtcGxlLm9yZyJ9.AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_aZ"
PLACE = pathlib.Path("v1.5.5") / "linux_amd64" / "motherduck.duckdb_extension"


def leaves_nothing(service):
    """Waits until nothing but finished files is left: a spill directory goes just after its job's last event."""

    def nothing():
        try:
            return all(name.startswith("files/") for name in service.files())
        except FileNotFoundError:  # it went while we looked
            return False

    wait_for(nothing, "no file left")


class StandIn:
    """A directory of extensions with the stand-in in it, and what it is told to do."""

    def __init__(self, directory, built, data):
        self.directory = directory
        self.beside = directory / PLACE.parent
        self.beside.mkdir(parents=True)
        shutil.copyfile(built, directory / PLACE)
        shutil.copyfile(data, self.beside / "sales.duckdb")
        self.configure()

    def configure(self, **options):
        lines = [f"{name} {value}\n" for name, value in ({"token": TOKEN} | options).items()]
        new = self.beside / "new.conf"
        new.write_text("".join(lines))
        new.rename(self.beside / "standin.conf")
