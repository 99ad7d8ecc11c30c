"""A script that a lab may have written: no lock, status.json rewritten in place, no care for what may go wrong."""

import json
import pathlib
import subprocess
import sys

MAIN = pathlib.Path(__file__).resolve().parent / "main.py"
ERROR_CHARS = 2000


def read(status_file):
    with open(status_file, encoding="utf-8") as file:
        return json.load(file)


def write(status_file, status):
    with open(status_file, "w", encoding="utf-8") as file:
        json.dump(status, file, indent=2)


def claim(status_file):
    """Sets the first pending job to processing, in the very list that it was found in, and gives its uuid."""
    status = read(status_file)
    for job in status["jobs"]:
        if job["status"] == "pending":
            job["status"] = "processing"
            write(status_file, status)
            return job["uuid"]
    return None


def finish(status_file, uuid, **fields):
    status = read(status_file)
    for job in status["jobs"]:
        if job["uuid"] == uuid:
            job.update(fields)
    write(status_file, status)


def main(shared):
    shared = pathlib.Path(shared)
    status_file = shared / "request" / "status.json"
    uuid = claim(status_file)
    if uuid is None:
        return
    request, response = shared / "request" / f"{uuid}.json", shared / "response" / f"{uuid}.json"
    command = [sys.executable, MAIN, request, response]
    run = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace")
    if run.returncode == 0:
        finish(status_file, uuid, status="done")
    else:
        error = run.stderr[-ERROR_CHARS:] or f"exit code {run.returncode}"
        finish(status_file, uuid, status="done", outcome="failed", error=error)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: naive.py SHARED_DIRECTORY")
    main(sys.argv[1])
