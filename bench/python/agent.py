"""A sync agent as it would begin in Python: status.json in memory, the inbox asked with boto3.

For each line with a uuid: looks into the inbox, appends an entry, writes the file, and answers when it is done.
"""

import json
import os
import sys

import boto3
from queue_file import rewrite

path = sys.argv[1]
dynamodb = boto3.client("dynamodb")
s3 = boto3.client("s3")
with open(path, encoding="utf-8") as file:
    status = json.load(file)
for line in sys.stdin:
    dynamodb.query(
        TableName=os.environ["BCRLAPI_TABLE"],
        IndexName="inbox",
        KeyConditionExpression="inbox = :inbox",
        ExpressionAttributeValues={":inbox": {"S": "lab"}},
    )
    s3.list_objects_v2(Bucket=os.environ["BCRLAPI_BUCKET"], MaxKeys=1)
    job = {"uuid": line.strip(), "api": "mock", "status": "pending", "request_date": "2026-11-22T18:30:00.000+09:00"}
    status["jobs"].append(job)
    rewrite(path, status)
    print("done", flush=True)
