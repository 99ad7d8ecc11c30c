"""ministack, with three things mended that AWS does: an API's resource policy is taken from the API's definition, SAM's
transform is given the values of the stack's parameters, not their defaults, and a batch of PartiQL updates needs the
permission for updates of its tables."""

import json
import re
from functools import partial
from unittest.mock import patch

from ministack.app import main
from ministack.core import iam_actions
from ministack.services.cloudformation import changesets, engine, handlers, stacks
from ministack.services.cloudformation.provisioners import _RESOURCE_HANDLERS
from samtranslator.translator import transform as sam


def with_policy(properties):
    body = dict(properties.get("Body") or {})
    policy = body.pop("x-amazon-apigateway-policy", None)
    return {**properties, "Body": body, "Policy": policy} if policy else properties


def take_policies(api):
    create, update = api["create"], api["update"]

    def create_with_policy(logical_id, properties, *rest):
        return create(logical_id, with_policy(properties), *rest)

    def update_with_policy(physical_id, old, new, *rest, **named):
        return update(physical_id, with_policy(old), with_policy(new), *rest, **named)

    api.update(create=create_with_policy, update=update_with_policy)


def apply_transforms(original, template, provided=None, previous=None):
    values = engine._transform_parameters(template, provided, previous)
    transform = sam.transform

    def with_values(fragment, _no_values, policies):
        return transform(fragment, values, policies)

    with patch.object(sam, "transform", with_values):
        return original(template, provided, previous)


def action_of(original, headers):
    action = original(headers)
    return "PartiQLUpdate" if action == "BatchExecuteStatement" else action


def resources_of(original, body, region, account):
    statements = [one["Statement"] for one in json.loads(body or b"{}").get("Statements", [])]
    tables = {re.match(r'UPDATE "([^"]+)"', statement)[1] for statement in statements}
    return [f"arn:aws:dynamodb:{region}:{account}:table/{table}" for table in tables] or original(body, region, account)


iam_actions._action_from_target = partial(action_of, iam_actions._action_from_target)
iam_actions.dynamodb_resource_arns = partial(resources_of, iam_actions.dynamodb_resource_arns)
take_policies(_RESOURCE_HANDLERS["AWS::ApiGateway::RestApi"])
mended = partial(apply_transforms, engine._apply_transforms)
for module in (changesets, engine, handlers, stacks):
    if hasattr(module, "_apply_transforms"):
        module._apply_transforms = mended
main()
