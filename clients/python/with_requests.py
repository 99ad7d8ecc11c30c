#!/usr/bin/env python3
"""Submits a job, waits until it is done, writes its result. Needs requests and requests-aws4auth.

    with_requests.py API INPUT_FILE RESULT_FILE
"""

import base64
import email.utils
import hashlib
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
# Whatever an answer says: no busy loop, and no sleep over a clock that is wrong.
RETRY_AFTER_MIN_S = 1
RETRY_AFTER_MAX_S = 60
SHOWN_MAX_CHARS = 500


def setting(name):
    return os.environ.get(name) or sys.exit(f"{name} is not set")


def signature():
    keys = setting("AWS_ACCESS_KEY_ID"), setting("AWS_SECRET_ACCESS_KEY")
    token = os.environ.get("AWS_SESSION_TOKEN")
    return AWS4Auth(*keys, setting("AWS_REGION"), "execute-api", session_token=token)


def retry_after_s(answer):
    """Seconds or a date (RFC 9110); from a proxy also anything else."""
    text = answer.headers.get("Retry-After", "")
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return RETRY_AFTER_S
    # A date that is past says nothing, and so does NaN.
    if not seconds >= 0:
        return RETRY_AFTER_S
    return min(max(seconds, RETRY_AFTER_MIN_S), RETRY_AFTER_MAX_S)


def call(method, path, **request):
    """Every try is signed anew, because a signature is good for five minutes."""
    url = setting("BCRLAPI_URL") + path
    for tries_left in reversed(range(TRIES_MAX)):
        try:
            # A redirect would take the session token and the body to another host.
            answer = requests.request(
                method, url, auth=signature(), timeout=TIMEOUT_S, allow_redirects=False, **request
            )
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            reason = error
            if tries_left:
                time.sleep(RETRY_AFTER_S)
            continue
        if 300 <= answer.status_code < 400:
            # What stands behind the question mark may be secret.
            to = answer.headers.get("Location", "nowhere").partition("?")[0]
            sys.exit(
                f"{method} {url}: {answer.status_code}, a redirect to {to}. The API sends none, so it is not followed: "
                "check BCRLAPI_URL, and whether a proxy or a login page stands in between"
            )
        if answer.ok:
            check_media_type(answer)
            return answer
        reason = f"{answer.status_code}: {answer.text[:SHOWN_MAX_CHARS]}"
        if answer.status_code not in PASSING:
            break
        if tries_left:
            time.sleep(retry_after_s(answer))
    sys.exit(f"{method} {url}: {reason}")


def not_the_apis(answer, reason):
    sys.exit(
        f"{answer.request.method} {answer.url}: {answer.status_code}, but {reason}. Check BCRLAPI_URL, and whether a "
        f"proxy or a login page stands in between. It begins with: {answer.text[:SHOWN_MAX_CHARS]!r}"
    )


def check_media_type(answer):
    media_type = answer.headers.get("Content-Type", "nothing")
    if media_type.partition(";")[0].strip().lower() != "application/json":
        not_the_apis(answer, f"the answer is declared as {media_type}, not as JSON")


def field(answer, name):
    if not answer.content:
        not_the_apis(answer, "the answer is empty")
    try:
        return answer.json()[name]
    except ValueError:
        not_the_apis(answer, "the answer is not JSON, or not all of it")
    except (KeyError, TypeError):
        not_the_apis(answer, f"the answer has no {name}")


def check_digest(result):
    """RFC 9530. Digests of other algorithms may stand beside ours; without ours, nothing would be checked."""
    header = result.headers.get("Content-Digest", "")
    digest = base64.b64encode(hashlib.sha256(result.content).digest()).decode()
    named = [one.strip().partition("=") for one in header.split(",")]
    if ("sha-256", f":{digest}:") not in [(name.lower(), value) for name, _, value in named]:
        not_the_apis(result, f"the result is not the one of its Content-Digest ({header or 'missing'})")


def write(result_file, content, job_id):
    """Aside first, so that what stands there already is replaced by a whole result or not at all."""
    path = os.path.realpath(result_file)
    if os.path.exists(path) and not os.path.isfile(path):
        # A pipe or a terminal has nothing to lose.
        with open(path, "wb") as file:
            file.write(content)
        return
    part = f"{path}.{job_id}.part"
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        if os.path.exists(part):
            os.remove(part)
        raise


def main(api, input_file, result_file):
    with open(input_file, "rb") as file:
        body = file.read()
    # One key for the job: however often it is sent, it is one.
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
    answer = call("POST", f"/v1/apis/{api}/jobs", data=body, headers=headers)
    job_id = field(answer, "uuid")
    job = f"/v1/jobs/{job_id}"
    print("submitted", job_id, file=sys.stderr)

    give_up = time.monotonic() + WAIT_MAX_S
    while field(answer, "status") != "done":
        if time.monotonic() > give_up:
            sys.exit(
                f"job {job_id} is not done after {WAIT_MAX_S} s. It goes on, and its result is kept for a week: do not "
                f"submit it again, GET {job} later, and {job}/result when it is done"
            )
        time.sleep(retry_after_s(answer))
        answer = call("GET", job)
    result = call("GET", f"{job}/result")
    check_digest(result)
    write(result_file, result.content, job_id)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: with_requests.py API INPUT_FILE RESULT_FILE")
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(str(error))
