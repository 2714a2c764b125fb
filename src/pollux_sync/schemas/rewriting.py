"""Rewriting of shapes that a dialect lacks into shapes it has: maps into pairs, tuples into objects, and so on.

Every rewritten schema comes with a transform that converts its answers back, so that no value is lost. What a dialect
cannot check moves into the description, and is checked on the lifted answer against the canonical schema.

A union whose rewritten branches could accept the same answer gets a tag for each branch. This shows only when the
whole schema is rewritten, so rewriting is repeated until no such union is left.
"""

from __future__ import annotations

import json
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import attrs

from pollux_sync.schemas.describing import ANY_VALUE, append_notes
from pollux_sync.schemas.dialects import Finding, SchemaDialect
from pollux_sync.schemas.filtering import is_supported, split_keywords
from pollux_sync.schemas.keywords import Schema, Step, drop_keywords, is_anything
from pollux_sync.schemas.merging import MERGEABLE
from pollux_sync.schemas.mismatch import json_path
from pollux_sync.schemas.normalizing import DEFS, Normalized, attach_definitions
from pollux_sync.schemas.overlapping import are_disjoint
from pollux_sync.schemas.simplifying import Simplifier
from pollux_sync.schemas.transforms import (
    IDENTITY,
    ArrayTransform,
    Branch,
    Definitions,
    MapAsPairs,
    NullableTransform,
    ObjectTransform,
    ReferenceTransform,
    Transform,
    TupleAsObject,
    UnionTransform,
    ValueAsJsonText,
    ValueInObject,
    is_identity,
)
from pollux_sync.schemas.validating import compile_validator

if TYPE_CHECKING:
    from collections.abc import Iterable

Steps = tuple[Step, ...]
#: A lowered schema, and the transform of its values.
Rewrite = tuple[Schema, Transform]

_NULL: Schema = {"type": "null"}
_KEYWORDS_BY_TYPE: dict[str, tuple[str, ...]] = {
    "object": ("properties", "required", "additionalProperties", "patternProperties", "propertyNames"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    "string": ("pattern", "minLength", "maxLength", "format", "contentEncoding", "contentMediaType"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_SCALAR_KEYWORDS = (*_KEYWORDS_BY_TYPE["string"], *_KEYWORDS_BY_TYPE["number"])
_TYPE_BY_KEYWORD = {keyword: name for name, keywords in _KEYWORDS_BY_TYPE.items() for keyword in keywords}
_TYPE_BY_CLASS = {
    bool: "boolean",
    dict: "object",
    float: "number",
    int: "integer",
    list: "array",
    str: "string",
    type(None): "null",
}
#: Checks which hold further schemas or span properties. They describe canonical values, so a provider would apply
#: them to answers of another shape: they are never sent as keywords, whatever the dialect supports.
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


def rewrite_shapes(
    normalized: Normalized, dialect: SchemaDialect
) -> tuple[Schema, dict[str, Any], Transform, list[Finding]]:
    """Return the rewritten root, its definitions, the transform between both sides, and the findings."""
    tagged: frozenset[Steps] = frozenset()
    while True:
        rewriter = _Rewriter(normalized, dialect, tagged)
        root, transform = rewriter.rewrite(normalized.root, ())
        ambiguous = rewriter.collect_ambiguous_unions()
        if not ambiguous:
            return root, rewriter.definitions.lowered, transform, rewriter.findings
        # Ends, because each round tags a union that had no tags. A tag changes the shape of its branches, which may
        # make a union around it ambiguous: hence another round over the whole schema.
        tagged |= ambiguous


class _Rewriter:
    """One pass over a schema. ``steps`` is the place of a part in the canonical schema, for findings and tags."""

    def __init__(self, normalized: Normalized, dialect: SchemaDialect, tagged: frozenset[Steps]) -> None:
        self.dialect = dialect
        self.tagged = tagged
        self.definitions = Definitions(canonical=dict(normalized.defs))
        self.simplifier = Simplifier(self.definitions.canonical)
        self.open: list[str] = []  # the definitions being rewritten, from the outside in
        self.findings: list[Finding] = []
        self.unions: list[tuple[Steps, tuple[Branch, ...]]] = []

    def rewrite(self, schema: Any, steps: Steps) -> Rewrite:
        schema = self.simplifier.simplify(schema)
        if schema is False:
            # A dialect has no schema that accepts nothing. Null is a stand-in: the error keeps it from being sent.
            self.add_finding(steps, "no value is valid here", "error")
            return dict(_NULL), IDENTITY
        if is_anything(schema):
            return self.rewrite_any({} if schema is True else schema, steps)
        for keyword, rewrite in (
            ("$ref", self.rewrite_reference),
            ("enum", self.rewrite_choice),
            ("const", self.rewrite_choice),
            ("anyOf", self.rewrite_union),
        ):
            if keyword in schema:
                return rewrite(schema, steps)
        return self.rewrite_by_type(schema, steps)

    def rewrite_by_type(self, schema: Schema, steps: Steps) -> Rewrite:
        type_name = schema.get("type") or self.infer_type(schema, steps)
        match type_name:
            case "object":
                return self.rewrite_object(schema, steps)
            case "array":
                return self.rewrite_array(schema, steps)
            case None:
                return self.rewrite_any(schema, steps)
        keywords = [keyword for keyword in _SCALAR_KEYWORDS if keyword in schema]
        return self.add_keywords({"type": type_name}, schema, steps, keywords), IDENTITY

    def infer_type(self, schema: Schema, steps: Steps) -> str | None:
        # In JSON Schema {"minimum": 3} accepts every text as well, but its author means a number, and a dialect may
        # require a type. The finding reports the assumption: a value of another type cannot be answered.
        types = {_TYPE_BY_KEYWORD[keyword] for keyword in schema if keyword in _TYPE_BY_KEYWORD}
        if len(types) != 1:
            return None
        self.add_finding(steps, f"the schema has no type; {min(types)} is assumed")
        return types.pop()

    # -- findings and keywords

    def add_finding(self, steps: Steps, message: str, severity: Literal["note", "error"] = "note") -> None:
        self.findings.append(Finding(path=json_path(steps), message=message, severity=severity))

    def describe_keywords(self, schema: Schema, keywords: Iterable[str], steps: Steps) -> Schema:
        """Return the schema with these keywords repeated in its description, and add a finding for each."""
        notes = {keyword: schema[keyword] for keyword in keywords if schema.get(keyword, False) is not False}
        for keyword in notes:
            self.add_finding(steps, f"{keyword} is sent in the description and checked when the answer is read")
        description = append_notes(schema.get("description"), notes)
        return {**schema, "description": description} if description else schema

    def add_keywords(
        self,
        lowered: Schema,
        schema: Schema,
        steps: Steps,
        keywords: Iterable[str] = (),
        transform: Transform = IDENTITY,
    ) -> Schema:
        """Return the lowered schema with the annotations and these keywords of the original one.

        Those that the dialect does not support go into the description.
        """
        schema = self.describe_keywords(schema, [key for key in schema if key in _CONDITIONS], steps)
        annotations = [key for key in ("title", "default", "examples") if key in schema]
        kept, notes, findings = split_keywords(schema, [*keywords, *annotations], self.dialect, steps)
        self.findings += findings
        if transform != IDENTITY:
            # Defaults and examples have the canonical shape, which would be wrong beside a rewritten schema.
            notes |= {key: kept.pop(key) for key in ("default", "examples") if key in kept}
        notes = {key: value for key, value in notes.items() if key != "title" and value is not None}
        description = append_notes(schema.get("description"), notes)
        return {**lowered, **kept, **({"description": description} if description else {})}

    # -- any value, choices, references

    def rewrite_any(self, schema: Schema, steps: Steps) -> Rewrite:
        schema = self.describe_keywords(schema, [key for key in schema if key in MERGEABLE], steps)
        if self.dialect.allows_any:
            return self.add_keywords({}, schema, steps), IDENTITY
        # The dialects of OpenAI, Anthropic and Gemini have no schema that accepts any value. A string of JSON text can
        # hold every value, and loses nothing: it is parsed when the answer is lifted.
        lines = [text for text in (schema.get("description"), ANY_VALUE) if text]
        schema = {**schema, "description": "\n".join(lines)}
        transform = ValueAsJsonText()
        return self.add_keywords({"type": "string"}, schema, steps, (), transform), transform

    def rewrite_choice(self, schema: Schema, steps: Steps) -> Rewrite:
        lowered: Schema = {key: schema[key] for key in ("type", "enum") if key in schema}
        if "const" in schema:
            # Gemini's dialect has no const; an enum of one value accepts the same.
            value = schema["const"]
            is_const_kept = is_supported("const", value, self.dialect)
            lowered = {**drop_keywords(lowered, "enum"), **({"const": value} if is_const_kept else {"enum": [value]})}
        # The type is stated although enum and const imply it: OpenAI's strict mode refuses a schema without a type.
        lowered = {"type": _list_types([schema["const"]] if "const" in schema else schema["enum"]), **lowered}
        return self.add_keywords(lowered, schema, steps), IDENTITY

    def rewrite_reference(self, schema: Schema, steps: Steps) -> Rewrite:
        name = schema["$ref"].removeprefix(DEFS)
        if name in self.open and not self.dialect.allows_recursion:
            return self.rewrite_recursion(schema, name, steps)
        if name not in self.definitions.lowered:
            self.open.append(name)
            # The entry ends the recursion of a definition that contains itself. Until its lowered schema is known,
            # the canonical one decides whether null is legal at a reference to it.
            self.definitions.lowered[name] = self.definitions.canonical[name]
            lowered, inner = self.rewrite(self.definitions.canonical[name], ("$defs", name))
            self.definitions.lowered[name], self.definitions.transforms[name] = lowered, inner
            self.open.remove(name)
        transform = ReferenceTransform(name, self.definitions)
        reference = self.add_keywords({"$ref": DEFS + name}, schema, steps, (), transform)
        if len(reference) > 1 and not self.dialect.allows_ref_siblings:
            reference = self.separate_reference(reference, name, steps)
        return reference, transform

    def separate_reference(self, reference: Schema, name: str, steps: Steps) -> Schema:
        """Return a reference and the annotations beside it, such as a field's description, as two levels or as one.

        The dialects of OpenAI, Anthropic and Gemini allow no keyword beside $ref. Only annotations stand there: the
        simplifier has merged checks beside a reference into a new definition.
        """
        if not steps and self.dialect.needs_object_root:
            return reference  # the root does not stay a reference
        around, inner = drop_keywords(reference, "$ref"), self.definitions.lowered[name]
        # A union of one costs nothing, unless unions are counted. A definition that is not finished cannot be copied.
        if self.dialect.limits.max_unions is None or name in self.open or "$ref" in inner:
            return {"anyOf": [{"$ref": DEFS + name}], **around}
        description = "\n".join(filter(None, [around.get("description"), inner.get("description")]))
        return {**inner, **around, **({"description": description} if description else {})}

    def rewrite_recursion(self, schema: Schema, name: str, steps: Steps) -> Rewrite:
        """Replace a reference that leads back into its own definition by JSON text of the canonical value.

        Anthropic refuses recursive schemas. The first level keeps its shape, and everything below is text; the
        canonical schema of that text is in the description, where the model can read it.
        """
        self.add_finding(steps, f"{name} contains itself; the inner value is answered as JSON text")
        shape = json.dumps(attach_definitions({"$ref": DEFS + name}, self.definitions.canonical), ensure_ascii=False)
        lines = [schema.get("description"), f"JSON text of a value that is valid under {shape}"]
        described = {**drop_keywords(schema, "$ref"), "description": "\n".join(filter(None, lines))}
        transform = ValueAsJsonText()
        return self.add_keywords({"type": "string"}, described, steps, (), transform), transform

    # -- unions

    def rewrite_union(self, schema: Schema, steps: Steps) -> Rewrite:
        branches = [self.simplifier.simplify(branch) for branch in schema["anyOf"]]
        branches = [branch for branch in branches if branch is not False]
        around = drop_keywords(schema, "anyOf")
        if not branches:
            return self.rewrite(False, steps)
        # One branch that accepts everything makes the union accept everything.
        if any(is_anything(branch) for branch in branches):
            return self.rewrite_any(around, steps)
        if len(branches) == 1:
            return self.rewrite({**branches[0], **around}, steps)
        rewrites = [self.rewrite(branch, (*steps, "anyOf", index)) for index, branch in enumerate(branches)]
        if steps in self.tagged:
            rewrites = _tag_branches(branches, rewrites)
        transform = self.build_union_transform(branches, rewrites, steps)
        return self.add_keywords({"anyOf": [low for low, _ in rewrites]}, schema, steps, (), transform), transform

    def build_union_transform(self, branches: list[Schema], rewrites: list[Rewrite], steps: Steps) -> Transform:
        sides = zip(branches, rewrites, strict=True)
        built = tuple(Branch(canonical, low, transform, self.definitions) for canonical, (low, transform) in sides)
        self.unions.append((steps, built))
        if all(branch.transform == IDENTITY for branch in built):
            return IDENTITY
        # A nullable value needs no validators to find its branch: only null takes the other one.
        rest = [branch.transform for branch in built if branch.lowered != _NULL]
        return NullableTransform(rest[0]) if len(rest) == 1 else UnionTransform(built)

    def collect_ambiguous_unions(self) -> frozenset[Steps]:
        """Return the places of unions in which the wrong branch could lift an answer to another value."""
        untagged = [(steps, branches) for steps, branches in self.unions if steps not in self.tagged]
        return frozenset(
            steps
            for steps, branches in untagged
            if any(self.are_ambiguous(one, two) for one, two in combinations(branches, 2))
        )

    def are_ambiguous(self, one: Branch, two: Branch) -> bool:
        # Branches without a change of shape may overlap: either of them lifts an answer to the same value.
        if is_identity(one.transform) and is_identity(two.transform):
            return False
        return not are_disjoint(one.lowered, two.lowered, self.definitions.lowered)

    # -- arrays

    def rewrite_array(self, schema: Schema, steps: Steps) -> Rewrite:
        prefix = schema.get("prefixItems", [])
        if prefix and not self.dialect.allows_tuples:
            return self.rewrite_tuple(schema, steps)
        first = [self.rewrite(item, (*steps, "prefixItems", index)) for index, item in enumerate(prefix)]
        item, transform = self.rewrite_items(schema.get("items", True), steps)
        if transform != IDENTITY or any(inner != IDENTITY for _, inner in first):
            transform = ArrayTransform(transform, tuple(inner for _, inner in first))
        lowered = {"type": "array", **({"prefixItems": [low for low, _ in first]} if first else {}), "items": item}
        keywords = [keyword for keyword in ("minItems", "maxItems", "uniqueItems") if keyword in schema]
        return self.add_keywords(lowered, schema, steps, keywords, transform), transform

    def rewrite_items(self, items: Any, steps: Steps) -> tuple[Any, Transform]:
        # `items: false` is legal: it closes the array. Elsewhere false means that no value is valid, an error.
        return (False, IDENTITY) if items is False else self.rewrite(items, (*steps, "items"))

    def rewrite_tuple(self, schema: Schema, steps: Steps) -> Rewrite:
        """Rewrite a tuple as an object ``item_0`` ..., with an array ``rest`` where more items may follow.

        OpenAI and Anthropic refuse prefixItems, Gemini and llama.cpp know no closed tuples. Named items keep their
        own schemas; an array of a union would allow them in any order and number.
        """
        slots = {f"item_{index}": item for index, item in enumerate(schema["prefixItems"])}
        required = list(slots)[: schema.get("minItems", 0)]
        places = {name: (*steps, "prefixItems", index) for index, name in enumerate(slots)}
        lowered, fields = self.rewrite_properties(slots, required, places)
        transform = TupleAsObject(fields, None)
        items = schema.get("items", False)
        if items is not False and schema.get("maxItems", len(slots) + 1) > len(slots):
            item, inner = self.rewrite(items, (*steps, "items"))
            lowered["properties"]["rest"] = {"type": "array", "items": item}
            lowered["required"].append("rest")
            transform = TupleAsObject(fields, ("rest", inner))
        schema = self.describe_keywords(schema, ["uniqueItems"], steps)
        return self.add_keywords(lowered, schema, steps, (), transform), transform

    # -- objects

    def rewrite_object(self, schema: Schema, steps: Steps) -> Rewrite:
        additional = _build_additional_schema(schema)
        properties = dict(schema.get("properties", {}))
        for key in schema.get("required", ()):
            properties.setdefault(key, True if additional is None else additional)
        if additional is not None and not properties and not self.dialect.allows_open_maps:
            return self.rewrite_map(schema, additional, steps)
        places = {key: (*steps, "properties", key) for key in properties}
        lowered, transform = self.rewrite_properties(properties, schema.get("required", ()), places)
        if additional is not None:
            transform = self.add_additional(lowered, transform, schema, additional, steps)
        keywords = ("minProperties", "maxProperties", "patternProperties")
        described = self.describe_keywords(schema, keywords, steps)
        return self.add_keywords(lowered, described, steps, (), transform), transform

    def rewrite_properties(
        self, properties: Schema, required: Iterable[str], places: dict[str, Steps]
    ) -> tuple[Schema, ObjectTransform]:
        rewrites = {key: self.rewrite(inner, places[key]) for key, inner in properties.items()}
        lowered = {key: low for key, (low, _) in rewrites.items()}
        required_keys = set(required)
        # OpenAI's strict mode requires every property; its documentation has optional ones emulated with null.
        optional = {key for key in properties if key not in required_keys} if self.dialect.all_required else set()
        null_means_absent = {
            key for key in optional if self.can_null_mean_absent(lowered[key], properties[key], places[key])
        }
        lowered |= {key: _allow_null(lowered[key]) for key in lowered if key in null_means_absent}
        schema: Schema = {
            "type": "object",
            "properties": lowered,
            "required": [key for key in properties if key in required_keys or key in optional],
        }
        # OpenAI and Anthropic refuse an object that is not closed.
        if self.dialect.closes_objects:
            schema["additionalProperties"] = False
        transforms = {key: transform for key, (_, transform) in rewrites.items()}
        return schema, ObjectTransform(transforms, frozenset(null_means_absent), frozenset(optional))

    def can_null_mean_absent(self, lowered: Schema, canonical: Any, steps: Steps) -> bool:
        """Return True if null is free to mean that this optional property is absent."""
        if not self.dialect.optional_as_nullable:
            self.add_finding(steps, "the property is optional, but this dialect requires it")
            return False
        is_null_legal = compile_validator({**lowered, "$defs": self.definitions.lowered}).is_valid(None)
        # With null as the default, absent and null mean the same, so that nothing is lost.
        has_null_default = isinstance(canonical, dict) and canonical.get("default", True) is None
        if is_null_legal and not has_null_default:
            self.add_finding(steps, "an absent property cannot be distinguished from null here; null is kept")
        return not is_null_legal

    def add_additional(
        self, lowered: Schema, transform: ObjectTransform, schema: Schema, additional: Any, steps: Steps
    ) -> ObjectTransform:
        """Add the additional properties to a lowered object, in place, and return its new transform."""
        if self.dialect.allows_open_maps:
            lowered["additionalProperties"], inner = self.rewrite(additional, (*steps, "additionalProperties"))
            return attrs.evolve(transform, additional=inner)
        name = "other_properties"
        # A declared property of this name keeps it.
        while name in lowered["properties"]:
            name += "_"
        pairs, inner_pairs = self.rewrite_map({"propertyNames": schema.get("propertyNames", {})}, additional, steps)
        lowered["properties"][name] = pairs
        lowered["required"].append(name)
        return attrs.evolve(transform, additional_pairs=(name, inner_pairs))

    def rewrite_map(self, schema: Schema, additional: Any, steps: Steps) -> tuple[Schema, MapAsPairs]:
        """Rewrite a map as an array of ``{key, value}``, since OpenAI and Anthropic refuse objects with unknown keys.

        The number of keys becomes that of the pairs. A key that is answered twice is refused when it is lifted.
        """
        value, inner = self.rewrite(additional, (*steps, "additionalProperties"))
        names = schema.get("propertyNames", True)
        key, _ = self.rewrite(
            {"type": "string", **(names if isinstance(names, dict) else {})}, (*steps, "propertyNames")
        )
        pair = {"type": "object", "properties": {"key": key, "value": value}, "required": ["key", "value"]}
        pairs = {"type": "array", "items": {**pair, "additionalProperties": False}}
        counts = {"minProperties": "minItems", "maxProperties": "maxItems"}
        sizes = {counts[keyword]: schema[keyword] for keyword in counts if keyword in schema}
        schema = self.describe_keywords(schema, ["patternProperties"], steps)
        transform = MapAsPairs(inner)
        return self.add_keywords(pairs, {**schema, **sizes}, steps, sizes, transform), transform


def _list_types(values: list[Any]) -> str | list[str]:
    types = list(dict.fromkeys(_TYPE_BY_CLASS[type(value)] for value in values))
    return types[0] if len(types) == 1 else types


def _build_additional_schema(schema: Schema) -> Any:
    """Return the schema of additional properties, or None if the object may have none.

    Values under patternProperties count as additional: which pattern a key matches is checked on the lifted answer.
    """
    additional = schema.get("additionalProperties")
    patterns = [*schema.get("patternProperties", {}).values()]
    if patterns:
        values = [*patterns, *([] if additional in (None, False) else [additional])]
        return values[0] if len(values) == 1 else {"anyOf": values}
    if additional is None:
        # JSON Schema allows unknown keys unless they are forbidden. An author who lists properties wants answers with
        # those; an object without properties is a map.
        return None if "properties" in schema else True
    return None if additional is False else additional


def _allow_null(schema: Schema) -> Schema:
    # A union is extended: another union around it would accept the same values.
    inner = drop_keywords(schema, "description")
    around = {"description": schema["description"]} if "description" in schema else {}
    branches = inner["anyOf"] if set(inner) == {"anyOf"} else [inner]
    return {"anyOf": [*branches, dict(_NULL)], **around}


def _tag_branches(branches: list[Schema], rewrites: list[Rewrite]) -> list[Rewrite]:
    """Put each branch into an object with one property, whose name tells it apart; null needs no tag."""
    tagged: list[Rewrite] = []
    taken: set[str] = set()
    for branch, (lowered, transform) in zip(branches, rewrites, strict=True):
        if lowered == _NULL:
            tagged.append((lowered, transform))
            continue
        tag = _choose_tag(branch, taken)
        shape = {"type": "object", "properties": {tag: lowered}, "required": [tag], "additionalProperties": False}
        tagged.append((shape, ValueInObject(tag, transform)))
    return tagged


def _choose_tag(branch: Schema, taken: set[str]) -> str:
    # A speaking name helps the model to choose the branch.
    title = str(branch.get("title") or branch.get("$ref", "").removeprefix(DEFS) or branch.get("type", "option"))
    tag, number = title, 1
    while tag in taken:
        number += 1
        tag = f"{title}_{number}"
    taken.add(tag)
    return tag
