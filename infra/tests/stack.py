"""A SAM template as CloudFormation gets it, with its parameters filled in, and what its policies let somebody do."""

import fnmatch
import logging
import os
import pathlib
import re

import yaml
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
ACCOUNT, REGION = "123456789012", "ap-northeast-1"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/bcrlapi/5f3a1c20-1111-2222-3333-444455556666",
    "AWS::StackName": "bcrlapi",
    "AWS::URLSuffix": "amazonaws.com",
}
ARNS = {
    "Table": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/Table",
    "Bucket": "arn:aws:s3:::Bucket",
}
# The condition of whoever may use keys by which S3 has encrypted objects of the bucket, and for nothing else.
THROUGH_THE_BUCKET = {
    "StringEquals": {"kms:ViaService": f"s3.{REGION}.amazonaws.com"},
    "StringLike": {"kms:EncryptionContext:aws:s3:arn": [ARNS["Bucket"], f"{ARNS['Bucket']}/*"]},
}
NOTHING = object()
# SAM's warnings are about its own service.
logging.disable(logging.WARNING)


class _Policies:
    """SAM asks for the managed policies that it may add by name."""

    def load(self):
        return {"AWSLambdaBasicExecutionRole": "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"}


def source(path="template.yaml"):
    """The template as it is written."""
    return yaml_parse((ROOT / path).read_text(encoding="utf-8"))


def document():
    """The API's document."""
    return yaml.safe_load((ROOT / "infra/openapi.yaml").read_text(encoding="utf-8"))


class Stack:
    """The template after SAM's transform, with these parameters and the defaults of the others."""

    def __init__(self, path="template.yaml", **parameters):
        template = source(path)
        values = {name: definition.get("Default") for name, definition in template["Parameters"].items()}
        assert parameters.keys() <= values.keys(), "parameters that the template does not have"
        self.parameters = {**values, **parameters}
        if "Transform" in template:
            os.environ.setdefault("AWS_DEFAULT_REGION", REGION)
            # sam build puts the built archive's address here.
            template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
            template = transform(template, self.parameters, _Policies())
        self.template = template
        self.resources = {}
        for name, resource in template["Resources"].items():
            if self._condition(resource.get("Condition")):
                self.resources[name] = {**resource, "Properties": self._value(resource.get("Properties", {}))}
        self.outputs = {
            name: self._value(output["Value"])
            for name, output in template["Outputs"].items()
            if self._condition(output.get("Condition"))
        }

    def of_type(self, kind):
        """The properties of all resources of a type, by name."""
        return {name: one["Properties"] for name, one in self.resources.items() if one["Type"] == kind}

    def statements(self, name):
        """The statements of a role or of a managed policy."""
        properties = self.resources[name]["Properties"]
        assert not properties.get("ManagedPolicyArns"), f"{name} has policies that stand elsewhere"
        documents = [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
        documents += [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        return [statement for document in documents for statement in document["Statement"]]

    def grants(self, name):
        """What a role or a policy allows: pairs of action and resource, with the rows' keys that it is bound to."""
        found = {}
        for statement in self.statements(name):
            assert statement["Effect"] == "Allow" and not {"NotAction", "NotResource"} & statement.keys(), statement
            keys = _leading_keys(statement)
            for action in _list(statement["Action"]):
                for resource in _list(statement["Resource"]):
                    known = found.setdefault((action, resource), keys)
                    assert bool(known) == bool(keys), f"{name}: bound to rows in one place and to none in another"
                    found[action, resource] = known | keys
        return found

    def waits_for(self, name):
        """What CloudFormation makes before it makes this resource."""
        found, new = set(), {name}
        while new:
            resource = self.template["Resources"][new.pop()]
            named = {*_list(resource.get("DependsOn", [])), *_references(resource)} & self.resources.keys()
            new |= named - found
            found |= named
        return found

    def allows(self, name, action, resource, key=None):
        """Whether a role or a managed policy allows an action on a resource and, in the table, on the row of a key."""
        for (allowed, pattern), keys in self.grants(name).items():
            if fnmatch.fnmatchcase(action, allowed) and fnmatch.fnmatchcase(resource, pattern):
                if not keys or any(fnmatch.fnmatchcase(key or "", wanted) for wanted in keys):
                    return True
        return False

    def _condition(self, name):
        return name is None or self._value(self.template["Conditions"][name])

    def _value(self, node):
        if isinstance(node, list):
            return [value for value in map(self._value, node) if value is not NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name in ("Ref", "Condition") or name.startswith("Fn::"):
                return self._intrinsic(name, argument)
        values = {key: self._value(value) for key, value in node.items()}
        return {key: value for key, value in values.items() if value is not NOTHING}

    def _intrinsic(self, name, argument):
        if name == "Ref":
            return self._reference(argument)
        if name == "Condition":
            return self._condition(argument)
        if name == "Fn::If":
            return self._value(argument[1] if self._condition(argument[0]) else argument[2])
        if name == "Fn::GetAtt":
            return self._attribute(argument if isinstance(argument, str) else ".".join(argument))
        if name == "Fn::Sub":
            return self._substitute(argument)
        values = self._value(argument)
        if name == "Fn::Split":
            return values[1].split(values[0])
        return {
            "Fn::Join": lambda: values[0].join(values[1]),
            "Fn::Select": lambda: values[1][values[0]],
            "Fn::Equals": lambda: str(values[0]) == str(values[1]),
            "Fn::Not": lambda: not values[0],
            "Fn::And": lambda: all(values),
            "Fn::Or": lambda: any(values),
        }[name]()

    def _reference(self, name):
        if name == "AWS::NoValue":
            return NOTHING
        return {**PSEUDO, **self.parameters}.get(name, name)

    def _attribute(self, path):
        name, attribute = path.split(".", 1)
        return ARNS.get(name, f"arn:{name}") if attribute == "Arn" else path

    def _substitute(self, argument):
        text, names = (argument, {}) if isinstance(argument, str) else argument
        names = {name: self._value(value) for name, value in names.items()}

        def fill(match):
            name = match[1]
            return names.get(name) or (self._attribute(name) if "." in name else self._reference(name))

        return re.sub(r"\$\{([^}!]+)\}", fill, text)


def _references(node):
    """The names that a part of a template refers to."""
    if isinstance(node, list):
        for one in node:
            yield from _references(one)
    if not isinstance(node, dict):
        return
    for name, argument in node.items():
        if name == "Ref":
            yield argument
        elif name == "Fn::GetAtt":
            yield argument.split(".")[0] if isinstance(argument, str) else argument[0]
        elif name == "Fn::Sub":
            text = argument if isinstance(argument, str) else argument[0]
            yield from (found.split(".")[0] for found in re.findall(r"\$\{([^}!]+)\}", text))
        yield from _references(argument)


def _leading_keys(statement):
    conditions = dict(statement.get("Condition", {}))
    if conditions == THROUGH_THE_BUCKET:
        return {"objects of the bucket"}
    keys = [conditions.pop(f"ForAllValues:{name}", None) for name in ("StringLike", "StringEquals")]
    assert not conditions, f"a condition that this test does not know: {conditions}"
    keys = [condition for condition in keys if condition]
    assert all(condition.keys() == {"dynamodb:LeadingKeys"} for condition in keys), statement
    return {key for condition in keys for key in condition["dynamodb:LeadingKeys"]}


def _list(value):
    return value if isinstance(value, list) else [value]
