"""What docs/operations.md has an operator do with AWS, as far as it can be tried without AWS."""

import json
import re
import subprocess
import sys
import unittest

import jmespath
import jq

from stack import ROOT, source

OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")

# Lines of a function's log. Those of Lambda itself have the form of its Telemetry API:
# https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html
ERRORS = {
    "an error that the function has logged": '{"timestamp":"2026-11-26T04:12:07.114Z","level":"ERROR","fields":{'
    '"message":"request failed","request_id":"4b1f6f5e","code":"unavailable","cause":"cannot read the row"},'
    '"target":"bcrlapi_common::respond"}',
    "a start that failed": "Error: the environment variable BCRLAPI_TABLE is not set",
    "a start that failed, as Lambda says it": '{"time":"2026-11-26T04:12:07.114Z","type":"platform.initReport",'
    '"record":{"initializationType":"on-demand","phase":"init","status":"error","errorType":"Runtime.ExitError"}}',
    "no program for this processor": '{"time":"2026-11-26T04:12:07.114Z","type":"platform.report","record":{'
    '"requestId":"4b1f6f5e","status":"error","errorType":"Runtime.InvalidEntrypoint"}}',
    "a time-out": '{"time":"2026-11-26T04:12:07.114Z","type":"platform.report","record":{"requestId":"4b1f6f5e",'
    '"metrics":{"durationMs":28000.0},"status":"timeout"}}',
    "a time-out in a log of text": "2026-11-26T04:12:07.114Z 4b1f6f5e Task timed out after 28.03 seconds",
    "a crash": '{"time":"2026-11-26T04:12:07.114Z","type":"platform.runtimeDone","record":{"requestId":"4b1f6f5e",'
    '"status":"failure","errorType":"Runtime.ExitError"}}',
    "a crash in a log of text": "RequestId: 4b1f6f5e Error: Runtime exited with error: signal: killed",
    "a panic": "thread 'main' panicked at functions/common/src/call.rs:31:9:",
}
NO_ERRORS = [
    '{"timestamp":"2026-11-26T04:12:07.114Z","level":"INFO","fields":{"message":"request refused","request_id":'
    '"4b1f6f5e","code":"invalid-json","detail":"the body is not JSON: expected value at line 1 column 1"},'
    '"target":"bcrlapi_common::respond"}',
    '{"_aws":{"Timestamp":1800000000123,"CloudWatchMetrics":[{"Namespace":"bcrlapi","Dimensions":[["Table"]],'
    '"Metrics":[{"Name":"LabSilence","Unit":"Seconds"}]}]},"Table":"jobs","LabSilence":12}',
    '{"time":"2026-11-26T04:12:07.114Z","type":"platform.report","record":{"requestId":"4b1f6f5e","status":"success"}}',
]


class Operations(unittest.TestCase):
    def test_one_query_finds_every_way_in_which_a_function_fails_and_nothing_else(self):
        (pattern,) = re.findall(r"filter @message like /(.+?)/ \|", OPERATIONS)
        for what, line in ERRORS.items():
            self.assertRegex(line, pattern, what)
        for line in NO_ERRORS:
            self.assertNotRegex(line, pattern)

    def test_what_a_query_of_the_logs_finds_is_printed(self):
        row = [{"field": "caller", "value": "analyst"}, {"field": "n", "value": "3"}]
        queries = re.findall(r"get-query-results .* --query '(.+?)'", OPERATIONS)
        self.assertEqual(len(queries), 2)
        for query in queries:
            self.assertEqual(jmespath.search(query, {"status": "Complete", "results": [row]}), [["analyst", "3"]])

    def test_a_stack_of_the_stores_alone_has_all_that_they_need(self):
        printed = subprocess.run(
            [sys.executable, ROOT / "infra/stores.py"], capture_output=True, check=True, encoding="utf-8"
        ).stdout
        stores, template = json.loads(printed), source()
        self.assertEqual(stores["Resources"], {name: template["Resources"][name] for name in ("Table", "Bucket")})
        for resource in stores["Resources"].values():
            self.assertIn(resource["DeletionPolicy"], ("Retain", "RetainExceptOnCreate"), "or it cannot be imported")
        for kind, chapter in [("Ref", "Parameters"), ("Fn::If", "Conditions")]:
            named = set(re.findall(rf'"{kind}": \[?\s*"(\w+)"', printed))
            self.assertEqual(named, stores[chapter].keys(), "what it names, and nothing else")

    def test_lost_rows_are_put_back_in_batches_and_no_others(self):
        (program,) = re.findall(r"--slurpfile there there\.json '(.+?)' \|\n", OPERATIONS, re.S)
        program = program.replace("'\"$table\"'", "jobs")
        rows = [{"pk": {"S": f"job#{number}"}, "status": {"S": "done"}} for number in range(60)]
        there = [row["pk"]["S"] for row in rows[:7]]

        compiled = jq.compile(program, args={"there": [there]})
        batches = compiled.input_value({"Items": rows}).all()

        self.assertEqual([len(batch["jobs"]) for batch in batches], [10, 10, 10, 10, 10, 3], "BatchWriteItem takes 25")
        put = [request["PutRequest"]["Item"] for batch in batches for request in batch["jobs"]]
        self.assertEqual(put, rows[7:])
        self.assertEqual(compiled.input_value({"Items": rows[:7]}).all(), [], "nothing is lost")


if __name__ == "__main__":
    unittest.main()
