"""A stored job ends, exactly one attempt's result is published, and its file is whole, whatever dies."""
import functools
import random
import signal
import threading
import time

import settings
import trouble
from cluster import LEASE_S
from load import FAILING, LARGE, MULTIPART, SIZES, SLOW, TINY, Listener, draw
from service import ENDLESS, alive, wait_for

CHAPTER = 50  # rounds; then another database and bucket: a disk is only so large
BACKLOG = 8  # jobs that wait or run when a round begins
PACE_S = 0.025  # a piece (Cluster.pace()): 10 MB/s on a connection


def chapters(scenario):
    rounds = settings.rounds(scenario)
    return [rounds[i:i + CHAPTER] for i in range(0, len(rounds), CHAPTER)]


def post_some(scene, dice, kinds=SIZES):
    """Some jobs, at some instances; a random moment later."""
    for _ in range(dice.randint(1, 3)):
        scene.load.in_background(scene.load.post, dice.choice(scene.cluster.instances), draw(dice, kinds), tries=4)
    moment = dice.uniform(0, 0.6)
    time.sleep(moment)
    return f"{moment:.2f} s behind its posts"


def test_kill(stage):
    for chapter in chapters("kill"):
        with stage() as scene:
            scene.cluster.pace(PACE_S)
            for number, dice in chapter:
                moment = post_some(scene, dice, [*SIZES, (SLOW, 6)])
                server = dice.choice(scene.cluster.instances)
                killed = number % 3 and trouble.kill_worker(scene.cluster, dice) or trouble.kill_server(server, dice)
                scene.happened(number, killed, moment)
                scene.cluster.wait_queue(BACKLOG)


def in_turn(scenario, kinds):
    """All of them, each as often as the others, in an order of this seed."""
    settings.drawn(scenario, 0).shuffle(kinds)
    return lambda number: kinds[number % len(kinds)]


def test_services(stage):
    """One service or network fails, each instance loses a commit, and the S3 server answers by a script, all in the same round."""
    fault = in_turn("services", trouble.SERVICES + trouble.NETWORKS)
    commit = in_turn("commits", [(name, place) for name in trouble.COMMITS for place in ("before", "unsynced", "racing", "after")])
    script = in_turn("scripts", list(trouble.S3_SCRIPTS))
    commits, struck, rounds = 0, 0, 0
    for chapter in chapters("services"):
        with stage(s3_faults=True) as scene:
            scene.cluster.pace(PACE_S)
            for number, dice in chapter:
                scene.script.play(script(number))
                for n, instance in enumerate(scene.cluster.instances):
                    scene.happened(number, trouble.lose_commit(instance, *commit(2 * number + n)), script(number))
                moment = post_some(scene, dice, [*SIZES, (list(FAILING), 1)])
                scene.happened(number, fault(number)(scene.cluster, dice), moment)
                scene.cluster.wait_queue(BACKLOG)
            scene.cluster.pace(0)
            scene.load.wait()
            scene.script.play(None)
            rounds += len(chapter)
            commits += sum(i.commits.faults_made for i in scene.cluster.instances)
            struck += scene.script.struck
    # A commit that did not come in its round is not waited for.
    assert settings.ONLY or min(commits, struck) >= rounds / 2, f"{commits} commits cut off, {struck} requests interfered with"


# --- what is late ---

def in_flight(scene, dice):
    """(job, the instance that runs it, the other). Its upload has been noted, and parts of it are sent; its worker has filled all
    buffers, or is about to, and is there for seconds."""
    load, instances = scene.load, scene.cluster.instances
    scene.cluster.pace(0.1)
    sent = {i: i.s3.sent for i in instances}
    instance = dice.choice(instances)
    life = instance.life
    stream, created = load.create(instance, LARGE[0])
    job = created.data["id"]
    load.in_background(Listener(load, instance, life, job, created.id).read, stream)
    owner = scene.cluster.owner_of(job)
    wait_for(lambda: owner.s3.sent > sent[owner] + 500_000, "parts are sent")
    time.sleep(dice.uniform(0, 0.5))
    return job, owner, next(i for i in instances if i is not owner)


def must_be_lost(scene, job, attempt):
    """Where another took the job up."""
    state = scene.cluster.instances[0].server.get("/downloads/" + job)["attempts"][attempt - 1]["state"]
    if scene.cluster.attempt_of(job) > attempt and state != "lost":
        scene.load.problem(job, f"attempt {attempt} was lost, and is {state}")


def frozen_server(scene, dice, worker_too=False):
    """Past its lease; it goes on when the other has taken the job up, while it runs there, or when it is done."""
    job, late, other = in_flight(scene, dice)
    first = scene.cluster.attempt_of(job)
    workers = late.server.workers() if worker_too else []
    for pid in workers:
        trouble.signalled(pid, signal.SIGSTOP)
    late.freeze()
    wait_for(lambda: scene.cluster.attempt_of(job) > first or scene.cluster.queued() == 0, "the other takes it up")
    when = dice.choice(["at once", "a little later", "when it is done"])
    scene.cluster.pace(0)
    if when == "when it is done":
        scene.cluster.wait_queue(0)
    elif when == "a little later":
        time.sleep(dice.uniform(0, 0.5))
    late.thaw()
    wait_for(lambda: not late.server.workers(), "the late one stops its worker")
    scene.cluster.wait_queue(0)
    must_be_lost(scene, job, first)
    return "server and worker frozen" if worker_too else "server frozen", f"instance {late.number}, goes on {when}"


def frozen_network(scene, dice):
    """The server's way to Postgres, past its lease: what it said when its file was done arrives while another has the job."""
    job, late, other = in_flight(scene, dice)
    first = scene.cluster.attempt_of(job)
    late.postgres.mute()
    late.s3.slow(0)
    wait_for(lambda: any(job in line and " rows, " in line for line in late.server.log), "its file is done")
    wait_for(lambda: scene.cluster.attempt_of(job) > first, "the other takes it up")
    time.sleep(dice.uniform(0, 0.3))
    late.postgres.heal()
    scene.cluster.pace(0)
    scene.cluster.wait_queue(0)
    must_be_lost(scene, job, first)
    return "way to Postgres frozen", f"of instance {late.number}"


def frozen_worker(scene, dice):
    """Its server renews the lease: nobody takes the job."""
    job, owner, other = in_flight(scene, dice)
    attempt = scene.cluster.attempt_of(job)
    pids = [p for p in owner.server.workers() if trouble.signalled(p, signal.SIGSTOP)]
    scene.cluster.pace(0)
    time.sleep(LEASE_S * 1.5)  # nothing is to happen
    for pid in pids:
        trouble.signalled(pid, signal.SIGCONT)
    scene.cluster.wait_queue(0)
    if not pids or scene.cluster.attempt_of(job) != attempt:
        scene.load.problem(job, "was taken from a server that answers, or had no worker to freeze")
    return "worker frozen", f"of instance {owner.number}"


def frozen_worker_of_the_dead(scene, dice):
    """It must not outlive its server, nor come back."""
    job, owner, other = in_flight(scene, dice)
    pids = [p for p in owner.server.workers() if trouble.signalled(p, signal.SIGSTOP)]
    owner.end(signal.SIGKILL)
    wait_for(lambda: not any(alive(p) for p in pids), "a frozen worker dies with its server", 5)
    owner.start()
    scene.cluster.pace(0)
    scene.cluster.wait_queue(0)
    return "worker frozen, server killed", f"instance {owner.number}"


def test_frozen(stage):
    kind = in_turn("frozen", [frozen_server, frozen_network, frozen_worker, functools.partial(frozen_server, worker_too=True),
                              frozen_worker_of_the_dead])
    with stage() as scene:
        for number, dice in settings.rounds("frozen", 0.1, 5):
            scene.happened(number, kind(number)(scene, dice))
            scene.load.wait()


# --- an outage, restarts, cancelling ---

def test_away(stage):
    """Postgres is away while eight jobs run on two instances, and a third one is idle that would take them up. Some end
    meanwhile, some behind it."""
    lease_s, away_s = (20, 60) if settings.LONG else (LEASE_S, 3 * LEASE_S)
    with stage(QUEUE_WORKERS=4, JOB_LEASE=f"{lease_s}s") as scene:
        cluster, load = scene.cluster, scene.load
        cluster.pace(away_s / 50)
        for instance in cluster.instances:
            for query in [MULTIPART[0], *3 * LARGE]:
                load.in_background(load.post, instance, query)
        wait_for(lambda: sum(len(i.server.workers()) for i in cluster.instances) == 8, "eight workers")
        wait_for(lambda: cluster.place.sql("SELECT count(*) FROM downloads_queue WHERE owner IS NOT NULL") == [(8,)], "eight claims")
        cluster.add(QUEUE_WORKERS=8)
        cluster.place.postgres.kill()
        gone = time.monotonic()
        try:
            time.sleep(away_s)
        finally:
            cluster.place.postgres.start()
        scene.happened(1, ("Postgres away", f"for {time.monotonic() - gone:.1f} s, lease {lease_s} s"))
        scene.expect = {"attempts": 1, "failures": 0}
    assert scene.counts.jobs == 8


def test_rolling(stage):
    """Each job has a poster, and one who follows it wherever that is possible."""
    with stage(SHUTDOWN_GRACE="300ms") as scene:
        load, instances = scene.load, scene.cluster.instances
        scene.cluster.pace(PACE_S)
        for number, dice in settings.rounds("rolling", 0.2, 4):
            for _ in range(3):
                load.in_background(load.post, dice.choice(instances), draw(dice), follow=random.Random(dice.random()))
            time.sleep(dice.uniform(0, 0.6))
            scene.happened(number, trouble.end_server(instances[number % 2], dice))
            scene.cluster.wait_queue(BACKLOG)
        scene.expect = {"failures": 0}


def cancelled(load, instance, life, job, stream, version=0):
    """Reads the stream of a job that is deleted."""
    listener = Listener(load, instance, life, job, version)
    listener.read(stream)
    if not listener.last or listener.last.type != "error":
        load.problem(job, f"a stream of the deleted job ended with {listener.last and listener.last.text}")


def begin(scene, instance, query, joined_at):
    """A job with a poster and a follower."""
    load, life, other_life = scene.load, instance.life, joined_at.life
    stream, created = load.create(instance, query)
    job = created.data["id"]
    load.in_background(cancelled, load, instance, life, job, stream, created.id)
    load.in_background(cancelled, load, joined_at, other_life, job, joined_at.server.follow(job))
    return job


def cancel_running(scene, dice, query):
    instances = dice.sample(scene.cluster.instances, 2)
    job = begin(scene, instances[0], query, instances[1])
    owner = scene.cluster.owner_of(job)
    other = next(i for i in instances if i is not owner)
    pid = owner.server.wait_worker()
    if query != ENDLESS:
        wait_for(scene.place.uploads, "its upload is open")
    asked = time.monotonic()
    scene.load.delete(other, job)
    wait_for(lambda: not alive(pid), "its worker ends")
    took_s = time.monotonic() - asked
    if took_s > 1.5:
        scene.load.problem(job, f"its worker ended {took_s:.2f} s after it was deleted")
    scene.load.wait(3)
    wait_for(lambda: not scene.place.uploads(), "its upload is aborted", 10)
    return f"{'endless' if query == ENDLESS else 'uploading'} job deleted", f"its worker ended {took_s:.2f} s later"


def cancel_waiting(scene, dice):
    """Both workers are busy."""
    load, instances = scene.load, scene.cluster.instances
    busy = [begin(scene, i, ENDLESS, i) for i in instances]
    wait_for(lambda: all(i.server.workers() for i in instances), "busy workers")
    posted_at, deleted_at = dice.choice(instances), dice.choice(instances)
    job = begin(scene, posted_at, TINY[0], dice.choice(instances))
    load.delete(deleted_at, job)
    wait_for(lambda: scene.place.sql("SELECT 1 FROM downloads_queue WHERE id = %s", job) == [], "it leaves the queue")
    for one in busy:
        load.delete(dice.choice(instances), one)
    load.wait(5)
    scene.cluster.wait_queue(0)
    wait_for(lambda: not any(i.server.workers() for i in instances), "no worker is left")
    if scene.place.sql("SELECT 1 FROM downloads_attempts WHERE id = %s", job):
        load.problem(job, "was deleted while it waited, and ran")
    return "waiting job deleted", f"posted at {posted_at.number}, deleted at {deleted_at.number}"


def test_cancel(stage):
    kind = in_turn("cancel", [functools.partial(cancel_running, query=ENDLESS), functools.partial(cancel_running, query=LARGE[0]),
                              cancel_waiting])
    with stage(QUEUE_WORKERS=1) as scene:
        scene.cluster.pace(0.2)
        for number, dice in settings.rounds("cancel", 0.15, 3):
            scene.happened(number, kind(number)(scene, dice))
        assert scene.place.sql("SELECT count(*) FROM downloads") == [(0,)]


# --- all at once ---

class Chaos:
    """Clients and faults, each in a thread of its own with dice of its own, until the time is over."""

    def __init__(self, scene):
        self.scene, self.load, self.stop = scene, scene.load, threading.Event()

    def post(self, dice):
        load = self.load
        query = draw(dice, [(TINY, 10), (MULTIPART, 5), (LARGE, 1), (list(FAILING), 4), ([ENDLESS], 2)])
        instance, deleted_at, act = dice.choice(self.scene.cluster.instances), dice.choice(self.scene.cluster.instances), dice.random()
        before = load.done["not created"] + load.done["not reached"] + load.done["refused"]
        deletes = query == ENDLESS or act < 0.15
        load.post(instance, query, delete=deleted_at if deletes else None, leave=0.15 <= act < 0.35)
        if load.done["not created"] + load.done["not reached"] + load.done["refused"] > before:
            time.sleep(0.1)  # something is away

    def join(self, dice):
        with self.load.lock:
            jobs = list(self.load.accepted)[-20:]
        place, instance, leave = dice.random(), dice.choice(self.scene.cluster.instances), dice.random() < 0.2
        if jobs:
            self.load.join(instance, jobs[int(place * len(jobs))], leave)
        self.stop.wait(0.05)

    def client(self, dice, act):
        while not self.stop.is_set():
            act(dice)

    def trouble(self, dice, fault, pause_s):
        while not self.stop.wait(dice.random() * pause_s):
            self.scene.happened("", fault(dice))

    def hurt(self, instance, dice):
        return dice.choice([trouble.kill_server, trouble.end_server, trouble.freeze_server])(instance, dice)

    def run(self, dice, seconds):
        cluster, troubles = self.scene.cluster, []
        for act in [self.post] * 8 + [self.join] * 3:
            self.load.in_background(self.client, random.Random(dice.random()), act)
        faults = [(functools.partial(self.hurt, instance), 7) for instance in cluster.instances]
        faults += [(lambda d: d.choice(trouble.SERVICES)(cluster, d), 6), (lambda d: d.choice(trouble.NETWORKS)(cluster, d), 2)]
        for fault, pause_s in faults:
            self.load.in_background(self.trouble, random.Random(dice.random()), fault, pause_s)
            troubles.append(self.load.threads[-1])
        time.sleep(seconds)
        self.stop.set()
        for thread in troubles:  # all is up again
            thread.join(60)
        self.load.remove_endless()
        self.load.wait()
        self.load.remove_endless()


def test_chaos(stage):
    """Three instances, while instances, services, networks and clients come and go."""
    for number, dice in settings.rounds("chaos", 0.04):
        with stage(count=3, QUEUE_WORKERS=2, QUEUE_SIZE=40, SHUTDOWN_GRACE="300ms") as scene:
            Chaos(scene).run(dice, 6)
