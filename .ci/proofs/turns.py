#!/usr/bin/env python3
"""A lab's own script, as a lab may write it, in a loop: no longer than it must be, and no more careful. It says what
it is doing in Japanese, and reads and writes as its locale has it.

    turns.py SHARED naive      # rewrites status.json in place, and takes no lock
    turns.py SHARED lock       # takes request/.status.lock around that
"""

import contextlib
import fcntl
import json
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from proofs import program  # noqa: E402

PAUSE_S = 0.05


class Turns:
    def __init__(self, shared, takes_lock):
        self.shared, self.takes_lock = pathlib.Path(shared), takes_lock
        self.status = self.shared / "request/status.json"

    @contextlib.contextmanager
    def turn(self):
        if not self.takes_lock:
            yield
            return
        with open(self.shared / "request/.status.lock", "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def update(self, change):
        """Rewrites the queue; gives what `change` gives. Half a file of somebody else's is read again."""
        while True:
            try:
                with self.turn():
                    queue = json.loads(self.status.read_text())
                    changed = change(queue["jobs"])
                    if changed:
                        self.status.write_text(json.dumps(queue, indent=2, ensure_ascii=False))
                    return changed
            except (ValueError, FileNotFoundError):
                time.sleep(PAUSE_S)

    def run_one(self):
        uuid = self.update(claim)
        if not uuid:
            time.sleep(PAUSE_S)
            return
        program.main(self.shared / f"request/{uuid}.json", self.shared / f"response/{uuid}.json")
        self.update(lambda jobs: [job.update(status="done") for job in jobs if job["uuid"] == uuid])


def claim(jobs):
    for job in jobs:
        if job["status"] == "pending":
            job.update(status="processing", message="計算中")
            return job["uuid"]
    return None


if __name__ == "__main__":
    os.environ.setdefault("PROOF_ACTOR", sys.argv[2])
    turns = Turns(sys.argv[1], sys.argv[2] == "lock")
    while True:
        turns.run_one()
