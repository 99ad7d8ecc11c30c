#!/usr/bin/env python3
"""The service model against the API: its routes and error codes as the sources name them, its fields as they are
answered."""

import json
import os
import pathlib
import re
from http import HTTPStatus

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session

ROOT = pathlib.Path(__file__).parent.parent.parent
MODEL = json.loads((ROOT / "clients/aws/service-2.json").read_text(encoding="utf-8"))
SHAPES = MODEL["shapes"]
# No operation: it describes the operations.
DOCUMENT = {"/v1/openapi.json"}
# Nobody meets these with the model: it asks for no other paths and methods.
OUT_OF_REACH = {"no-such-path", "method-not-allowed"}
# Python has another name for this status.
STATUSES = {"PAYLOAD_TOO_LARGE": HTTPStatus.REQUEST_ENTITY_TOO_LARGE}


def source(path):
    return (ROOT / "crates/api/src" / path).read_text(encoding="utf-8")


def same(what, model, api):
    assert model == api, f"{what}: only in the model {model - api}, only in the API {api - model}"
    print(f"{what}: {len(api)}")


def check_routes():
    model = {operation["http"]["requestUri"] for operation in MODEL["operations"].values()}
    same("routes", model, set(re.findall(r'Self::\w+ => "(/v1/[^"]+)"', source("routes.rs"))) - DOCUMENT)


def check_errors():
    errors = [shape["error"] for shape in SHAPES.values() if "error" in shape]
    rows = re.findall(r'\(S::(\w+), "([a-z-]+)"', source("problem.rs"))
    problems = {(code, STATUSES.get(name) or HTTPStatus[name]) for name, code in rows if code not in OUT_OF_REACH}
    same("errors", {(error["code"], error["httpStatusCode"]) for error in errors}, problems)


def get(path):
    request = AWSRequest("GET", os.environ["BCRLAPI_URL"] + path)
    credentials = botocore.session.get_session().get_credentials()
    SigV4Auth(credentials, "execute-api", os.environ["AWS_REGION"]).add_auth(request)
    return json.loads(URLLib3Session().send(request.prepare()).content)


def check_fields():
    jobs = get("/v1/jobs?limit=1")
    [job] = jobs["jobs"]
    link = get(f"/v1/jobs/{job['uuid']}/result/link")
    answers = {"JobList": jobs, "Job": job, "JobLinks": job["links"], "Lab": get("/v1/lab"), "ResultLink": link}
    answers["SubmittedJob"] = {**job, "idempotency_replayed": True}
    for shape, answer in answers.items():
        same(f"fields of {shape}", set(SHAPES[shape]["members"]), set(answer))


if __name__ == "__main__":
    check_routes()
    check_errors()
    check_fields()
