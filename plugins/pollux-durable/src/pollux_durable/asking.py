"""A tool with which a model asks a person, and waits for the answer without holding a thread."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import attrs

from pollux_durable.tools import DurableTool

if TYPE_CHECKING:
    from pollux_durable.contexts import WorkflowContext


@attrs.frozen(kw_only=True)
class Field:
    """A field of a form. ``options`` are the choices of a select."""

    key: str
    label: str
    type: Literal["text", "textarea", "number", "boolean", "select"] = "text"
    required: bool = False
    options: list[str] = attrs.field(factory=list)


@cache
def create_ask_user_tool(name: str = "ask_user") -> DurableTool:
    """Return a tool that suspends the run with a question and a form, and tells the model what the person wrote."""

    def ask_user(
        ctx: WorkflowContext, question: str, title: str | None = None, fields: list[Field] | None = None
    ) -> Any:
        """Ask the user a question and wait for the answer.

        Args:
            question: What the user is asked.
            title: A heading for the question.
            fields: The fields of a form. Without any the user writes one text.

        """
        form = fields or [Field(key="answer", label="Answer", type="textarea", required=True)]
        shown = {"title": title or "Question", "question": question, "fields": [attrs.asdict(field) for field in form]}
        return ctx.step.suspend("ask_user", shown)

    # The tool reads its types here, where they are defined.
    ask_user.__annotations__ = {"question": str, "title": str | None, "fields": list[Field] | None}
    return DurableTool(ask_user, id=name)
