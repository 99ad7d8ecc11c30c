"""A caller of the API, with nothing but the standard library: signs, sends, reads."""

import datetime
import hashlib
import hmac
import http.client
import json
import urllib.parse

SERVICE = "execute-api"
REQUEST_LIMIT_S = 60
PAGE = 100


class Refused(Exception):
    """The API answered with an error."""


class Api:
    """One caller. Not for several threads at once: each makes its own."""

    def __init__(self, environment):
        self.host = urllib.parse.urlsplit(environment["BCRLAPI_URL"]).netloc
        self.key_id, self.secret = environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
        self.region = environment["AWS_REGION"]
        self.connection = http.client.HTTPConnection(self.host, timeout=REQUEST_LIMIT_S)

    def submit(self, body, api="mock"):
        """The new job's uuid."""
        body = json.dumps(body).encode()
        return json.loads(self.send("POST", f"/v1/apis/{api}/jobs", body))["uuid"]

    def job(self, uuid):
        return json.loads(self.send("GET", f"/v1/jobs/{uuid}"))

    def jobs(self):
        """Every job, by its uuid."""
        found, cursor = {}, None
        while True:
            page = {"limit": PAGE, **({"cursor": cursor} if cursor else {})}
            page = json.loads(self.send("GET", "/v1/jobs", query=page))
            found.update((job["uuid"], job) for job in page["jobs"])
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    def result(self, uuid):
        """The result's bytes."""
        return self.send("GET", f"/v1/jobs/{uuid}/result")

    def send(self, method, path, body=b"", query=None):
        query = "&".join(f"{name}={quote(str(value))}" for name, value in sorted((query or {}).items()))
        headers = {"content-type": "application/json", **self.signed(method, path, query, body)}
        try:
            self.connection.request(method, f"{path}?{query}" if query else path, body, headers)
            answer = self.connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            # The next request gets a new connection.
            self.connection.close()
            raise
        if answer.status >= 400:
            raise Refused(f"{method} {path}: {answer.status} {text.decode(errors='replace')}")
        return text

    def signed(self, method, path, query, body):
        date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        canonical = f"{method}\n{path}\n{query}\nhost:{self.host}\nx-amz-date:{date}\n\nhost;x-amz-date\n{digest(body)}"
        scope = f"{date[:8]}/{self.region}/{SERVICE}/aws4_request"
        key = f"AWS4{self.secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest(canonical.encode())}"
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        credential = f"AWS4-HMAC-SHA256 Credential={self.key_id}/{scope}"
        return {
            "x-amz-date": date,
            "authorization": f"{credential}, SignedHeaders=host;x-amz-date, Signature={signature}",
        }


def digest(data):
    return hashlib.sha256(data).hexdigest()


def quote(text):
    return urllib.parse.quote(text, safe="-._~")
