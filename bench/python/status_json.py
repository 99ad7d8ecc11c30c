"""status.json rewritten as the specification shows it: the whole file in, one change, the whole file out, durable.

Reads commands of the form `add UUID` and `change UUID`, and answers each when it is done.
"""

import json
import sys

from queue_file import rewrite

path = sys.argv[1]
for line in sys.stdin:
    verb, uuid = line.split()
    with open(path, encoding="utf-8") as file:
        status = json.load(file)
    if verb == "add":
        job = {"uuid": uuid, "api": "soc", "status": "pending", "request_date": "2026-11-22T18:30:00.000+09:00"}
        status["jobs"].append(job)
    else:
        for job in status["jobs"]:
            if job["uuid"] == uuid:
                job["status"] = "processing"
                break
    rewrite(path, status)
    print("done", flush=True)
