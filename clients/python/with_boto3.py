#!/usr/bin/env python3
"""Submits a job, waits until it is done, writes its result. Needs boto3, and the model of ../aws installed.

    with_boto3.py API INPUT_FILE RESULT_FILE
"""

import base64
import hashlib
import json
import os
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

# All tries of one submit carry one idempotency key, so they are one job. How long to wait in between botocore decides
# itself, up to 20 seconds, whatever Retry-After says.
PATIENT = Config(retries={"mode": "standard", "total_max_attempts": 10})
WAIT_MAX_S = 3600
POLL_S = 5


class NotTheApis(Exception):
    """The answer is not one of the API's: something in between has given it."""


def write_headers_as_text(request, **_):
    """botocore has some as bytes, over which urllib3 stumbles before it hands out a 303."""
    for name, value in list(request.headers.items()):
        if isinstance(value, bytes):
            request.headers[name] = value.decode()


def check_answer(operation_model, response_dict, **_):
    """Before botocore reads an answer. It follows no redirect, but does not say where one points; it takes what is not
    JSON for an answer without fields, and would wait an hour for the status of such a job."""
    status, headers = response_dict["status_code"], response_dict["headers"]
    media_type = headers.get("content-type", "nothing")
    if 300 <= status < 400:
        to = headers.get("location", "nowhere")
        raise NotTheApis(f"{status}, a redirect to {to}. The API sends none, so it is not followed")
    if status >= 400:
        return
    if media_type.partition(";")[0].strip().lower() != "application/json":
        raise NotTheApis(f"{status}, but the answer is declared as {media_type}, not as JSON")
    if operation_model.has_streaming_output:
        return
    try:
        value = json.loads(response_dict["body"])
    except ValueError:
        reason = "not JSON, or not all of it" if response_dict["body"] else "empty"
        raise NotTheApis(f"{status}, but the answer is {reason}") from None
    missing = set(operation_model.output_shape.required_members) - set(value if isinstance(value, dict) else ())
    if missing:
        raise NotTheApis(f"{status}, but the answer has no {', '.join(sorted(missing))}")


def check_digest(result, header):
    """RFC 9530. Digests of other algorithms may stand beside ours; without ours, nothing would be checked."""
    digest = base64.b64encode(hashlib.sha256(result).digest()).decode()
    named = [one.strip().partition("=") for one in header.split(",")]
    if ("sha-256", f":{digest}:") not in [(name.lower(), value) for name, _, value in named]:
        raise NotTheApis(f"the result is not the one of its Content-Digest ({header or 'missing'})")


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
    bcrlapi = boto3.client("bcrlapi", config=PATIENT)
    bcrlapi.meta.events.register("before-send.bcrlapi", write_headers_as_text)
    bcrlapi.meta.events.register("before-parse.bcrlapi", check_answer)
    with open(input_file, "rb") as file:
        job_id = bcrlapi.submit_job(api=api, input=file)["uuid"]
    print("submitted", job_id, file=sys.stderr)

    waiter = bcrlapi.get_waiter("job_done")
    try:
        waiter.wait(uuid=job_id, WaiterConfig={"Delay": POLL_S, "MaxAttempts": max(WAIT_MAX_S // POLL_S, 1)})
    except WaiterError as error:
        if "status" not in error.last_response:
            raise
        sys.exit(
            f"job {job_id} is not done after {WAIT_MAX_S} s. It goes on, and its result is kept for a week: do not "
            f"submit it again, but wait on with: aws bcrlapi wait job-done --uuid {job_id}"
        )

    try:
        result = bcrlapi.get_result(uuid=job_id)
    except bcrlapi.exceptions.JobFailed as failed:
        sys.exit(f"the program failed: {failed.response['message']}")
    content = result["result"].read()
    check_digest(content, result.get("content_digest", ""))
    write(result_file, content, job_id)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: with_boto3.py API INPUT_FILE RESULT_FILE")
    try:
        main(*sys.argv[1:])
    except NotTheApis as error:
        sys.exit(f"{error}. Check AWS_ENDPOINT_URL_BCRLAPI, and whether a proxy or a login page stands in between")
    except (BotoCoreError, ClientError, OSError) as error:
        sys.exit(str(error))
