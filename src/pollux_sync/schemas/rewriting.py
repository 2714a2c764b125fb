"""Shapes a dialect lacks, replaced by shapes it has: maps by pairs, tuples by objects, and so on.

A union whose rewritten branches can no longer be told apart gets a tag for each branch. That is seen only
when the whole schema is rewritten, so rewriting is repeated until no such union is found any more.
"""

from __future__ import annotations

import json
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

from pollux_sync.schemas.bridges import (
    SAME,
    Branch,
    Bridge,
    Definitions,
    Fields,
    Items,
    JsonText,
    Named,
    Nullable,
    Pairs,
    Slots,
    Union,
    Wrapped,
    is_same,
)
from pollux_sync.schemas.describing import ANY_VALUE, told
from pollux_sync.schemas.dialects import Finding, SchemaDialect
from pollux_sync.schemas.filtering import is_kept, keep_keywords
from pollux_sync.schemas.keywords import Schema, Step, is_anything
from pollux_sync.schemas.merging import STRUCTURE
from pollux_sync.schemas.mismatch import json_path
from pollux_sync.schemas.normalizing import DEFS, Normalized, with_definitions
from pollux_sync.schemas.overlapping import are_disjoint
from pollux_sync.schemas.simplifying import Simplifier, without
from pollux_sync.schemas.validating import compile_validator

if TYPE_CHECKING:
    from collections.abc import Iterable

Steps = tuple[Step, ...]
Passage = tuple[Schema, Bridge]

_NULL: Schema = {"type": "null"}
_WORDS: dict[str, tuple[str, ...]] = {
    "object": ("properties", "required", "additionalProperties", "patternProperties", "propertyNames"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    "string": ("pattern", "minLength", "maxLength", "format", "contentEncoding", "contentMediaType"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_SCALAR_WORDS = (*_WORDS["string"], *_WORDS["number"])
_KIND_OF_WORD = {word: kind for kind, words in _WORDS.items() for word in words}
_KIND_OF_VALUE = {
    bool: "boolean",
    dict: "object",
    float: "number",
    int: "integer",
    list: "array",
    str: "string",
    type(None): "null",
}
#: Checks which hold further schemas or span properties: they describe canonical values, not rewritten ones.
_CONDITIONS = frozenset(
    {
        "contains",
        "contentSchema",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "maxContains",
        "minContains",
        "not",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)


def rewrite(normalized: Normalized, dialect: SchemaDialect) -> tuple[Schema, dict[str, Any], Bridge, list[Finding]]:
    """Return the rewritten root, its definitions, the passage between both sides, and the findings."""
    tagged: frozenset[Steps] = frozenset()
    while True:
        rewriting = _Rewriting(normalized, dialect, tagged)
        root, bridge = rewriting.passage(normalized.root, ())
        confusable = rewriting.confusable_unions()
        if not confusable:
            return root, rewriting.definitions.lowered, bridge, rewriting.findings
        tagged |= confusable


class _Rewriting:
    """One pass over a schema. Each method returns how a part looks in the dialect, and its passage."""

    def __init__(self, normalized: Normalized, dialect: SchemaDialect, tagged: frozenset[Steps]) -> None:
        self.dialect = dialect
        self.tagged = tagged
        self.definitions = Definitions(canonical=dict(normalized.defs))
        self.simplifier = Simplifier(self.definitions.canonical)
        self.open: list[str] = []  # the definitions being rewritten, from the outside in
        self.findings: list[Finding] = []
        self.unions: list[tuple[Steps, tuple[Branch, ...]]] = []

    def passage(self, schema: Any, steps: Steps) -> Passage:
        schema = self.simplifier.simplified(schema)
        if schema is False:
            self.find(steps, "no value is valid here", "error")
            return dict(_NULL), SAME
        if is_anything(schema):
            return self.any_passage({} if schema is True else schema, steps)
        for word, make in (
            ("$ref", self.reference_passage),
            ("enum", self.choice_passage),
            ("const", self.choice_passage),
            ("anyOf", self.union_passage),
        ):
            if word in schema:
                return make(schema, steps)
        return self.typed_passage(schema, steps)

    def typed_passage(self, schema: Schema, steps: Steps) -> Passage:
        kind = schema.get("type") or self.guessed_kind(schema, steps)
        match kind:
            case "object":
                return self.object_passage(schema, steps)
            case "array":
                return self.array_passage(schema, steps)
            case None:
                return self.any_passage(schema, steps)
        words = [word for word in _SCALAR_WORDS if word in schema]
        return self.finished({"type": kind}, schema, steps, words), SAME

    def guessed_kind(self, schema: Schema, steps: Steps) -> str | None:
        kinds = {_KIND_OF_WORD[word] for word in schema if word in _KIND_OF_WORD}
        if len(kinds) != 1:
            return None
        self.find(steps, f"no type is stated; taken as {min(kinds)}")
        return kinds.pop()

    # -- keywords and words

    def find(self, steps: Steps, message: str, severity: Literal["note", "error"] = "note") -> None:
        self.findings.append(Finding(path=json_path(steps), message=message, severity=severity))

    def telling(self, schema: Schema, words: Iterable[str], steps: Steps) -> Schema:
        """Return the schema with these keywords of it told in its description."""
        notes = {word: schema[word] for word in words if schema.get(word, False) is not False}
        for word in notes:
            self.find(steps, f"{word} is told in the description and checked when the answer is read")
        description = told(schema.get("description"), notes)
        return {**schema, "description": description} if description else schema

    def finished(
        self, lowered: Schema, schema: Schema, steps: Steps, words: Iterable[str] = (), bridge: Bridge = SAME
    ) -> Schema:
        """Return the lowered schema with these keywords of the original, its annotations, and notes in words."""
        schema = self.telling(schema, [key for key in schema if key in _CONDITIONS], steps)
        annotations = [key for key in ("title", "default", "examples") if key in schema]
        kept, notes, found = keep_keywords(schema, [*words, *annotations], self.dialect, steps)
        self.findings += found
        if bridge != SAME:
            notes |= {key: kept.pop(key) for key in ("default", "examples") if key in kept}
        notes = {key: value for key, value in notes.items() if key != "title" and value is not None}
        description = told(schema.get("description"), notes)
        return {**lowered, **kept, **({"description": description} if description else {})}

    # -- anything, choices, references

    def any_passage(self, schema: Schema, steps: Steps) -> Passage:
        schema = self.telling(schema, [key for key in schema if key in STRUCTURE], steps)
        if self.dialect.allows_any:
            return self.finished({}, schema, steps), SAME
        lines = [text for text in (schema.get("description"), ANY_VALUE) if text]
        schema = {**schema, "description": "\n".join(lines)}
        return self.finished({"type": "string"}, schema, steps, (), JsonText()), JsonText()

    def choice_passage(self, schema: Schema, steps: Steps) -> Passage:
        lowered: Schema = {key: schema[key] for key in ("type", "enum") if key in schema}
        if "const" in schema:
            value = schema["const"]
            is_const_kept = is_kept("const", value, self.dialect)
            lowered = {**without(lowered, "enum"), **({"const": value} if is_const_kept else {"enum": [value]})}
        lowered = {"type": _kinds_of([schema["const"]] if "const" in schema else schema["enum"]), **lowered}
        return self.finished(lowered, schema, steps), SAME

    def reference_passage(self, schema: Schema, steps: Steps) -> Passage:
        name = schema["$ref"].removeprefix(DEFS)
        if name in self.open and not self.dialect.allows_recursion:
            return self.recursion_passage(schema, name, steps)
        if name not in self.definitions.lowered:
            self.open.append(name)
            # Until it is made, the canonical schema answers whether null is legal there.
            self.definitions.lowered[name] = self.definitions.canonical[name]
            lowered, bridge = self.passage(self.definitions.canonical[name], ("$defs", name))
            self.definitions.lowered[name], self.definitions.bridges[name] = lowered, bridge
            self.open.remove(name)
        passage = Named(name, self.definitions)
        reference = self.finished({"$ref": DEFS + name}, schema, steps, (), passage)
        if len(reference) > 1 and not self.dialect.allows_ref_siblings:
            self.find(steps, "what stands beside the reference is not sent")
            reference = {"$ref": DEFS + name}
        return reference, passage

    def recursion_passage(self, schema: Schema, name: str, steps: Steps) -> Passage:
        """Let the model write what would lead back into itself as JSON text, in its canonical form."""
        self.find(steps, f"{name} contains itself; this is answered as JSON text")
        shape = json.dumps(with_definitions({"$ref": DEFS + name}, self.definitions.canonical), ensure_ascii=False)
        lines = [schema.get("description"), f"JSON text of a value that is valid under {shape}"]
        described = {**without(schema, "$ref"), "description": "\n".join(filter(None, lines))}
        return self.finished({"type": "string"}, described, steps, (), JsonText()), JsonText()

    # -- unions

    def union_passage(self, schema: Schema, steps: Steps) -> Passage:
        branches = [self.simplifier.simplified(branch) for branch in schema["anyOf"]]
        branches = [branch for branch in branches if branch is not False]
        around = without(schema, "anyOf")
        if not branches:
            return self.passage(False, steps)
        if any(is_anything(branch) for branch in branches):
            return self.any_passage(around, steps)
        if len(branches) == 1:
            return self.passage({**branches[0], **around}, steps)
        passages = [self.passage(branch, (*steps, "anyOf", index)) for index, branch in enumerate(branches)]
        if steps in self.tagged:
            passages = _tagged(branches, passages)
        bridge = self.union_bridge(branches, passages, steps)
        return self.finished({"anyOf": [low for low, _ in passages]}, schema, steps, (), bridge), bridge

    def union_bridge(self, branches: list[Schema], passages: list[Passage], steps: Steps) -> Bridge:
        sides = zip(branches, passages, strict=True)
        made = tuple(Branch(canonical, low, bridge, self.definitions) for canonical, (low, bridge) in sides)
        self.unions.append((steps, made))
        if all(branch.bridge == SAME for branch in made):
            return SAME
        rest = [branch.bridge for branch in made if branch.lowered != _NULL]
        return Nullable(rest[0]) if len(rest) == 1 else Union(made)

    def confusable_unions(self) -> frozenset[Steps]:
        """Return the unions where a wrong branch could lift an answer to another value."""
        untagged = [(steps, branches) for steps, branches in self.unions if steps not in self.tagged]
        return frozenset(
            steps
            for steps, branches in untagged
            if any(self.are_confusable(one, two) for one, two in combinations(branches, 2))
        )

    def are_confusable(self, one: Branch, two: Branch) -> bool:
        if is_same(one.bridge) and is_same(two.bridge):
            return False
        return not are_disjoint(one.lowered, two.lowered, self.definitions.lowered)

    # -- arrays

    def array_passage(self, schema: Schema, steps: Steps) -> Passage:
        prefix = schema.get("prefixItems", [])
        if prefix and not self.dialect.allows_tuples:
            return self.slots_passage(schema, steps)
        first = [self.passage(item, (*steps, "prefixItems", index)) for index, item in enumerate(prefix)]
        item, bridge = self.items_passage(schema.get("items", True), steps)
        if bridge != SAME or any(inner != SAME for _, inner in first):
            bridge = Items(bridge, tuple(inner for _, inner in first))
        lowered = {"type": "array", **({"prefixItems": [low for low, _ in first]} if first else {}), "items": item}
        words = [word for word in ("minItems", "maxItems", "uniqueItems") if word in schema]
        return self.finished(lowered, schema, steps, words, bridge), bridge

    def items_passage(self, items: Any, steps: Steps) -> tuple[Any, Bridge]:
        return (False, SAME) if items is False else self.passage(items, (*steps, "items"))

    def slots_passage(self, schema: Schema, steps: Steps) -> Passage:
        """Make an object ``item_0`` ... of a tuple, with ``rest`` where more items may follow."""
        slots = {f"item_{index}": item for index, item in enumerate(schema["prefixItems"])}
        required = list(slots)[: schema.get("minItems", 0)]
        places = {name: (*steps, "prefixItems", index) for index, name in enumerate(slots)}
        lowered, fields = self.fields_passage(slots, required, places)
        bridge = Slots(fields, None)
        items = schema.get("items", False)
        if items is not False and schema.get("maxItems", len(slots) + 1) > len(slots):
            item, inner = self.passage(items, (*steps, "items"))
            lowered["properties"]["rest"] = {"type": "array", "items": item}
            lowered["required"].append("rest")
            bridge = Slots(fields, ("rest", inner))
        schema = self.telling(schema, ["uniqueItems"], steps)
        return self.finished(lowered, schema, steps, (), bridge), bridge

    # -- objects

    def object_passage(self, schema: Schema, steps: Steps) -> Passage:
        others = _schema_of_others(schema)
        properties = dict(schema.get("properties", {}))
        for key in schema.get("required", ()):
            properties.setdefault(key, True if others is None else others)
        if others is not None and not properties and not self.dialect.allows_open_maps:
            return self.map_passage(schema, others, steps)
        places = {key: (*steps, "properties", key) for key in properties}
        lowered, bridge = self.fields_passage(properties, schema.get("required", ()), places)
        if others is not None:
            bridge = self.opened_passage(lowered, bridge, schema, others, steps)
        words = ("minProperties", "maxProperties", "patternProperties")
        return self.finished(lowered, self.telling(schema, words, steps), steps, (), bridge), bridge

    def fields_passage(
        self, properties: Schema, required: Iterable[str], places: dict[str, Steps]
    ) -> tuple[Schema, Fields]:
        passages = {key: self.passage(inner, places[key]) for key, inner in properties.items()}
        lowered = {key: low for key, (low, _) in passages.items()}
        wanted = set(required)
        optional = {key for key in properties if key not in wanted} if self.dialect.all_required else set()
        null_is_absent = {
            key for key in optional if self.can_stand_for_absence(lowered[key], properties[key], places[key])
        }
        lowered |= {key: _nullable(lowered[key]) for key in lowered if key in null_is_absent}
        schema: Schema = {
            "type": "object",
            "properties": lowered,
            "required": [key for key in properties if key in wanted or key in optional],
        }
        if self.dialect.closes_objects:
            schema["additionalProperties"] = False
        bridges = {key: bridge for key, (_, bridge) in passages.items()}
        return schema, Fields(bridges, frozenset(null_is_absent), frozenset(optional))

    def can_stand_for_absence(self, lowered: Schema, canonical: Any, steps: Steps) -> bool:
        """Whether null, not being a value of this optional property, can mean that it is absent."""
        if not self.dialect.optional_as_nullable:
            self.find(steps, "the property is optional, but must always be given")
            return False
        is_null_legal = compile_validator({**lowered, "$defs": self.definitions.lowered}).is_valid(None)
        has_null_default = isinstance(canonical, dict) and canonical.get("default", True) is None
        if is_null_legal and not has_null_default:
            self.find(steps, "absent and null cannot be told apart here; null is kept")
        return not is_null_legal

    def opened_passage(self, lowered: Schema, fields: Fields, schema: Schema, others: Any, steps: Steps) -> Fields:
        """Add to an object what has no property of its own; it changes ``lowered`` in place."""
        if self.dialect.allows_open_maps:
            lowered["additionalProperties"], loose = self.passage(others, (*steps, "additionalProperties"))
            return Fields(fields.fields, fields.null_is_absent, fields.absent_as_null, None, loose)
        name = "other_properties"
        while name in lowered["properties"]:
            name += "_"
        pairs, bridge = self.map_passage({"propertyNames": schema.get("propertyNames", {})}, others, steps)
        lowered["properties"][name] = pairs
        lowered["required"].append(name)
        return Fields(fields.fields, fields.null_is_absent, fields.absent_as_null, (name, bridge))

    def map_passage(self, schema: Schema, others: Any, steps: Steps) -> tuple[Schema, Pairs]:
        value, inner = self.passage(others, (*steps, "additionalProperties"))
        names = schema.get("propertyNames", True)
        key, _ = self.passage(
            {"type": "string", **(names if isinstance(names, dict) else {})}, (*steps, "propertyNames")
        )
        pair = {"type": "object", "properties": {"key": key, "value": value}, "required": ["key", "value"]}
        pairs = {"type": "array", "items": {**pair, "additionalProperties": False}}
        counts = {"minProperties": "minItems", "maxProperties": "maxItems"}
        sizes = {counts[word]: schema[word] for word in counts if word in schema}
        schema = self.telling(schema, ["patternProperties"], steps)
        bridge = Pairs(inner)
        return self.finished(pairs, {**schema, **sizes}, steps, sizes, bridge), bridge


def _kinds_of(values: list[Any]) -> str | list[str]:
    kinds = list(dict.fromkeys(_KIND_OF_VALUE[type(value)] for value in values))
    return kinds[0] if len(kinds) == 1 else kinds


def _schema_of_others(schema: Schema) -> Any:
    """Return the schema of values without a property of their own, or None where there are none."""
    additional = schema.get("additionalProperties")
    patterns = [*schema.get("patternProperties", {}).values()]
    if patterns:
        values = [*patterns, *([] if additional in (None, False) else [additional])]
        return values[0] if len(values) == 1 else {"anyOf": values}
    if additional is None:
        return None if "properties" in schema else True
    return None if additional is False else additional


def _nullable(schema: Schema) -> Schema:
    inner = without(schema, "description")
    around = {"description": schema["description"]} if "description" in schema else {}
    branches = inner["anyOf"] if set(inner) == {"anyOf"} else [inner]
    return {"anyOf": [*branches, dict(_NULL)], **around}


def _tagged(branches: list[Schema], passages: list[Passage]) -> list[Passage]:
    tagged: list[Passage] = []
    taken: set[str] = set()
    for branch, (lowered, bridge) in zip(branches, passages, strict=True):
        if lowered == _NULL:
            tagged.append((lowered, bridge))
            continue
        tag = _tag(branch, taken)
        shape = {"type": "object", "properties": {tag: lowered}, "required": [tag], "additionalProperties": False}
        tagged.append((shape, Wrapped(tag, bridge)))
    return tagged


def _tag(branch: Schema, taken: set[str]) -> str:
    title = str(branch.get("title") or branch.get("$ref", "").removeprefix(DEFS) or branch.get("type", "option"))
    tag, number = title, 1
    while tag in taken:
        number += 1
        tag = f"{title}_{number}"
    taken.add(tag)
    return tag
