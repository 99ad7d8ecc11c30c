"""Prints an OpenAPI document without the room that it leaves for later versions: no other words, no other fields."""

import json
import sys

import yaml


def strict(node):
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {name: strict(member) for name, member in node.items()}
    if "x-extensible-enum" in node:
        node["enum"] = node.pop("x-extensible-enum") + ([None] if node.get("nullable") else [])
    if node.get("type") == "object" and "properties" in node:
        node.setdefault("additionalProperties", False)
    return node


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        print(json.dumps(strict(yaml.safe_load(file))))
