"""Structural OpenAPI schemas, as a CustomResourceDefinition wants them, from the models.

What pydantic writes is close, but has references, nullable unions, titles and constants, which a CRD
may not have, and no descriptions. Descriptions are read from the sources of the models, where they stand
under the attributes, so that importing the models in the operator costs nothing for them.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise
from typing import Any, cast

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema, to_jsonable_python

from computegrid.api.base import CamelModel
from computegrid.api.scalars import MAX_INT32

Schema = dict[str, Any]


def structural_schema(model: type[CamelModel]) -> Schema:
    """The schema of a model with everything in place, as ``openAPIV3Schema`` wants it."""
    schema = model.model_json_schema(schema_generator=_StructuralJsonSchema)
    return cast("Schema", _in_place(schema, schema.get("$defs", {})))


class _StructuralJsonSchema(GenerateJsonSchema):
    """pydantic's generator without what a structural schema may not have, and with our additions."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        # A field that is not set is absent, never null.
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        default = schema.get("default")
        if default is None or default == ():
            return inner
        if isinstance(default, BaseModel):
            # Rules judge a default before the server fills in the defaults below it, so it has them all.
            default = cast("CamelModel", default).to_raw()
            if not default:
                return inner
        return inner | {"default": to_jsonable_python(default)}

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        wide = schema.get("le", MAX_INT32 + 1) > MAX_INT32
        return super().int_schema(schema) | {"format": "int64" if wide else "int32"}

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        result = super().literal_schema(schema)
        return {"type": result["type"], "enum": list(schema["expected"])}

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        model: type[BaseModel] = schema["cls"]
        result = super().model_schema(schema)
        result["description"] = _one_paragraph(model.__doc__ or "")
        for name, field in model.model_fields.items():
            described = result["properties"][field.alias or name]
            described["description"] = attribute_docs(model)[name]
        if issubclass(model, CamelModel) and model.cel:
            result["x-kubernetes-validations"] = [rule.as_schema() for rule in model.cel]
        return result


def _in_place(node: Any, definitions: Schema) -> Any:
    """Replace references by what they refer to; what stands beside a reference wins."""
    if isinstance(node, list):
        return [_in_place(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        node = _beside_reference(node, definitions[node["$ref"].removeprefix("#/$defs/")])
    return {
        key: _properties_in_place(value, definitions)
        if key == "properties"
        else _in_place(value, definitions)
        for key, value in node.items()
        if key not in {"title", "$defs"}
    }


def _properties_in_place(properties: Schema, definitions: Schema) -> Schema:
    return {name: _in_place(value, definitions) for name, value in properties.items()}


def _beside_reference(node: Schema, referred: Schema) -> Schema:
    rules = "x-kubernetes-validations"
    merged = referred | {key: value for key, value in node.items() if key != "$ref"}
    if rules in node and rules in referred:
        merged[rules] = [*referred[rules], *node[rules]]
    return merged


@cache
def attribute_docs(model: type[BaseModel]) -> dict[str, str]:
    """The text under each attribute of a model, its parents' included."""
    docs: dict[str, str] = {}
    for parent in reversed(model.__mro__):
        if parent is not model and issubclass(parent, BaseModel) and parent is not BaseModel:
            docs |= attribute_docs(parent)
    if model is BaseModel:
        return docs
    tree = ast.parse(textwrap.dedent(inspect.getsource(model)))
    body = cast("ast.ClassDef", tree.body[0]).body
    for attribute, text in pairwise(body):
        if isinstance(attribute, ast.AnnAssign) and isinstance(attribute.target, ast.Name) and _is_text(text):
            docs[attribute.target.id] = _one_paragraph(ast.literal_eval(cast("ast.Expr", text).value))
    return docs


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _one_paragraph(text: str) -> str:
    return " ".join(text.split())
