"""The three functions as they would be written in Python: the same calls, the same rows and objects, nothing more."""

import base64
import datetime
import hashlib
import json
import os
import secrets
import time
import uuid

import boto3

TABLE = os.environ["BCRLAPI_TABLE"]
BUCKET = os.environ["BCRLAPI_BUCKET"]
WEEK_S = 7 * 24 * 3600
dynamodb = boto3.client("dynamodb")
s3 = boto3.client("s3")


def submit(event, _context):
    body = event["body"].encode()
    json.loads(body)
    now = datetime.datetime.now(datetime.timezone.utc)
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    job = {
        "uuid": new_id(now),
        "api": event["pathParameters"]["api"],
        "status": "pending",
        "request_date": now.isoformat(timespec="milliseconds"),
    }
    key = f"request/{job['uuid']}.json"
    s3.put_object(Bucket=BUCKET, Key=key, Body=body, ContentType="application/json", ChecksumSHA256=digest)
    item = {
        "pk": {"S": "job#" + job["uuid"]},
        "inbox": {"S": "lab"},
        "owner": {"S": owner(event)},
        "api": {"S": job["api"]},
        "status": {"S": "pending"},
        "request_date": {"S": job["request_date"]},
        "request_size": {"N": str(len(body))},
        "request_sha256": {"S": digest},
        "expires_at": {"N": str(int(now.timestamp()) + WEEK_S)},
    }
    dynamodb.put_item(TableName=TABLE, Item=item, ConditionExpression="attribute_not_exists(pk)")
    return answer(202, job)


def status(event, _context):
    row = own_row(event)
    if row is None:
        return answer(404, {"title": "no such job"})
    fields = ("api", "status", "outcome", "request_date", "start_date", "finish_date", "error", "message")
    job = {name: row[name]["S"] for name in fields if name in row}
    return answer(200, {"uuid": event["pathParameters"]["uuid"], **job})


def result(event, _context):
    row = own_row(event)
    if row is None or row.get("outcome", {}).get("S") != "succeeded":
        return answer(404, {"title": "no such result"})
    key = f"response/{event['pathParameters']['uuid']}.json"
    body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    if base64.b64encode(hashlib.sha256(body).digest()).decode() != row["response_sha256"]["S"]:
        return answer(500, {"title": "damaged"})
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": body.decode()}


def own_row(event):
    key = {"pk": {"S": "job#" + event["pathParameters"]["uuid"]}}
    row = dynamodb.get_item(TableName=TABLE, Key=key, ConsistentRead=True).get("Item")
    return row if row and row["owner"]["S"] == owner(event) and int(row["expires_at"]["N"]) > time.time() else None


def owner(event):
    identity = event["requestContext"]["identity"]
    return identity["accountId"] + ":" + identity["caller"]


def new_id(now):
    """A uuid of version 7."""
    number = int(now.timestamp() * 1000) << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=number))


def answer(code, body):
    return {"statusCode": code, "headers": {"content-type": "application/json"}, "body": json.dumps(body)}
