"""Runs one job on MotherDuck in a server that has no network but loopback, and prints its last event. To be started by
`unshare -n`, which leaves even loopback down. Usage: no_network.py DIRECTORY EXTENSIONS TOKEN"""
import fcntl
import json
import pathlib
import socket
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

from service import Service  # noqa: E402

SIOCSIFFLAGS, IFF_UP = 0x8914, 1
directory, extensions, token = sys.argv[1:]
try:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
except PermissionError:
    pass  # not in a network of its own
with Service(directory, MOTHERDUCK_DB_NAME="sales", MOTHERDUCK_TOKEN=token, MOTHERDUCK_SPARES=0,
             DUCKDB_EXTENSION_DIR=extensions) as service:
    print(json.dumps(service.run("SELECT 1").data))
    service.stop()
