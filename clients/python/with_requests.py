#!/usr/bin/env python3
"""Submits a job, waits until it is done, writes its result. Needs requests and requests-aws4auth.

    with_requests.py API INPUT_FILE RESULT_FILE
"""

import os
import sys
import time
import uuid

import requests
from requests_aws4auth import AWS4Auth

PASSING = {429, 502, 503, 504}
TRIES_MAX = 10
TIMEOUT_S = 30
WAIT_MAX_S = 3600
# Where an answer does not say when to come back, or there is none.
RETRY_AFTER_S = 5


def setting(name):
    return os.environ.get(name) or sys.exit(f"{name} is not set")


def signature():
    keys = setting("AWS_ACCESS_KEY_ID"), setting("AWS_SECRET_ACCESS_KEY")
    token = os.environ.get("AWS_SESSION_TOKEN")
    return AWS4Auth(*keys, setting("AWS_REGION"), "execute-api", session_token=token)


def retry_after_s(answer):
    return int(answer.headers.get("Retry-After", RETRY_AFTER_S))


def call(method, path, **request):
    """Every try is signed anew, because a signature is good for five minutes."""
    for _ in range(TRIES_MAX):
        try:
            url = setting("BCRLAPI_URL") + path
            answer = requests.request(method, url, auth=signature(), timeout=TIMEOUT_S, **request)
        except (requests.ConnectionError, requests.Timeout) as error:
            reason = error
            time.sleep(RETRY_AFTER_S)
            continue
        if answer.ok:
            return answer
        reason = f"{answer.status_code}: {answer.text}"
        if answer.status_code not in PASSING:
            break
        time.sleep(retry_after_s(answer))
    sys.exit(f"{method} {path}: {reason}")


def main(api, input_file, result_file):
    with open(input_file, "rb") as file:
        body = file.read()
    # One key for the job: however often it is sent, it is one.
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
    answer = call("POST", f"/v1/apis/{api}/jobs", data=body, headers=headers)
    job = f"/v1/jobs/{answer.json()['uuid']}"
    print("submitted", answer.json()["uuid"], file=sys.stderr)

    give_up = time.monotonic() + WAIT_MAX_S
    while answer.json()["status"] != "done":
        if time.monotonic() > give_up:
            sys.exit(f"{job} is not done after {WAIT_MAX_S} s")
        time.sleep(retry_after_s(answer))
        answer = call("GET", job)
    result = call("GET", f"{job}/result").content
    with open(result_file, "wb") as file:
        file.write(result)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: with_requests.py API INPUT_FILE RESULT_FILE")
    main(*sys.argv[1:])
