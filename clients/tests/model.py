#!/usr/bin/env python3
"""The service model against the API: its routes and error codes as the API's own document has them, its fields as they
are answered."""

import json
import os
import pathlib

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session

ROOT = pathlib.Path(__file__).parent.parent.parent
MODEL = json.loads((ROOT / "clients/aws/service-2.json").read_text(encoding="utf-8"))
SHAPES = MODEL["shapes"]
# No operation: it describes the operations.
DOCUMENT = "/v1/openapi.json"


def same(what, model, api):
    assert model == api, f"{what}: only in the model {model - api}, only in the API {api - model}"
    print(f"{what}: {len(api)}")


def operations(document):
    """Path, method and operation of everything in the document but itself."""
    for path, item in document["paths"].items():
        if path != DOCUMENT:
            yield from ((path, method.upper(), item[method]) for method in ("get", "post") if method in item)


def check_routes(document):
    model = {(call["http"]["requestUri"], call["http"]["method"]) for call in MODEL["operations"].values()}
    same("routes", model, {(path, method) for path, method, _ in operations(document)})


def problems(document):
    """Code and status of every problem that an operation may have."""
    for _, _, operation in operations(document):
        for status, response in operation["responses"].items():
            if "$ref" in response:
                response = document["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
            code = response["headers"].get("x-amzn-ErrorType", {"schema": {"x-extensible-enum": []}})
            yield from ((code, int(status)) for code in code["schema"]["x-extensible-enum"])


def check_errors(document):
    errors = [shape["error"] for shape in SHAPES.values() if "error" in shape]
    same("errors", {(error["code"], error["httpStatusCode"]) for error in errors}, set(problems(document)))


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
    served = get(DOCUMENT)
    assert served["servers"] == [{"url": os.environ["BCRLAPI_URL"]}], served["servers"]
    check_routes(served)
    check_errors(served)
    check_fields()
