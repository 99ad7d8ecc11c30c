"""The transformed template: nothing public, all logged for a time, and the API that infra/openapi.yaml describes."""

import json
import re
import tomllib
import unittest

from stack import ACCOUNT, ROOT, Stack, document, source

METHODS = ("delete", "get", "head", "options", "patch", "post", "put")
ANY = "x-amazon-apigateway-any-method"
EVERYBODY = "*"
METRICS = (ROOT / "functions/status/src/metrics.rs").read_text(encoding="utf-8")
BASIC_ALARMS = {"EveryJobFails", "LabSilent", "ProcessingAge", "QueueAge", "ServerErrors"}
MORE_ALARMS = {"RefusedCalls", "StageThrottled", "StoreThrottled"}
# As Route::function in crates/api/src/routes.rs has them.
FUNCTIONS = {
    "/v1/apis/{api}/jobs": "Submit",
    "/v1/jobs": "Status",
    "/v1/jobs/{uuid}": "Status",
    "/v1/jobs/{uuid}/cancel": "Submit",
    "/v1/jobs/{uuid}/result": "Result",
    "/v1/jobs/{uuid}/result/link": "Result",
    "/v1/lab": "Status",
    "/v1/openapi.json": "Status",
}
# The problem that no operation has, and so the document no example of.
NO_SUCH_PATH = {"title": "No such path", "status": 404}
# Every type of answer that API Gateway has for such an API, the default that stands for it, and its status here.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
GATEWAY_RESPONSES = {
    "ACCESS_DENIED": ("DEFAULT_4XX", 403),
    "EXPIRED_TOKEN": ("DEFAULT_4XX", 403),
    "INVALID_SIGNATURE": ("DEFAULT_4XX", 403),
    "MISSING_AUTHENTICATION_TOKEN": ("DEFAULT_4XX", 403),
    "UNAUTHORIZED": ("DEFAULT_4XX", 403),
    "WAF_FILTERED": ("DEFAULT_4XX", 403),
    "RESOURCE_NOT_FOUND": ("DEFAULT_4XX", 404),
    "REQUEST_TOO_LARGE": ("DEFAULT_4XX", 413),
    "THROTTLED": ("DEFAULT_4XX", 503),
    # A function that crashed, or that Lambda throttled, is a plain 5XX.
    "API_CONFIGURATION_ERROR": ("DEFAULT_5XX", 503),
    "INTEGRATION_FAILURE": ("DEFAULT_5XX", 503),
    "INTEGRATION_TIMEOUT": ("DEFAULT_5XX", 503),
}


def methods(stack):
    """Path, method and definition of everything that the API answers."""
    paths = stack.resources["Api"]["Properties"]["Body"]["paths"]
    for path, item in paths.items():
        for method, definition in item.items():
            yield path, method, definition


def function_of(definition):
    """The function that a method leads to."""
    return re.search(r"functions/arn:(\w+)/invocations", definition["x-amazon-apigateway-integration"]["uri"])[1]


class Api(unittest.TestCase):
    def setUp(self):
        self.stack = Stack()
        self.api = self.stack.resources["Api"]["Properties"]

    def test_every_method_wants_a_signature(self):
        self.assertEqual({path for path, _, _ in methods(self.stack)}, {*document()["paths"], "/{proxy+}"})
        for path, method, definition in methods(self.stack):
            with self.subTest(path, method=method):
                self.assertIn(method, (*METHODS, ANY))
                self.assertEqual(definition["security"], [{"AWS_IAM": []}])
                self.assertNotIn(
                    "credentials", definition["x-amazon-apigateway-integration"], "the caller is not passed on"
                )
        scheme = self.api["Body"]["components"]["securitySchemes"]["AWS_IAM"]
        self.assertEqual(scheme["x-amazon-apigateway-authtype"], "awsSigv4")

    def test_it_has_the_documents_operations_and_answers_any_other_call(self):
        documented = {(path, m) for path, item in document()["paths"].items() for m in item if m in METHODS}
        self.assertEqual({(path, m) for path, m, _ in methods(self.stack) if m != ANY}, documented)
        others = {path: function_of(definition) for path, m, definition in methods(self.stack) if m == ANY}
        self.assertEqual(others, dict.fromkeys([*document()["paths"], "/{proxy+}"], "Status"))

    def test_each_path_leads_to_its_function(self):
        deployed = {path: function_of(definition) for path, m, definition in methods(self.stack) if m != ANY}
        self.assertEqual(deployed, FUNCTIONS)

    def test_bodies_reach_the_functions_as_they_are(self):
        self.assertEqual(self.api["Body"]["x-amazon-apigateway-binary-media-types"], ["*/*"])
        self.assertNotIn("x-amazon-apigateway-request-validator", json.dumps(self.api["Body"]))

    def test_what_the_gateway_answers_itself_is_in_the_document(self):
        problems = {
            one["value"]["type"]: one["value"]
            for one in document()["components"]["examples"].values()
            if "type" in one["value"]
        }
        schema = document()["components"]["schemas"]["Problem"]
        answers = self.api["Body"]["x-amazon-apigateway-gateway-responses"]
        for name, answer in answers.items():
            with self.subTest(name):
                ((media_type, text),) = answer["responseTemplates"].items()
                text = text.replace("$context.error.messageString", '"reason"').replace("$context.requestId", "id")
                body, headers = json.loads(text), answer["responseParameters"]
                headers = {
                    key.removeprefix("gatewayresponse.header."): value.strip("'") for key, value in headers.items()
                }
                example = problems.get(body["type"], NO_SUCH_PATH)
                self.assertEqual(media_type, "application/json", "what is taken for callers who ask for nothing else")
                self.assertEqual(body.keys(), set(schema["required"]))
                self.assertIn(body["type"], schema["properties"]["type"]["x-extensible-enum"])
                self.assertEqual(
                    [body[key] for key in ("title", "status")], [example[key] for key in ("title", "status")]
                )
                self.assertEqual(body["status"], int(answer["statusCode"]))
                self.assertEqual([body[key] for key in ("detail", "instance", "message")], ["reason", "id", "reason"])
                expected = {
                    "Cache-Control": "no-store",
                    "Content-Type": "application/problem+json",
                    "X-Content-Type-Options": "nosniff",
                    "x-amzn-ErrorType": body["type"].rsplit("/", 1)[1],
                }
                expected |= {"Retry-After": "5"} if body["status"] == 503 else {}
                self.assertEqual(headers, expected)

    def test_the_gateway_tells_callers_who_are_not_let_in_from_functions_that_do_not_answer(self):
        answers = self.api["Body"]["x-amazon-apigateway-gateway-responses"]
        for name, (default, status) in GATEWAY_RESPONSES.items():
            with self.subTest(name):
                self.assertEqual(int(answers.get(name, answers[default])["statusCode"]), status)
        self.assertLessEqual(answers.keys(), {*GATEWAY_RESPONSES, "DEFAULT_4XX", "DEFAULT_5XX"})

    def test_calls_are_throttled_and_logged_once(self):
        stage = self.stack.resources["ApiStage"]["Properties"]
        (settings,) = stage["MethodSettings"]
        self.assertEqual(
            [settings[key] for key in ("ResourcePath", "HttpMethod", "LoggingLevel", "DataTraceEnabled")],
            ["/*", "*", "OFF", False],
        )
        chosen = Stack(CallsPerSecond=7, CallsAtOnce=9)
        (settings,) = chosen.resources["ApiStage"]["Properties"]["MethodSettings"]
        self.assertEqual([settings[f"Throttling{name}Limit"] for name in ("Rate", "Burst")], [7, 9])
        submit = chosen.resources["Submit"]["Properties"]["Environment"]["Variables"]
        counted_by = [submit[f"BCRLAPI_CALLS_{name}"] for name in ("PER_SECOND", "AT_ONCE")]
        self.assertEqual(counted_by, [7, 9], "the queue is counted by the same numbers")
        self.assertEqual(stage["AccessLogSetting"]["DestinationArn"], "arn:AccessLogs")
        log = json.loads(stage["AccessLogSetting"]["Format"])
        self.assertLessEqual({"request_id", "caller", "source_ip", "status", "error"}, log.keys())
        self.assertFalse(re.search(r"header|authorizer|apiKey", str(log), re.I), "nothing that a caller keeps secret")

    def test_the_account_gets_its_role_for_logs_after_the_first_api_and_before_the_stage(self):
        self.assertIn("Api", self.stack.waits_for("AccountSettings"))
        self.assertIn("AccountSettings", self.stack.waits_for("AccessLogs"))
        self.assertIn("AccessLogs", self.stack.waits_for("ApiStage"))
        for name in self.stack.resources:
            self.assertNotIn(name, self.stack.waits_for(name), "CloudFormation refuses a circle")

        existing = Stack(AccountLogRole="existing")
        self.assertFalse({"AccountSettings", "AccountLogRoleForApiGateway"} & existing.resources.keys())
        self.assertIn("AccessLogs", existing.waits_for("ApiStage"))

    def test_a_domain_of_ones_own_leads_to_the_stage_and_callers_are_told_it(self):
        certificate = f"arn:aws:acm:ap-northeast-1:{ACCOUNT}:certificate/5f3a"
        stack = Stack(DomainName="api.lab.example", CertificateArn=certificate)

        domain = stack.resources["Domain"]["Properties"]
        self.assertEqual(
            (domain["DomainName"], domain["RegionalCertificateArn"], domain["EndpointConfiguration"]),
            ("api.lab.example", certificate, {"Types": ["REGIONAL"]}),
        )
        mapping = stack.resources["DomainMapping"]["Properties"]
        self.assertEqual(mapping, {"DomainName": "Domain", "RestApiId": "Api", "Stage": "ApiStage"})
        self.assertEqual(stack.outputs["ApiUrl"], "https://api.lab.example")
        self.assertEqual(stack.outputs["DomainTarget"], "Domain.RegionalDomainName")

        self.assertFalse({"Domain", "DomainMapping"} & self.stack.resources.keys())
        self.assertNotIn("DomainTarget", self.stack.outputs)

    def test_traces_are_made_of_the_share_that_was_chosen(self):
        self.assertIs(self.stack.resources["ApiStage"]["Properties"]["TracingEnabled"], False)
        self.assertFalse(self.stack.of_type("AWS::XRay::SamplingRule"))

        stack = Stack(TracedShare="0.05")
        self.assertIs(stack.resources["ApiStage"]["Properties"]["TracingEnabled"], True)
        (rule,) = stack.of_type("AWS::XRay::SamplingRule").values()
        rule = rule["SamplingRule"]
        self.assertEqual((rule["FixedRate"], rule["ReservoirSize"], rule["ServiceName"]), ("0.05", 0, "bcrlapi/prod"))
        self.assertRegex(rule["RuleName"], "^bcrlapi-[0-9a-f]{8}$")

    def test_one_stage_only_which_every_change_reaches(self):
        self.assertEqual(list(self.stack.of_type("AWS::ApiGateway::Stage")), ["ApiStage"])
        self.assertIs(source()["Resources"]["Api"]["Properties"]["AlwaysDeploy"], True)


class Callers(unittest.TestCase):
    """The resource policy. Where it says nothing, a caller's own IAM policy decides."""

    def policy(self, **parameters):
        api = Stack(**parameters).resources["Api"]["Properties"]
        return {one["Sid"]: one for one in api["Body"]["x-amazon-apigateway-policy"]["Statement"]}

    def test_by_default_it_allows_nobody_anything(self):
        self.assertEqual(self.policy().keys(), {"TlsOnly"})
        self.assertEqual(self.policy()["TlsOnly"]["Effect"], "Deny")

    def test_networks_are_a_fence_under_iam(self):
        policy = self.policy(AllowedCidrs="203.0.113.0/24,2001:db8::/32")
        self.assertEqual(policy.keys(), {"TlsOnly", "NetworksFence"})
        self.assertEqual(policy["NetworksFence"]["Effect"], "Deny")
        expected = {"NotIpAddress": {"aws:SourceIp": ["203.0.113.0/24", "2001:db8::/32"]}}
        self.assertEqual(policy["NetworksFence"]["Condition"], expected)

    def test_on_the_move_networks_let_in_this_accounts_callers_and_fence_nobody_out(self):
        policy = self.policy(AllowedCidrs="203.0.113.0/24", CallerAuth="IAM+CIDR")
        self.assertEqual(policy.keys(), {"TlsOnly", "NetworksGrant"})
        expected = {
            "IpAddress": {"aws:SourceIp": ["203.0.113.0/24"]},
            "StringEquals": {"aws:PrincipalAccount": ACCOUNT},
        }
        self.assertEqual(policy["NetworksGrant"]["Condition"], expected)
        self.assertEqual(self.policy(CallerAuth="IAM+CIDR").keys(), {"TlsOnly"}, "no network, no grant")

    def test_other_accounts_are_let_in_by_name(self):
        policy = self.policy(AllowedAccounts="111122223333,444455556666")
        self.assertEqual(policy["OtherAccounts"]["Principal"], {"AWS": ["111122223333", "444455556666"]})

    def test_nobody_is_let_in_who_is_not_named(self):
        every = {"AllowedAccounts": "111122223333", "AllowedCidrs": "203.0.113.0/24"}
        for caller_auth in ("IAM", "IAM+CIDR"):
            for statement in self.policy(CallerAuth=caller_auth, **every).values():
                if statement["Effect"] == "Allow" and statement["Principal"] == EVERYBODY:
                    self.assertLessEqual({"IpAddress", "StringEquals"}, statement["Condition"].keys())
                self.assertEqual((statement["Action"], statement["Resource"]), ("execute-api:Invoke", "execute-api:/*"))


class Everything(unittest.TestCase):
    def setUp(self):
        self.stack = Stack(AlarmEmail="lab@example.com")

    def test_only_the_api_and_the_schedule_may_call_the_functions(self):
        for name, permission in self.stack.of_type("AWS::Lambda::Permission").items():
            with self.subTest(name):
                principal, caller = permission["Principal"], permission["SourceArn"]
                is_the_api = principal == "apigateway.amazonaws.com" and f":{ACCOUNT}:Api/" in caller
                is_the_schedule = principal == "events.amazonaws.com" and caller == "arn:StatusMeasure"
                self.assertTrue(is_the_api or is_the_schedule, permission)
        self.assertFalse(self.stack.of_type("AWS::Lambda::Url"))

    def test_the_bucket_is_private_encrypted_and_emptied(self):
        bucket = self.stack.resources["Bucket"]["Properties"]
        self.assertEqual(set(bucket["PublicAccessBlockConfiguration"].values()), {True})
        self.assertEqual(len(bucket["PublicAccessBlockConfiguration"]), 4)
        self.assertEqual(bucket["OwnershipControls"]["Rules"], [{"ObjectOwnership": "BucketOwnerEnforced"}])
        (policy,) = self.stack.of_type("AWS::S3::BucketPolicy").values()
        self.assertEqual(
            [(one["Sid"], one["Effect"]) for one in policy["PolicyDocument"]["Statement"]], [("TlsOnly", "Deny")]
        )
        self.assertEqual(bucket["VersioningConfiguration"], {"Status": "Enabled"})
        rule, markers = bucket["LifecycleConfiguration"]["Rules"]
        self.assertGreater(rule["ExpirationInDays"], 7, "never before the job's own end")
        self.assertEqual(rule["NoncurrentVersionExpiration"], {"NoncurrentDays": 1})
        self.assertEqual(rule["AbortIncompleteMultipartUpload"], {"DaysAfterInitiation": 1})
        self.assertIs(markers["ExpiredObjectDeleteMarker"], True)

        def encryption(**parameters):
            bucket = Stack(**parameters).resources["Bucket"]["Properties"]
            (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
            return rule["ServerSideEncryptionByDefault"]

        self.assertEqual(encryption(), {"SSEAlgorithm": "AES256"})
        key = f"arn:aws:kms:ap-northeast-1:{ACCOUNT}:key/1f6c0a52"
        self.assertEqual(encryption(KmsKeyArn=key), {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key})

    def test_the_stores_outlive_the_stack(self):
        written = source()["Resources"]
        for name, policy in [("Table", "Retain"), ("Bucket", "RetainExceptOnCreate")]:
            one = self.stack.resources[name]
            self.assertEqual((one["DeletionPolicy"], one["UpdateReplacePolicy"]), (policy, "Retain"))
            self.assertEqual(self.stack.template["Resources"][name], written[name], "the transform leaves it alone")
        for name in ("AccountSettings", "AccountLogRoleForApiGateway"):
            self.assertEqual(written[name]["DeletionPolicy"], "RetainExceptOnCreate")
        table = self.stack.resources["Table"]["Properties"]
        self.assertIs(table["DeletionProtectionEnabled"], True)
        self.assertEqual(table["PointInTimeRecoverySpecification"], {"PointInTimeRecoveryEnabled": True})

    def test_every_log_is_kept_for_a_time_only(self):
        groups = Stack(RetentionDays=14).of_type("AWS::Logs::LogGroup")
        self.assertEqual({one["RetentionInDays"] for one in groups.values()}, {14})
        functions = self.stack.of_type("AWS::Lambda::Function")
        logs = {one["LoggingConfig"]["LogGroup"] for one in functions.values()}
        self.assertEqual(logs | {"AccessLogs"}, groups.keys())

    def test_the_functions_are_as_agreed(self):
        functions = Stack(Architecture="arm64", ReservedConcurrency=5, AllowedApis="soc,mock").of_type(
            "AWS::Lambda::Function"
        )
        self.assertEqual(functions.keys(), {"Submit", "Status", "Result"})
        for name, function in functions.items():
            with self.subTest(name):
                kept = {
                    key: function[key]
                    for key in ("Runtime", "Architectures", "MemorySize", "ReservedConcurrentExecutions")
                }
                self.assertEqual(
                    kept,
                    {
                        "Runtime": "provided.al2023",
                        "Architectures": ["arm64"],
                        "MemorySize": 512,
                        "ReservedConcurrentExecutions": 5,
                    },
                )
                self.assertLess(function["Timeout"], 29, "API Gateway gives up then")
                self.assertEqual(function["TracingConfig"], {"Mode": "PassThrough"})
                self.assertEqual(function["LoggingConfig"]["LogFormat"], "JSON")
                build = source()["Resources"][name]["Metadata"]
                self.assertEqual(
                    build, {"BuildMethod": "rust-cargolambda", "BuildProperties": {"Binary": name.lower()}}
                )
        self.assertEqual(functions["Submit"]["Environment"]["Variables"]["BCRLAPI_APIS"], "soc,mock")
        for function in self.stack.of_type("AWS::Lambda::Function").values():
            self.assertNotIn("ReservedConcurrentExecutions", function, "none are set aside by default")

    def test_every_setting_of_the_functions_is_one_that_the_code_reads(self):
        read = set()
        for file in (ROOT / "functions").rglob("*.rs"):
            read |= set(re.findall(r'(?:optional|required)\("(BCRLAPI_\w+)"\)', file.read_text(encoding="utf-8")))
        functions = self.stack.of_type("AWS::Lambda::Function")
        given = {name for one in functions.values() for name in one["Environment"]["Variables"]}
        self.assertEqual(given, read)

    def test_every_parameter_says_what_it_is_and_what_it_may_be(self):
        for path in ("template.yaml", "infra/client-policy.yaml", "infra/lab/roles-anywhere.yaml"):
            for name, one in source(path)["Parameters"].items():
                with self.subTest(name):
                    self.assertGreater(len(one["Description"]), 20)
                    self.assertTrue({"AllowedPattern", "AllowedValues", "MinValue"} & one.keys())
                    self.assertEqual("AllowedPattern" in one, "ConstraintDescription" in one)
                    if "AllowedPattern" in one and "Default" in one:
                        self.assertRegex(one["Default"], one["AllowedPattern"])
        groups = source()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
        self.assertEqual({name for group in groups for name in group["Parameters"]}, source()["Parameters"].keys())

    def test_parameters_stand_where_building_and_deploying_both_read_them(self):
        commands = tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))["default"]
        having = {name for name, one in commands.items() if "parameter_overrides" in one["parameters"]}
        self.assertEqual(having, {"global"})
        given = commands["global"]["parameters"]["parameter_overrides"]
        self.assertIn("Architecture", given)
        self.assertLessEqual(given.keys(), source()["Parameters"].keys())

    def test_patterns_take_what_is_right_and_nothing_else(self):
        for name, right, wrong in [
            ("AllowedApis", ["*", "soc", "soc,soh-2"], ["", "soc, soh", "soc,", "a/b", "*,soc", "-a"]),
            (
                "AllowedAccounts",
                ["", "123456789012", "123456789012,111122223333"],
                ["12345", "1,2", "arn:aws:iam::123456789012:root", "*"],
            ),
            (
                "AllowedCidrs",
                ["", "203.0.113.0/24", "203.0.113.0/24,2001:db8::/32"],
                ["203.0.113.7", "0.0.0.0", "example.com/24"],
            ),
            ("QueueLimit", ["", "1", "10000"], ["0", "-1", "many"]),
            ("KmsKeyArn", ["", "arn:aws:kms:ap-northeast-1:123456789012:key/1f6c"], ["alias/x", "*"]),
            ("AlarmEmail", ["", "lab@example.com"], ["lab", "a@b c@d"]),
            ("StageName", ["prod"], ["", "a/b", "a-b"]),
            (
                "DomainName",
                ["", "api.lab.example", "a-1.example.co.jp"],
                ["lab", "API.lab.example", "https://api.lab.example", "api.lab.example/", "-a.example", "*.example"],
            ),
            (
                "CertificateArn",
                ["", "arn:aws:acm:ap-northeast-1:123456789012:certificate/5f3a-1"],
                ["arn:aws:iam::123456789012:server-certificate/x", "*"],
            ),
        ]:
            pattern = source()["Parameters"][name]["AllowedPattern"]
            for value in right:
                self.assertRegex(value, pattern, name)
            for value in wrong:
                self.assertNotRegex(value, pattern, name)

    def test_alarms_have_a_runbook_and_reach_somebody(self):
        everything = Stack(AlarmEmail="lab@example.com", Monitoring="all").of_type("AWS::CloudWatch::Alarm")
        basic = self.stack.of_type("AWS::CloudWatch::Alarm")
        self.assertEqual(basic.keys(), BASIC_ALARMS)
        self.assertEqual(everything.keys(), BASIC_ALARMS | MORE_ALARMS)
        for name, alarm in everything.items():
            with self.subTest(name):
                self.assertEqual(alarm["AlarmName"], f"bcrlapi-{name}")
                self.assertIn(f"docs/operations.md, {name}", alarm["AlarmDescription"])
                self.assertEqual((alarm["AlarmActions"], alarm["OKActions"]), (["AlarmTopic"], ["AlarmTopic"]))
                self.assertNotIn("Metrics", alarm, "metric math costs as many alarms as it has metrics")
        for alarm in Stack().of_type("AWS::CloudWatch::Alarm").values():
            self.assertNotIn("AlarmActions", alarm, "nobody is to be told")

    def test_alarms_watch_what_is_measured(self):
        stack = Stack(Monitoring="all")
        measured = set(re.findall(r'"([A-Z]\w+)"', METRICS.split("#[cfg(test)]")[0]))
        log = json.loads(stack.resources["ApiStage"]["Properties"]["AccessLogSetting"]["Format"])
        counted = set()
        for name, metric_filter in stack.of_type("AWS::Logs::MetricFilter").items():
            self.assertEqual(metric_filter["LogGroupName"], "AccessLogs")
            self.assertIn(re.search(r"\$\.(\w+)", metric_filter["FilterPattern"])[1], log)
            (counts,) = metric_filter["MetricTransformations"]
            self.assertNotIn("DefaultValue", counts, "a value in every hour is paid for in every hour")
            counted.add((counts["MetricNamespace"], counts["MetricName"]))
        for name, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
            with self.subTest(name):
                dimensions = {one["Name"]: one["Value"] for one in alarm.get("Dimensions", [])}
                if alarm["Namespace"] == "bcrlapi":
                    self.assertIn(alarm["MetricName"], measured)
                    self.assertEqual(dimensions, {"Table": "Table"})
                elif alarm["Namespace"] == "AWS/DynamoDB":
                    table = source()["Resources"]["Table"]["Properties"]
                    self.assertEqual(dimensions["TableName"], "Table")
                    self.assertIn(
                        dimensions["GlobalSecondaryIndexName"],
                        {index["IndexName"] for index in table["GlobalSecondaryIndexes"]},
                    )
                else:
                    self.assertIn((alarm["Namespace"], alarm["MetricName"]), counted)

    def test_a_lab_that_was_never_there_does_not_ring_and_one_that_nobody_measures_does(self):
        alarms = Stack(Monitoring="all").of_type("AWS::CloudWatch::Alarm")
        ring = {name for name, alarm in alarms.items() if alarm["TreatMissingData"] == "breaching"}
        self.assertEqual(ring, {"LabSilent"})
        self.assertEqual({one["TreatMissingData"] for one in alarms.values()}, {"breaching", "notBreaching"})

    def test_where_nothing_is_watched_nothing_is_paid_for(self):
        kinds = ("Alarm", "Dashboard")

        def paid(monitoring):
            stack = Stack(Monitoring=monitoring, AlarmEmail="lab@example.com")
            numbers = [len(stack.of_type(f"AWS::CloudWatch::{kind}")) for kind in kinds]
            (rule,) = stack.of_type("AWS::Events::Rule").values()
            return [*numbers, len(stack.of_type("AWS::SNS::Topic")), rule["State"]]

        self.assertEqual(paid("none"), [0, 0, 0, "DISABLED"])
        self.assertEqual(paid("basic"), [5, 0, 1, "ENABLED"])
        self.assertEqual(paid("all"), [8, 1, 1, "ENABLED"])

    def test_the_dashboard_shows_what_there_is(self):
        stack = Stack(Monitoring="all")
        dashboard = json.loads(stack.resources["Dashboard"]["Properties"]["DashboardBody"])
        shown = next(one for one in dashboard["widgets"] if one["type"] == "alarm")["properties"]["alarms"]
        self.assertEqual({f"arn:{name}" for name in stack.of_type("AWS::CloudWatch::Alarm")}, set(shown))

    def test_the_schedule_asks_for_the_lab(self):
        (rule,) = self.stack.of_type("AWS::Events::Rule").values()
        (target,) = rule["Targets"]
        event = json.loads(target["Input"])
        self.assertEqual(
            (target["Arn"], event["httpMethod"], event["requestContext"]["resourcePath"]),
            ("arn:Status", "GET", "/v1/lab"),
        )
        self.assertTrue(event["requestContext"]["identity"]["caller"], "the functions answer nobody else")
        (invoke,) = self.stack.of_type("AWS::Lambda::EventInvokeConfig").values()
        self.assertEqual((invoke["FunctionName"], invoke["MaximumRetryAttempts"]), ("Status", 0))

    def test_outputs_say_what_they_are_for(self):
        self.assertEqual(self.stack.outputs["ApiUrl"], "https://Api.execute-api.ap-northeast-1.amazonaws.com/prod")
        self.assertLessEqual(
            {"ApiUrl", "TableName", "BucketName", "AgentPolicyArn", "ClientPolicyArn"}, self.stack.outputs.keys()
        )
        for name, output in source()["Outputs"].items():
            self.assertTrue(output["Description"], name)


if __name__ == "__main__":
    unittest.main()
