#!/usr/bin/env python3
"""The APP server's cron script, as plain as it can be: no lock, and status.json rewritten in place.

    * * * * * python3 cron.py /shared/bcrlapi

Takes the first pending job from the top, sets it to processing, runs main.py, sets it to done. Where a job can take
longer than a minute, runs overlap; give each its turn with `flock`, or use bcrlapi-worker.
"""

import json
import pathlib
import subprocess
import sys

MAIN = pathlib.Path(__file__).resolve().parent / "main.py"
ERROR_CHARS = 2000


def read_jobs(status_file):
    with open(status_file, encoding="utf-8") as file:
        return json.load(file)


def set_status(status_file, uuid, **fields):
    status = read_jobs(status_file)
    for job in status["jobs"]:
        if job["uuid"] == uuid:
            job.update(fields)
    with open(status_file, "w", encoding="utf-8") as file:
        json.dump(status, file, indent=2)


def main(shared):
    shared = pathlib.Path(shared)
    status_file = shared / "request" / "status.json"
    pending = [job["uuid"] for job in read_jobs(status_file)["jobs"] if job["status"] == "pending"]
    if not pending:
        return
    uuid = pending[0]
    set_status(status_file, uuid, status="processing")
    request, response = shared / "request" / f"{uuid}.json", shared / "response" / f"{uuid}.json"
    run = subprocess.run([sys.executable, MAIN, request, response], stderr=subprocess.PIPE, text=True)
    if run.returncode == 0:
        set_status(status_file, uuid, status="done")
    else:
        set_status(status_file, uuid, status="done", outcome="failed", error=run.stderr[-ERROR_CHARS:])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: cron.py SHARED_DIRECTORY")
    main(sys.argv[1])
