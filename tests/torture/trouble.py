"""What goes wrong: processes, services, networks. Each fault takes its dice, happens, makes good again what it broke, and
says (what it was, the details)."""
import os
import signal
import threading
import time

from cluster import LEASE_S
from fault_server import load
from peers.pg_proxy import WRITES

# Statements whose commit is worth losing.
COMMITS = {"any": WRITES, "create": r"INSERT INTO downloads\s", "claim": r"INSERT INTO downloads_attempts",
           "note": r"SET upload_id", "publish": r"state = 'published', object_key"}
# Files of tests/s3/faults that a download survives.
S3_SCRIPTS = ["part_500", "part_503_slow_down", "part_reset_midway", "put_429_retry_after", "complete_200_with_error",
              "complete_answer_lost", "complete_no_such_upload_after_a_retry", "create_answer_lost", "idle_connections_are_closed"]


class Script:
    """The fault of a FaultServer, changed while it runs."""

    def __init__(self):
        self.lock, self.fault, self.struck = threading.Lock(), None, 0

    def play(self, name):
        with self.lock:
            self.fault = name and load(name)

    def on(self, request, seen):
        with self.lock:
            act = self.fault(request, seen) if self.fault else None
            self.struck += act is not None
        return act


# --- processes ---

def kill_server(instance, dice):
    """And started again: now and then when the other has taken up its jobs."""
    away_s = dice.choice([0, *(dice.uniform(0, 1) for _ in range(4)), LEASE_S * 1.5])
    instance.end(signal.SIGKILL)
    time.sleep(away_s)
    instance.start()
    return "server killed", f"instance {instance.number}, away for {away_s:.2f} s"


def kill_worker(cluster, dice):
    """None where none runs any more."""
    place = dice.random()
    workers = [(i.number, pid) for i in cluster.answering() for pid in i.server.workers()]
    if not workers:
        return None
    number, pid = workers[int(place * len(workers))]
    return ("worker killed", f"one of instance {number}") if signalled(pid, signal.SIGKILL) else None


def end_server(instance, dice):
    """As at a deployment."""
    away_s = dice.uniform(0, 1)
    instance.end(signal.SIGTERM)
    time.sleep(away_s)
    instance.start()
    return "server ended", f"instance {instance.number}, away for {away_s:.2f} s"


def freeze_server(instance, dice):
    for_s = LEASE_S * dice.uniform(1.2, 2)
    instance.freeze()
    time.sleep(for_s)
    instance.thaw()
    return "server frozen", f"instance {instance.number} for {for_s:.2f} s"


def signalled(pid, number):
    try:
        os.kill(pid, number)
        return True
    except ProcessLookupError:
        return False


# --- services ---

def kill_postgres(cluster, dice):
    away_s = dice.random() * LEASE_S
    cluster.place.postgres.kill()
    time.sleep(away_s)
    cluster.place.postgres.start()
    return "Postgres killed", f"away for {away_s:.2f} s"


def kill_s3(cluster, dice):
    away_s = dice.random()
    cluster.place.swift.kill_proxy()
    time.sleep(away_s)
    cluster.place.swift.start_proxy()
    return "S3 killed", f"away for {away_s:.2f} s"


def _pause(name, peer, dice):
    for_s = dice.uniform(0.3, 1.25 * LEASE_S)
    peer.pause()
    try:
        time.sleep(for_s)
    finally:
        peer.resume()
    return f"{name} paused", f"for {for_s:.2f} s"


def pause_postgres(cluster, dice):
    return _pause("Postgres", cluster.place.postgres, dice)


def pause_s3(cluster, dice):
    return _pause("S3", cluster.place.swift, dice)


# --- networks, of one instance ---

def _network(cluster, dice, where, what):
    instance = dice.choice(cluster.instances)
    network = getattr(instance, where)
    for_s = dice.choice([0, dice.uniform(0.1, 1.25 * LEASE_S)])
    more = ""
    if what == "slow":
        delay_s, for_s = dice.uniform(0.05, 0.3), max(for_s, 1)
        network.slow(delay_s)
        more = f", {delay_s * 1000:.0f} ms a piece"
    else:
        getattr(network, what)()
    time.sleep(for_s)
    network.heal()
    network.slow(cluster.pace_s if where == "s3" else 0)
    return f"{where} {what}", f"at instance {instance.number} for {for_s:.2f} s{more}"


def _network_fault(where, what):
    def fault(cluster, dice):
        return _network(cluster, dice, where, what)
    return fault


NETWORKS = [_network_fault(where, what) for where in ("postgres", "s3") for what in ("cut", "mute", "slow")]
SERVICES = [kill_postgres, pause_postgres, kill_s3, pause_s3]


def lose_commit(instance, name, place):
    """The next of a kind, at one instance."""
    instance.commits.commit_fault = (place, COMMITS[name])
    return f"commit cut off {place}", f"{name}, at instance {instance.number}"
