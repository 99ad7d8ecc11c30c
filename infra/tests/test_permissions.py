"""Who may do what, and above all what not. The roles hold exactly what stands here."""

import re
import unittest

from stack import ACCOUNT, ARNS, ROOT, Stack, source

TABLE, BUCKET = ARNS["Table"], ARNS["Bucket"]
INBOX, OWNER = f"{TABLE}/index/inbox", f"{TABLE}/index/owner-keys"
REQUEST, RESPONSE = f"{BUCKET}/request/*", f"{BUCKET}/response/*"
KEY = "arn:aws:kms:ap-northeast-1:123456789012:key/1f6c0a52"
ANY_KEY, THROUGH_THE_BUCKET = "arn:aws:kms:ap-northeast-1:*:key/*", {"objects of the bucket"}
API = "arn:aws:execute-api:ap-northeast-1:123456789012:Api/prod"
JOB, IDEMPOTENCY_KEY, LAB = "job#*", "key#*", "lab"


def own(logs):
    """What every function may: write its own log, and traces, which have no resource to name, where there are any."""
    log, trace = f"arn:{logs}", "*"
    return {
        ("logs:CreateLogStream", log): set(),
        ("logs:PutLogEvents", log): set(),
        ("xray:PutTelemetryRecords", trace): set(),
        ("xray:PutTraceSegments", trace): set(),
    }


CALLS = {
    ("execute-api:Invoke", f"{API}/{path}"): set()
    for path in ("GET/v1/jobs", "GET/v1/jobs/*", "POST/v1/jobs/*/cancel", "GET/v1/lab", "GET/v1/openapi.json")
}

# Action and resource, and the keys of the rows that it is bound to. What KEY stands for is there where a key is given.
MAY = {
    "SubmitRole": own("SubmitLogs")
    | {
        ("dynamodb:GetItem", TABLE): {JOB, IDEMPOTENCY_KEY},
        ("dynamodb:PutItem", TABLE): {JOB, IDEMPOTENCY_KEY},
        ("dynamodb:UpdateItem", TABLE): {JOB},
        ("dynamodb:Query", INBOX): set(),
        ("s3:DeleteObject", REQUEST): set(),
        ("s3:PutObject", REQUEST): set(),
        ("kms:GenerateDataKey", KEY): set(),
    },
    "StatusRole": own("StatusLogs")
    | {
        ("dynamodb:BatchGetItem", TABLE): {JOB, LAB},
        ("dynamodb:GetItem", TABLE): {JOB, LAB},
        ("dynamodb:Query", INBOX): set(),
        ("dynamodb:Query", OWNER): set(),
    },
    "ResultRole": own("ResultLogs")
    | {
        ("dynamodb:GetItem", TABLE): {JOB},
        ("s3:GetObject", RESPONSE): set(),
        ("s3:ListBucket", BUCKET): set(),
        ("kms:Decrypt", ANY_KEY): THROUGH_THE_BUCKET,
    },
    "AgentPolicy": {
        ("dynamodb:BatchGetItem", TABLE): {JOB},
        ("dynamodb:GetItem", TABLE): {JOB, LAB},
        ("dynamodb:PartiQLUpdate", TABLE): {JOB},
        ("dynamodb:PutItem", TABLE): {LAB},
        ("dynamodb:UpdateItem", TABLE): {JOB},
        ("dynamodb:Query", INBOX): set(),
        ("s3:GetObject", REQUEST): set(),
        ("s3:PutObject", RESPONSE): set(),
        ("s3:AbortMultipartUpload", RESPONSE): set(),
        ("s3:ListBucket", BUCKET): set(),
        ("kms:Decrypt", ANY_KEY): THROUGH_THE_BUCKET,
        ("kms:GenerateDataKey", KEY): set(),
    },
    "ResyncPolicy": {("dynamodb:Scan", TABLE): set(), ("s3:GetObject", RESPONSE): set()},
    "ClientPolicy": CALLS | {("execute-api:Invoke", f"{API}/POST/v1/apis/*/jobs"): set()},
}

A_JOB, AN_IDEMPOTENCY_KEY = "job#01a2017b-7dfb-7c3a-9f21-5b7d0e4a6c18", "key#c29j"
A_REQUEST, A_RESPONSE = f"{BUCKET}/request/x.json", f"{BUCKET}/response/x.json"
MAY_NOT = {
    "SubmitRole": [
        ("s3:GetObject", A_REQUEST),
        ("s3:GetObject", A_RESPONSE),
        ("s3:PutObject", A_RESPONSE),
        ("s3:DeleteObject", A_RESPONSE),
        ("s3:ListBucket", BUCKET),
        ("dynamodb:PutItem", TABLE, LAB),
        ("dynamodb:GetItem", TABLE, LAB),
        ("dynamodb:UpdateItem", TABLE, AN_IDEMPOTENCY_KEY),
        ("dynamodb:Query", OWNER),
        ("dynamodb:Query", TABLE),
        ("dynamodb:Scan", TABLE),
        ("dynamodb:DeleteItem", TABLE, A_JOB),
        ("kms:Decrypt", KEY),
    ],
    "StatusRole": [
        ("dynamodb:PutItem", TABLE, A_JOB),
        ("dynamodb:UpdateItem", TABLE, A_JOB),
        ("dynamodb:DeleteItem", TABLE, A_JOB),
        ("dynamodb:GetItem", TABLE, AN_IDEMPOTENCY_KEY),
        ("dynamodb:Scan", TABLE),
        ("s3:GetObject", A_RESPONSE),
        ("s3:GetObject", A_REQUEST),
        ("s3:PutObject", A_REQUEST),
        ("kms:Decrypt", KEY),
    ],
    "ResultRole": [
        ("s3:GetObject", A_REQUEST),
        ("s3:PutObject", A_RESPONSE),
        ("s3:DeleteObject", A_RESPONSE),
        ("dynamodb:PutItem", TABLE, A_JOB),
        ("dynamodb:UpdateItem", TABLE, A_JOB),
        ("dynamodb:Query", OWNER),
        ("dynamodb:Scan", TABLE),
        ("kms:GenerateDataKey", KEY),
    ],
    "AgentPolicy": [
        ("dynamodb:PutItem", TABLE, A_JOB),
        ("dynamodb:BatchGetItem", TABLE, AN_IDEMPOTENCY_KEY),
        ("dynamodb:GetItem", TABLE, AN_IDEMPOTENCY_KEY),
        ("dynamodb:Query", OWNER),
        ("dynamodb:Scan", TABLE),
        ("dynamodb:DeleteItem", TABLE, A_JOB),
        ("s3:PutObject", A_REQUEST),
        ("s3:DeleteObject", A_REQUEST),
        ("s3:DeleteObject", A_RESPONSE),
        ("s3:GetObject", A_RESPONSE),
        ("execute-api:Invoke", f"{API}/GET/v1/jobs"),
        ("logs:PutLogEvents", "arn:SubmitLogs"),
    ],
    "ResyncPolicy": [
        ("dynamodb:PutItem", TABLE, LAB),
        ("dynamodb:UpdateItem", TABLE, A_JOB),
        ("s3:PutObject", A_RESPONSE),
    ],
    "ClientPolicy": [
        # These are 403, and neither 405 nor 404, as docs/http-api.md says.
        ("execute-api:Invoke", f"{API}/DELETE/v1/jobs/x"),
        ("execute-api:Invoke", f"{API}/GET/v1/job"),
        ("execute-api:Invoke", f"{API}/POST/v2/apis/soc/jobs"),
        ("execute-api:Invoke", API.replace("prod", "test") + "/GET/v1/jobs"),
        ("execute-api:ManageConnections", f"{API}/GET/v1/jobs"),
        ("s3:GetObject", A_RESPONSE),
        ("dynamodb:GetItem", TABLE, A_JOB),
        ("lambda:InvokeFunction", "arn:Submit"),
    ],
}

# Every operation of the AWS SDKs that the code calls: the action that it needs, and who calls it.
OPERATIONS = {
    "dynamodb.batch_execute_statement": ("dynamodb:PartiQLUpdate", {"AgentPolicy"}),
    "dynamodb.batch_get_item": ("dynamodb:BatchGetItem", {"StatusRole", "AgentPolicy"}),
    "dynamodb.get_item": ("dynamodb:GetItem", {"SubmitRole", "StatusRole", "ResultRole", "AgentPolicy"}),
    "dynamodb.put_item": ("dynamodb:PutItem", {"SubmitRole", "AgentPolicy"}),
    "dynamodb.query": ("dynamodb:Query", {"SubmitRole", "StatusRole", "AgentPolicy"}),
    "dynamodb.scan": ("dynamodb:Scan", {"ResyncPolicy"}),
    # A transaction needs what its parts need: two times PutItem.
    "dynamodb.transact_write_items": ("dynamodb:PutItem", {"SubmitRole"}),
    "dynamodb.update_item": ("dynamodb:UpdateItem", {"SubmitRole", "AgentPolicy"}),
    "s3.abort_multipart_upload": ("s3:AbortMultipartUpload", {"AgentPolicy"}),
    "s3.complete_multipart_upload": ("s3:PutObject", {"AgentPolicy"}),
    "s3.create_multipart_upload": ("s3:PutObject", {"AgentPolicy"}),
    "s3.delete_object": ("s3:DeleteObject", {"SubmitRole"}),
    "s3.get_object": ("s3:GetObject", {"ResultRole", "AgentPolicy", "ResyncPolicy"}),
    # What the agent's check asks.
    "s3.list_objects_v2": ("s3:ListBucket", {"AgentPolicy"}),
    "s3.put_object": ("s3:PutObject", {"SubmitRole", "AgentPolicy"}),
    "s3.upload_part": ("s3:PutObject", {"AgentPolicy"}),
}


class Permissions(unittest.TestCase):
    def setUp(self):
        self.maxDiff = None

    def test_everybody_may_exactly_what_the_table_says(self):
        with_all, without = Stack(KmsKeyArn=KEY, TracedShare="0.1"), Stack()
        for name, expected in MAY.items():
            with self.subTest(name):
                self.assertEqual(with_all.grants(name), expected)
                always = {pair: keys for pair, keys in expected.items() if pair[1] not in (KEY, "*")}
                self.assertEqual(without.grants(name), always)

    def test_nobody_else_is_given_anything(self):
        template = source()["Resources"]
        given = {name for name, one in template.items() if one["Type"].startswith("AWS::IAM::")}
        # API Gateway's role for access logs, which belongs to the account.
        self.assertEqual(given - {"AccountLogRoleForApiGateway"}, MAY.keys())
        managed = template["AccountLogRoleForApiGateway"]["Properties"]["ManagedPolicyArns"]
        self.assertRegex(str(managed), r"service-role/AmazonAPIGatewayPushToCloudWatchLogs'\}\]$")

    def test_nobody_may_what_is_not_theirs(self):
        stack = Stack(KmsKeyArn=KEY)
        self.assertEqual(MAY_NOT.keys(), MAY.keys())
        for name, calls in MAY_NOT.items():
            for call in calls:
                with self.subTest(name, call=call):
                    self.assertFalse(stack.allows(name, *call))
            # The same question has another answer where it should.
            action, resource = next(pair for pair in MAY[name] if pair[1] != "*")
            keys = sorted(MAY[name][action, resource]) or [None]
            self.assertTrue(stack.allows(name, action, resource, keys[0]))

    def test_only_what_has_no_resource_names_every_resource(self):
        stack = Stack(KmsKeyArn=KEY, TracedShare="0.1")
        everywhere = {action for name in MAY for action, resource in stack.grants(name) if resource == "*"}
        self.assertEqual(everywhere, {"xray:PutTelemetryRecords", "xray:PutTraceSegments"})
        self.assertFalse([a for name in MAY for a, _ in stack.grants(name) if "*" in a], "no action with a wildcard")

    def test_every_operation_of_the_code_is_allowed_to_who_calls_it_and_no_other(self):
        called = set()
        for file in (ROOT / "crates/cloud/src").rglob("*.rs"):
            # What makes the local stack's table and bucket; in AWS, the template does.
            if file.name != "provision.rs":
                text = file.read_text(encoding="utf-8")
                called |= {".".join(match) for match in re.findall(r"\.(dynamodb|s3)\s*\.([a-z0-9_]+)\(", text)}
        # Asks the client itself, not AWS.
        called.remove("dynamodb.config")
        self.assertEqual(called, OPERATIONS.keys())
        stack = Stack()
        for operation, (action, who) in OPERATIONS.items():
            able = {name for name in MAY if action in {allowed for allowed, _ in stack.grants(name)}}
            self.assertLessEqual(who, able, operation)
        needed = {(name, action) for action, who in OPERATIONS.values() for name in who}
        given = {(name, action) for name in MAY for action, _ in stack.grants(name)}
        spare = {(name, action) for name, action in given - needed if action.startswith(("dynamodb:", "s3:"))}
        # S3 needs it to say that an object is not there.
        self.assertEqual(spare, {("ResultRole", "s3:ListBucket")})

    def test_each_function_has_its_own_role_which_lambda_alone_takes(self):
        stack = Stack()
        roles = {name: one["Role"] for name, one in stack.of_type("AWS::Lambda::Function").items()}
        self.assertEqual(roles, {name: f"arn:{name}Role" for name in ("Submit", "Status", "Result")})
        for name in ("SubmitRole", "StatusRole", "ResultRole"):
            trust = stack.resources[name]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
            lambda_alone = {
                "Effect": "Allow",
                "Principal": {"Service": "lambda.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
            self.assertEqual(trust, [lambda_alone])

    def test_the_agents_certificate_alone_takes_its_role_which_has_its_policy_alone(self):
        policy = f"arn:aws:iam::{ACCOUNT}:policy/agent"
        stack = Stack("infra/lab/roles-anywhere.yaml", CaCertificate="PEM", AgentPolicyArn=policy)
        role = stack.resources["Role"]["Properties"]
        self.assertEqual(role["ManagedPolicyArns"], [policy])
        self.assertNotIn("Policies", role)
        (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
        self.assertEqual(trust["Principal"], {"Service": "rolesanywhere.amazonaws.com"})
        self.assertEqual(
            trust["Condition"],
            {
                "StringEquals": {"aws:PrincipalTag/x509Subject/CN": "bcrlapi-agent"},
                "ArnEquals": {"aws:SourceArn": "TrustAnchor.TrustAnchorArn"},
            },
        )
        (profile,) = stack.of_type("AWS::RolesAnywhere::Profile").values()
        self.assertEqual(profile["RoleArns"], ["arn:Role"])

    def test_a_client_of_one_api_may_submit_to_no_other(self):
        stack = Stack("infra/client-policy.yaml", Api="soc", ApiArn=API)
        self.assertEqual(
            stack.grants("ClientPolicy"), CALLS | {("execute-api:Invoke", f"{API}/POST/v1/apis/soc/jobs"): set()}
        )
        for path in (
            "POST/v1/apis/soh/jobs",
            "POST/v1/apis/soc2/jobs",
            "POST/v1/apis/x/soc/jobs",
            "GET/v1/apis/soc/jobs",
        ):
            self.assertFalse(stack.allows("ClientPolicy", "execute-api:Invoke", f"{API}/{path}"), path)
        self.assertTrue(stack.allows("ClientPolicy", "execute-api:Invoke", f"{API}/GET/v1/jobs/x/result/link"))


if __name__ == "__main__":
    unittest.main()
