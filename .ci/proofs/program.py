#!/usr/bin/env python3
"""The lab's program, as careless as programs are: writes its response in place, and syncs nothing.

Each run notes its start and its end in the file that PROOF_RUNS names, which no power cut reaches: what is known of it
afterwards is what really happened. Every run answers with something that no other run answers.
"""

import json
import os
import sys
import time


def answer(uuid, run, size_bytes):
    """The bytes that this run, and no other, writes."""
    return json.dumps({"uuid": uuid, "run": run, "padding": "x" * size_bytes}).encode()


def main(request_file, response_file):
    with open(request_file, encoding="utf-8") as file:
        request = json.load(file)
    uuid, wishes = request["uuid"], request["input"]
    run, size_bytes = os.urandom(8).hex(), wishes["size_bytes"]
    note(event="start", uuid=uuid, run=run, size_bytes=size_bytes)
    time.sleep(wishes["seconds"])
    with open(response_file, "wb") as file:
        file.write(answer(uuid, run, size_bytes))
    note(event="end", uuid=uuid, run=run, size_bytes=size_bytes)


def note(**line):
    line = {**line, "actor": os.environ["PROOF_ACTOR"], "time": time.time()}
    runs = os.open(os.environ["PROOF_RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    # One write: lines of programs that run at once do not mix.
    os.write(runs, f"{json.dumps(line)}\n".encode())
    os.close(runs)


def runs_in(file):
    """What the runs have noted."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


if __name__ == "__main__":
    main(*sys.argv[1:])
