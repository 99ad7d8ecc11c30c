#!/usr/bin/env python3
"""Runs an example through a connection on which everything goes wrong once: it still makes one job, and has its result.
A mistake it does not repeat; without arguments it says how it is used.

    through_faults.py EXAMPLE

Of each request the first try is answered 503, the second 429; of the submit, the third reaches the API and its answer
is lost.
"""

import collections
import http.client
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import urllib.parse

API = urllib.parse.urlsplit(os.environ["BCRLAPI_URL"]).netloc
RETRY_AFTER_S = 2


class Faults(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tries = collections.Counter()
    submitted = []

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.tries[self.command, self.path] += 1
        tries = self.tries[self.command, self.path]
        if tries <= 2:
            self.answer([503, 429][tries - 1], {"retry-after": str(RETRY_AFTER_S)}, b"{}")
            return
        api = http.client.HTTPConnection(API)
        api.request(self.command, self.path, body, dict(self.headers))
        answered = api.getresponse()
        answer = answered.read()
        if self.command == "POST" and answered.status == 202:
            self.submitted.append(json.loads(answer)["uuid"])
            if tries == 3:
                self.close_connection = True
                return
        self.answer(answered.status, dict(answered.headers), answer)

    do_POST = do_GET

    def answer(self, status, headers, body):
        self.send_response_only(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def check_usage(example):
    ran = subprocess.run([example], stderr=subprocess.PIPE, text=True)
    assert ran.returncode != 0 and ran.stderr.startswith("usage: "), ran


def check_mistake(example, environment, request, result):
    ran = subprocess.run([example, "nothing", request, result], env=environment, stderr=subprocess.PIPE, text=True)
    assert ran.returncode == 1 and "no api is called" in ran.stderr and "Traceback" not in ran.stderr, ran
    tries = Faults.tries["POST", "/v1/apis/nothing/jobs"]
    assert tries == 3, f"503, 429 and 404 are three tries, not {tries}"
    assert not result.exists(), "there is no result"


def main(example):
    check_usage(example)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Faults)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    environment = {**os.environ, "BCRLAPI_URL": url, "AWS_ENDPOINT_URL_BCRLAPI": url}
    with tempfile.TemporaryDirectory() as directory:
        request, result = pathlib.Path(directory) / "request.json", pathlib.Path(directory) / "result.json"
        request.write_text('{"payload": "over a bad line"}', encoding="utf-8")
        check_mistake(example, environment, request, result)
        subprocess.run([example, "mock", request, result], env=environment, check=True)
        assert len(Faults.submitted) == 2, f"the API saw {len(Faults.submitted)} submits, not 2"
        assert len(set(Faults.submitted)) == 1, f"they are jobs of their own: {Faults.submitted}"
        response = pathlib.Path(os.environ["BCRLAPI_SHARED"]) / "response" / f"{Faults.submitted[0]}.json"
        assert result.read_bytes() == response.read_bytes(), "the result is not the response"
    print(f"{example}: {sum(Faults.tries.values())} tries, one job, its result", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
