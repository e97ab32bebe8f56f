"""The JSON schema of a spec, from which Prefect makes a form, and by which its server refuses wrong parameters before a run starts.

Validation messages of a JSON schema say what a value is and what it should be, so rules are written to give short ones: a choice of
values (`'avg' is not one of ['none']`) rather than a negation, and no `anyOf`, whose message names no reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic_core import CoreSchema

Schema = dict[str, Any]


class Form(BaseModel):
    """A model whose schema makes a form.

    `FIRST` names the fields that stand first, the common ones, in this order; the others follow as they are declared. `RULES` are
    schemas that hold beside: settings that exclude each other.
    """

    FIRST: ClassVar[tuple[str, ...]] = ()
    RULES: ClassVar[tuple[Schema, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        made = handler(core_schema)
        arrange(handler.resolve_ref_schema(made), cls.FIRST, cls.RULES)
        return made


class ByKind:
    """Annotates a union of models that `kind` tells apart: each kind's own schema is asked, so that messages are about that kind."""

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        models: Mapping[str, str] = handler(core_schema)["discriminator"]["mapping"]
        return {
            "type": "object",
            "title": "",
            "properties": {"kind": {"type": "string", "title": "Kind", "enum": list(models)}},
            "required": ["kind"],
            "allOf": [{"if": told("kind", kind), "then": {"$ref": model}} for kind, model in models.items()],
        }


def arrange(schema: Schema, first: tuple[str, ...], rules: tuple[Schema, ...]) -> None:
    """Put the fields in order, make optional ones plain fields that may be left empty, and add the rules; in place."""
    fields: dict[str, Schema] = schema.get("properties", {})
    order = [*first, *(name for name in fields if name not in first)]
    for position, name in enumerate(order):
        field = _plain(fields[name])
        field["position"] = position  # a database may give the keys of an object back in another order
        fields[name] = field
    if rules:
        schema["allOf"] = [*schema.get("allOf", ()), *rules]


def when(condition: Schema, **fields: Schema) -> Schema:
    """A rule: where a condition holds, these fields have to be so."""
    return {"if": condition, "then": {"properties": fields}}


def told(name: str, *values: Any) -> Schema:
    """That a field is there and has one of these values: a condition, or what a rule asks for."""
    return {"properties": {name: {"enum": list(values)}}, "required": [name]}


def given(name: str, kind: str) -> Schema:
    """A condition: a field is there and of a JSON type, not null."""
    return {"properties": {name: {"type": kind}}, "required": [name]}


def _plain(field: Schema) -> Schema:
    """Without what makes forms and messages hard to read.

    A value or null becomes the value alone: left out it is null, and Prefect's server adds null to what has no default. A group's own
    fields have their defaults, so the group needs none. The bounds of lists are counts of items.
    """
    field = dict(field)
    options = [option for option in field.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1 and "default" in field and field["default"] is None:
        del field["anyOf"], field["default"]
        field = options[0] | field
        if "enum" in field:
            field["enum"] = [*field["enum"], None]
    if "$ref" in field:
        field.pop("default", None)
    if field.get("type") == "array":
        for wrong, right in (("minLength", "minItems"), ("maxLength", "maxItems")):
            if wrong in field:
                field[right] = field.pop(wrong)
    return field
