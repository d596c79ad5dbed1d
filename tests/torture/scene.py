"""A cluster with its clients, in a database and a bucket of its own, and the verdict behind it:

    with stage(count=2, QUEUE_WORKERS=1) as scene:
        scene.load.post(...)
        scene.happened(1, trouble.kill_worker(scene.cluster, dice))"""
from cluster import Cluster
from fault_server import FaultServer
from load import Load
from trouble import Script
from verdict import Verdict


class Scene:
    def __init__(self, make_place, expected, counts, count=2, s3_faults=False, **variables):
        """`s3_faults`: the double for faults stands before the S3 server, and plays `script`."""
        self.expected, self.counts, self.s3_faults = expected, counts, s3_faults
        self.make_place, self.count, self.variables, self.script = make_place, count, variables, Script()
        self.expect = {}  # of Verdict.check()

    def __enter__(self):
        self.place = self.make_place()
        self.faults = FaultServer(self.place.swift, self.script.on) if self.s3_faults else None
        port = self.faults.server_address[1] if self.faults else None
        try:
            self.cluster = Cluster(self.place, self.count, s3_port=port, **self.variables)
        except BaseException:
            self.leave()
            raise
        self.load = Load(self.cluster)
        return self

    def happened(self, number, fault, *more):
        what, details = fault
        self.load.note(what)
        print(f"{self.counts.scenario} {number}: {what}", *filter(None, (details, *more)), sep="; ", flush=True)

    def __exit__(self, kind, *_):
        try:
            if not kind:
                Verdict(self.cluster, self.load, self.expected, self.counts).check(**self.expect)
        finally:
            self.cluster.__exit__()
            self.leave()

    def leave(self):
        if self.faults:
            self.faults.__exit__()
        for key in self.place.objects():
            self.place.s3.delete_object(Bucket=self.place.bucket, Key=key)
