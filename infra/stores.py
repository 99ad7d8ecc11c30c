"""Prints template.yaml with nothing in it but table and bucket, for CloudFormation to import them into a new stack:
docs/operations.md, "Import the stores into a new stack". Runs with the Python that has the SAM CLI."""

import json
import pathlib

from samtranslator.yaml_helper import yaml_parse

STORES = ("Table", "Bucket")


def stores(template):
    """The template that has these resources, and what they refer to, and nothing else."""
    resources = {name: template["Resources"][name] for name in STORES}
    conditions = named_in(resources, template["Conditions"])
    parameters = named_in([resources, conditions], template["Parameters"])
    return {
        "AWSTemplateFormatVersion": template["AWSTemplateFormatVersion"],
        "Parameters": parameters,
        "Conditions": conditions,
        "Resources": resources,
    }


def named_in(part, chapter):
    """What a part of the template names of one of its chapters."""
    text = json.dumps(part)
    return {name: definition for name, definition in chapter.items() if f'"{name}"' in text}


if __name__ == "__main__":
    file = pathlib.Path(__file__).parent.with_name("template.yaml")
    print(json.dumps(stores(yaml_parse(file.read_text(encoding="utf-8"))), indent=2))
