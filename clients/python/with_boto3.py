#!/usr/bin/env python3
"""Submits a job, waits until it is done, writes its result. Needs boto3, and the model of ../aws installed.

    with_boto3.py API INPUT_FILE RESULT_FILE
"""

import sys

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# All tries of one submit carry one idempotency key, so they are one job.
PATIENT = Config(retries={"mode": "standard", "total_max_attempts": 10})


def main(api, input_file, result_file):
    bcrlapi = boto3.client("bcrlapi", config=PATIENT)
    with open(input_file, "rb") as file:
        uuid = bcrlapi.submit_job(api=api, input=file)["uuid"]
    print("submitted", uuid, file=sys.stderr)
    bcrlapi.get_waiter("job_done").wait(uuid=uuid)
    try:
        result = bcrlapi.get_result(uuid=uuid)["result"].read()
    except bcrlapi.exceptions.JobFailed as failed:
        sys.exit(f"the program failed: {failed.response['message']}")
    with open(result_file, "wb") as file:
        file.write(result)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: with_boto3.py API INPUT_FILE RESULT_FILE")
    try:
        main(*sys.argv[1:])
    except (BotoCoreError, ClientError) as error:
        sys.exit(str(error))
