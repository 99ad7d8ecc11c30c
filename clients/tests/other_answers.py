#!/usr/bin/env python3
"""Runs an example against answers that are not the API's own: redirects to another host, pages of a proxy, answers that
are cut off, every form of Retry-After. It never hands anything to another host, never shows a traceback, says what it
met, and never destroys the result that it wrote before.

    other_answers.py EXAMPLE
    other_answers.py aws        # the AWS CLI: it follows no redirect
"""

import base64
import email.utils
import hashlib
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

UUID = "01a2017b-7dfb-7c3a-9f21-5b7d0e4a6c18"
DATE = "2026-11-22T04:20:00.123Z"
JOB = {
    **{"uuid": UUID, "api": "mock", "status": "pending", "outcome": None, "error": None, "progress": None},
    **{"message": None, "request_date": DATE, "start_date": None, "finish_date": None, "expiry_date": DATE},
    **{"cancel_requested": False, "links": dict.fromkeys(["self", "result", "result_link", "cancel"], "https://x")},
}
DONE = {**JOB, "status": "done", "outcome": "succeeded"}
RESULT = b'{"soc_percent": 64.9}'
OLD = b'"yesterday"'
TOKEN = "a session token"
SUBMIT, STATUS, FETCH, LIST = "submit", "status", "fetch", "list"
TIMEOUT_S = 120


def digest(body, name="sha-256"):
    return {"Content-Digest": f"{name}=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"}


def as_json(value, status=200, **headers):
    return status, {"Content-Type": "application/json", **headers}, json.dumps(value).encode()


def step_of(method, path):
    if method == "POST":
        return SUBMIT
    if path.startswith("/v1/jobs?"):
        return LIST
    return FETCH if path.endswith("/result") else STATUS


class Host(http.server.ThreadingHTTPServer):
    """What is answered at each step, the last one again and again; and what it was sent."""

    def __init__(self, **answers):
        super().__init__(("127.0.0.1", 0), Handler)
        usual = {
            SUBMIT: [as_json(JOB, 202)],
            STATUS: [as_json(DONE)],
            FETCH: [(200, {"Content-Type": "application/json", **digest(RESULT)}, RESULT)],
            LIST: [as_json({"jobs": [DONE], "next_cursor": None})],
        }
        self.answers = {**usual, **answers}
        self.sent = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def tries(self, step):
        return sum(one == step for one, _ in self.sent)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        step = step_of(self.command, self.path)
        answers = self.server.answers[step]
        status, headers, body = answers[min(self.server.tries(step), len(answers) - 1)]
        self.server.sent.append((step, self.headers))
        self.send_response_only(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass


def altered(example, directory, **constants):
    """The example with other limits, so that nobody waits for an hour."""
    text = pathlib.Path(example).read_text(encoding="utf-8")
    for name, value in constants.items():
        text, count = re.subn(rf"(?im)^({name} ?= ?)\d+$", rf"\g<1>{value}", text)
        assert count == 1, f"{example} has {count} times {name}"
    copy = directory / pathlib.Path(example).name
    copy.write_text(text, encoding="utf-8")
    copy.chmod(0o755)
    return copy


class Ran:
    """What a run said and left behind, beside a result of yesterday that another name holds too."""

    def __init__(self, example, host, **constants):
        with tempfile.TemporaryDirectory() as name:
            directory = pathlib.Path(name)
            results = directory / "results"
            results.mkdir()
            request, result, held = directory / "request.json", results / "result.json", directory / "held.json"
            request.write_text('{"secret": "input"}', encoding="utf-8")
            result.write_bytes(OLD)
            os.link(result, held)
            # A user's own settings, by which curl would follow.
            (directory / ".curlrc").write_text("location-trusted\n", encoding="utf-8")
            environment = {
                **os.environ,
                **{"BCRLAPI_URL": host.url, "AWS_ENDPOINT_URL_BCRLAPI": host.url},
                **{"AWS_SESSION_TOKEN": TOKEN, "CURL_HOME": name},
            }
            ran = subprocess.run(
                [altered(example, directory, **constants), "mock", request, result],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                timeout=TIMEOUT_S,
            )
            self.status, self.said = ran.returncode, ran.stderr
            self.result, self.held = result.read_bytes(), held.read_bytes()
            self.left = [one.name for one in results.iterdir()]
        for _, headers in host.sent:
            assert headers["x-amz-security-token"] == TOKEN, "the session token goes with every call"

    def assert_wrote(self):
        assert self.status == 0, self.said
        assert (self.result, self.held) == (RESULT, OLD), "the old file was written over, not replaced"
        assert self.left == ["result.json"], self.left

    def assert_refused(self, *words):
        assert self.status == 1, (self.status, self.said)
        assert "Traceback" not in self.said, self.said
        for word in words:
            assert word in self.said, f"{word!r} is not in: {self.said}"
        assert (self.result, self.left) == (OLD, ["result.json"]), "the old result is not as it was"


def check_redirects(example):
    places = [(SUBMIT, status) for status in (301, 302, 303, 307, 308)] + [(STATUS, 307), (FETCH, 302)]
    for step, status in places:
        other = Host()
        to = f"http://localhost:{other.server_port}/elsewhere"
        host = Host(**{step: [(status, {"Location": to}, b"")]})
        Ran(example, host).assert_refused(str(status), "redirect", to)
        assert host.tries(step) == 1, "it is not tried again"
        assert not other.sent, f"{status}: another host was sent {other.sent}"
    return len(places)


PAGE = b"<html><body>Log in to the campus network</body></html>"


def check_answers_that_are_not_json(example):
    json_type = {"Content-Type": "application/json"}
    html = (200, {"Content-Type": "text/html; charset=utf-8"}, PAGE)
    answers = [
        (html, "text/html"),
        ((200, {}, PAGE), "declared as nothing"),
        ((200, json_type, PAGE), "not JSON"),
        ((200, json_type, b'{"uuid": "01a2017b-7d'), "not all of it"),
        ((200, json_type, b""), "empty"),
        ((200, json_type, b"{}"), "has no "),
        ((200, json_type, b"[]"), "has no "),
        ((403, {"Content-Type": "text/html"}, PAGE), "403"),
    ]
    for step in (SUBMIT, STATUS):
        for answer, words in answers:
            Ran(example, Host(**{step: [answer]})).assert_refused(words)
    results = [
        (html, "text/html"),
        ((200, {**json_type, **digest(RESULT)}, RESULT[:-1]), "Content-Digest"),
        ((200, {**json_type, "Content-Digest": "sha-256=:AAAA:"}, RESULT), "Content-Digest"),
        ((200, {**json_type, "Content-Digest": "md5=:AAAA:"}, RESULT), "Content-Digest"),
        ((200, json_type, RESULT), "missing"),
    ]
    for answer, words in results:
        Ran(example, Host(**{FETCH: [answer]})).assert_refused(words)
    return 2 * len(answers) + len(results)


def check_digests_that_fit(example):
    for header in (digest(RESULT, "SHA-256"), {"Content-Digest": f"md5=:AAAA:, {digest(RESULT)['Content-Digest']}"}):
        answer = (200, {"Content-Type": "application/json", **header}, RESULT)
        Ran(example, Host(**{FETCH: [answer]})).assert_wrote()


def check_retry_after(example):
    # botocore has pauses of its own, whatever the header says.
    limits = {} if "boto3" in example else {"RETRY_AFTER_S": 1, "RETRY_AFTER_MAX_S": 2}

    def date(seconds):
        return email.utils.formatdate(time.time() + seconds, usegmt=True)

    values = [date(-86400), date(2), date(86400), "0.5", "-5", "soon", "", "999999999999", "nan", "inf", "0"]
    # As a proxy answers, and as the API does.
    error = {"x-amzn-ErrorType": "unavailable", "Content-Type": "application/problem+json"}
    problem = json.dumps({"message": "away"}).encode()
    proxy = [(503, {"Retry-After": value, "Content-Type": "text/html"}, PAGE) for value in values]
    api = [(503, {"Retry-After": value, **error}, problem) for value in values]
    odd = [as_json(JOB, **{"Retry-After": value}) for value in values if limits]
    for begin in range(0, len(values), 4):
        host = Host(
            **{SUBMIT: [*proxy[begin : begin + 4], as_json(JOB, 202)]},
            **{STATUS: [*odd[begin : begin + 4], as_json(DONE)]},
            **{FETCH: [*api[begin : begin + 4], (200, {"Content-Type": "application/json", **digest(RESULT)}, RESULT)]},
        )
        Ran(example, host, **limits).assert_wrote()
        expected = len(values[begin : begin + 4]) + 1
        assert host.tries(SUBMIT) == host.tries(FETCH) == expected, host.sent
    return len(values)


def check_patience(example):
    host = Host(**{STATUS: [as_json(JOB, **{"Retry-After": "1"})]})
    Ran(example, host, WAIT_MAX_S=1).assert_refused(UUID, "not done after 1 s", "It goes on", "do not submit")


def check_aws_cli():
    for status in (301, 302, 303, 307, 308):
        other = Host()
        host = Host(**{STATUS: [(status, {"Location": f"http://localhost:{other.server_port}/elsewhere"}, b"")]})
        command = ["aws", "bcrlapi", "get-job", "--uuid", UUID, "--endpoint-url", host.url]
        ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT_S)
        assert ran.returncode != 0 and ran.stderr.strip(), ran
        assert host.sent and not other.sent, (host.sent, other.sent)
    print("aws: 5 redirects, none followed", flush=True)


def main(example):
    if example == "aws":
        check_aws_cli()
        return
    redirects = check_redirects(example)
    answers = check_answers_that_are_not_json(example)
    check_digests_that_fit(example)
    pauses = check_retry_after(example)
    check_patience(example)
    print(f"{example}: {redirects} redirects, {answers} answers that are not the API's, {pauses} pauses", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
