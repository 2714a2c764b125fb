"""Suspensions -> forms with which they are answered."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from pollux_durable.page.fields import JSON_NAME, NO, YES, read_fields
from pollux_durable.page.formatting import build_run_link, build_value
from pollux_durable.page.markup import Html, build_element, join

if TYPE_CHECKING:
    from pollux_durable.data.runs import Json
    from pollux_durable.page.fields import FormField
    from pollux_durable.page.reading import Question

#: The field with which each form proves that it comes from this page.
FORM_TOKEN = "form_token"  # noqa: S105 - the name of a field
_SHOWN = ("title", "question", "description", "context", "fields")


def build_action(path: str, label: str, form_token: str, *, confirm: str | None = None, **fields: str) -> Html:
    """Return a form that is only a button."""
    button = build_element("button", label, type="submit", data_confirm=confirm)
    return build_element("form", build_hidden(form_token, **fields), button, method="post", action=path)


def build_hidden(form_token: str, **fields: str) -> Html:
    """Return fields that are not shown."""
    given = {FORM_TOKEN: form_token, **fields}
    return join(*(build_element("input", type="hidden", name=name, value=value) for name, value in given.items()))


def build_question(question: Question, form_token: str, *, back: str) -> Html:
    """Return what a suspended run asks, with a form to answer it. ``back`` is the run or view that is shown then."""
    data = question.data if isinstance(question.data, dict) else {"context": question.data}
    title = data.get("title") or f"{question.info.workflow_id}: {question.step_key}"
    fields = read_fields(question.data)
    # Without fields nobody knows what the run reads of its data: then all of it is shown.
    context = data.get("context") if fields is not None else question.data
    rest = {name: value for name, value in data.items() if name not in _SHOWN} if fields is not None else {}
    return build_element(
        "article",
        build_element("h3", title),
        _build_paragraph(data.get("question")),
        _build_paragraph(data.get("description")),
        None if context is None else build_value(context),
        build_value(rest) if rest else None,
        build_element(
            "p", "Asked by ", build_run_link(question.info.execution_id), f" in step {question.step_key}", class_="note"
        ),
        build_element(
            "form",
            build_hidden(form_token, id=question.info.execution_id, step=question.step_key, back=back),
            *_build_inputs(question, fields),
            build_element("button", "Send the answer", type="submit", class_="main"),
            method="post",
            action="/answer",
        ),
        class_="question",
    )


def _build_paragraph(text: object) -> Html | None:
    return build_element("p", text) if isinstance(text, str) and text else None


def _build_inputs(question: Question, fields: tuple[FormField, ...] | None) -> list[Html]:
    # An id of a form on a page with several of them.
    stem = f"{question.info.execution_id}/{question.step_key}"
    if fields is None:
        label = build_element("label", "Answer, as JSON", for_=stem)
        text = build_element("textarea", '{"approved": true}', id=stem, name=JSON_NAME, rows="4", required=True)
        return [build_element("p", label, text)]
    return [_build_field(field, f"{stem}/{field.key}") for field in fields]


def _build_field(field: FormField, name: str) -> Html:
    label = field.label if field.is_required else f"{field.label} (optional)"
    note = None if field.description is None else build_element("small", field.description, id=f"{name}/note")
    about = None if note is None else f"{name}/note"
    if field.kind == "boolean":
        choices = [_build_radio(field, name, value, text) for value, text in ((YES, "Yes"), (NO, "No"))]
        return build_element("fieldset", build_element("legend", label), *choices, note, aria_describedby=about)
    build = {"textarea": _build_textarea, "select": _build_select}.get(field.kind, _build_input)
    return build_element("p", build_element("label", label, for_=name), build(field, name, about), note)


def _build_radio(field: FormField, name: str, value: str, text: str) -> Html:
    is_chosen = field.default is (value == YES)
    one = f"{name}/{value}"
    choice = build_element(
        "input", type="radio", id=one, name=field.name, value=value, required=field.is_required, checked=is_chosen
    )
    return build_element("span", choice, build_element("label", text, for_=one))


def _build_input(field: FormField, name: str, about: str | None) -> Html:
    kind = "number" if field.kind == "number" else "text"
    return build_element(
        "input",
        id=name,
        name=field.name,
        type=kind,
        step="any" if kind == "number" else None,
        value=_show_default(field.default),
        required=field.is_required,
        aria_describedby=about,
        autocomplete="off",
    )


def _build_textarea(field: FormField, name: str, about: str | None) -> Html:
    return build_element(
        "textarea",
        # The parser drops the first end of line.
        f"\n{_show_default(field.default) or ''}",
        id=name,
        name=field.name,
        rows="3",
        required=field.is_required,
        aria_describedby=about,
    )


def _build_select(field: FormField, name: str, about: str | None) -> Html:
    none = build_element("option", "Choose one", value="")
    choices = chain(
        [none],
        (
            build_element("option", text, value=str(number), selected=value == field.default)
            for number, (value, text) in enumerate(field.options)
        ),
    )
    return build_element(
        "select", *choices, id=name, name=field.name, required=field.is_required, aria_describedby=about
    )


def _show_default(value: Json) -> str | None:
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
