#!/usr/bin/env python3
"""A job's life, the same with every client, against an API that is up: prints what each of them was told."""

import ast
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import uuid

import botocore.session
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session
from requests_aws4auth import AWS4Auth

URL, REGION, SERVICE = os.environ["BCRLAPI_URL"], os.environ["AWS_REGION"], "execute-api"
KEY_ID, SECRET = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
MODEL = json.loads((pathlib.Path(__file__).parent.parent / "aws/service-2.json").read_text(encoding="utf-8"))
SHARED = pathlib.Path(os.environ["BCRLAPI_SHARED"])
API, INPUT = "mock", {"payload": "充電率 92.5 %"}
DONE_WITHIN_S = 60
POLL_S = 0.2


class Refused(Exception):
    """The API refused, and the client shows code and reason."""

    def __init__(self, status, code, reason):
        assert reason, f"{status} {code} comes without a reason"
        super().__init__(f"{status} {code}")


def run(*command, check=True):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=check)


class HttpClient:
    """A client that is told method and path: `send` gives status, headers in lower case and body."""

    def call(self, method, path, **options):
        status, headers, body = self.send(method, URL + path, **options)
        if status < 400:
            return headers, body
        problem = json.loads(body)
        assert problem["status"] == status, (status, problem)
        raise Refused(status, problem["type"].rsplit("/", 1)[-1], problem["detail"])

    def submit(self, input_file, key):
        headers = {"content-type": "application/json", "idempotency-key": key}
        headers, body = self.call("POST", f"/v1/apis/{API}/jobs", input_file=input_file, headers=headers)
        return json.loads(body)["uuid"], headers.get("idempotency-replayed") == "true"

    def get(self, path, **options):
        return json.loads(self.call("GET", path, **options)[1])

    def job(self, job, is_signed=True):
        return self.get(f"/v1/jobs/{job}", is_signed=is_signed)

    def done(self, job):
        give_up = time.monotonic() + DONE_WITHIN_S
        while (found := self.job(job))["status"] != "done":
            assert time.monotonic() < give_up, f"job {job} is not done after {DONE_WITHIN_S} s"
            time.sleep(POLL_S)
        return found

    def result(self, job):
        return self.call("GET", f"/v1/jobs/{job}/result")[1]

    def jobs(self):
        """Page by page, with every parameter that a query can have."""
        found, cursor = [], ""
        while cursor is not None:
            page = self.get(f"/v1/jobs?api={API}&{cursor}limit=2&status=done")
            found += [job["uuid"] for job in page["jobs"]]
            cursor = page["next_cursor"] and f"cursor={page['next_cursor']}&"
        return found

    def cancel(self, job):
        return self.call("POST", f"/v1/jobs/{job}/cancel")


class Curl(HttpClient):
    name = "curl"

    def send(self, method, url, input_file=None, headers={}, is_signed=True):
        with tempfile.NamedTemporaryFile() as head, tempfile.NamedTemporaryFile() as body:
            command = ["curl", "-sS", "-X", method, "-D", head.name, "-o", body.name, "-w", "%{http_code}", url]
            if is_signed:
                command += ["--aws-sigv4", f"aws:amz:{REGION}:{SERVICE}", "--user", f"{KEY_ID}:{SECRET}"]
            if input_file:
                command += ["--data-binary", f"@{input_file}"]
            for name, value in headers.items():
                command += ["-H", f"{name}: {value}"]
            status = int(run(*command).stdout)
            lines = head.read().decode().splitlines()
            return status, dict(line.lower().split(": ", 1) for line in lines if ": " in line), body.read()


class AwsCurl(HttpClient):
    name = "awscurl"

    def send(self, method, url, input_file=None, headers={}, is_signed=True):
        command = ["awscurl", "--include", "--region", REGION, "--service", SERVICE, "-X", method, url]
        # It cannot leave out the signature, but it can make a wrong one.
        command += [] if is_signed else ["--secret_key", "wrong"]
        if input_file:
            command += ["--data-binary", "-d", f"@{input_file}"]
        for name, value in headers.items():
            command += ["-H", f"{name}: {value}"]
        head, body = run(*command).stdout.split(b"\n\n", 1)
        # It does not say the status: a problem does, and all else has none of its own here.
        headers = ast.literal_eval(head.decode())
        is_problem = headers["content-type"] == "application/problem+json"
        return json.loads(body)["status"] if is_problem else 200, headers, body


class Requests(HttpClient):
    name = "requests-aws4auth"

    def send(self, method, url, input_file=None, headers={}, is_signed=True):
        auth = AWS4Auth(KEY_ID, SECRET, REGION, SERVICE) if is_signed else None
        body = pathlib.Path(input_file).read_bytes() if input_file else None
        answer = requests.request(method, url, auth=auth, data=body, headers=headers, timeout=30)
        return answer.status_code, answer.headers, answer.content


class Botocore(HttpClient):
    name = "botocore"

    def send(self, method, url, input_file=None, headers={}, is_signed=True):
        body = pathlib.Path(input_file).read_bytes() if input_file else None
        request = AWSRequest(method, url, data=body, headers=headers)
        if is_signed:
            SigV4Auth(botocore.session.get_session().get_credentials(), SERVICE, REGION).add_auth(request)
        answer = URLLib3Session().send(request.prepare())
        return answer.status_code, answer.headers, answer.content


class AwsCli:
    """The AWS CLI with our service model."""

    name = "aws bcrlapi"

    def call(self, *arguments):
        ran = run("aws", "bcrlapi", *arguments, "--output", "json", check=False)
        if ran.returncode == 0:
            return json.loads(ran.stdout or "null")
        # "An error occurred (CODE) when calling the OPERATION operation: REASON"
        error = ran.stderr.decode().strip()
        code, reason = error.split("(", 1)[1].split(")", 1)[0], error.partition("operation: ")[2]
        shapes = (shape["error"] for shape in MODEL["shapes"].values() if "error" in shape)
        raise Refused(next(shape["httpStatusCode"] for shape in shapes if shape["code"] == code), code, reason)

    def submit(self, input_file, key):
        job = self.call("submit-job", "--api", API, "--input", input_file, "--idempotency-key", key)
        return job["uuid"], job.get("idempotency_replayed", False)

    def job(self, job, is_signed=True):
        return self.call("get-job", "--uuid", job, *[] if is_signed else ["--no-sign-request"])

    def done(self, job):
        self.call("wait", "job-done", "--uuid", job)
        return self.job(job)

    def result(self, job):
        with tempfile.NamedTemporaryFile() as file:
            self.call("get-result", "--uuid", job, file.name)
            return file.read()

    def jobs(self):
        listed = self.call("list-jobs", "--api", API, "--status", "done", "--page-size", "2")
        return [job["uuid"] for job in listed["jobs"]]

    def cancel(self, job):
        return self.call("cancel-job", "--uuid", job)


def refusal(call, *arguments, **options):
    try:
        return f"accepted: {call(*arguments, **options)}"
    except Refused as refused:
        return str(refused)


def lifecycle(client, input_file):
    """What the client was told, step by step."""
    key = str(uuid.uuid4())
    job, is_replayed = client.submit(input_file, key)
    yield "submit", "replayed" if is_replayed else "new"
    again, is_replayed = client.submit(input_file, key)
    yield "again", f"{'same' if again == job else 'other'}, {'replayed' if is_replayed else 'new'}"
    yield "wait", client.done(job)["outcome"]
    written = (SHARED / "response" / f"{job}.json").read_bytes()
    yield "result", "same bytes" if client.result(job) == written else "other bytes"
    yield "list", "found" if client.jobs().count(job) == 1 else "not found"
    yield "cancel", refusal(client.cancel, job)
    # A uuid of this hour, or it would be refused for its age.
    yield "unknown", refusal(client.job, f"{job[:-12]}000000000000")
    yield "unsigned", refusal(client.job, job, is_signed=False)


EXPECTED = {
    "submit": "new",
    "again": "same, replayed",
    "wait": "succeeded",
    "result": "same bytes",
    "list": "found",
    "cancel": "409 already-done",
    "unknown": "404 no-such-job",
    "unsigned": "403 forbidden",
}


def print_row(*cells):
    print("".join(cell.ljust(18) for cell in cells).rstrip(), flush=True)


def main():
    failures = []
    print_row("", *EXPECTED)
    with tempfile.NamedTemporaryFile("w") as file:
        json.dump(INPUT, file)
        file.flush()
        for client in [Curl(), AwsCurl(), Requests(), Botocore(), AwsCli()]:
            told = dict(lifecycle(client, file.name))
            print_row(client.name, *told.values())
            failures += [f"{client.name}, {step}: {told[step]}" for step in EXPECTED if told[step] != EXPECTED[step]]
    if failures:
        sys.exit("\n".join(["not as expected:", *failures]))


if __name__ == "__main__":
    main()
