"""The S3 server of bench/sink.c, which counts what it gets and throws it away.

    with Sink() as sink:
        sink.endpoint, sink.bucket, sink.access_key, sink.secret_key, sink.region
        sink.stats()                # what came, as a dict (bench/sink.c says what is in it)
        sink.reset()                # counts from zero; returns what was counted by then"""
import json
import os
import pathlib
import subprocess
import urllib.request

BUILD = pathlib.Path(os.environ.get("BUILD_DIR", pathlib.Path(__file__).resolve().parents[2] / "build")).resolve()


class Sink:
    bucket, access_key, secret_key, region = "sink", "nobody", "nothing", "us-east-1"

    def __init__(self):
        self.process = subprocess.Popen([BUILD / "bench" / "sink"], stdout=subprocess.PIPE, text=True)
        first = self.process.stdout.readline()
        if not first.startswith("listens on "):
            raise RuntimeError("the sink did not start")
        self.endpoint = "http://" + first.split()[-1]

    @property
    def pid(self):
        return self.process.pid

    def _get(self, path):
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(self.endpoint + path, timeout=10) as answer:
            return json.load(answer)

    def stats(self):
        return self._get("/stats")

    def reset(self):
        return self._get("/stats?reset")

    def environment(self):
        """As Swift.environment()."""
        return {"S3_ENDPOINT": self.endpoint, "S3_BUCKET": self.bucket, "S3_ACCESS_KEY": self.access_key,
                "S3_SECRET_KEY": self.secret_key, "S3_REGION": self.region}

    def stop(self):
        """What it counted."""
        self.process.terminate()
        last = self.process.stdout.read()
        self.process.stdout.close()
        assert self.process.wait(10) == 0
        return json.loads(last)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()
