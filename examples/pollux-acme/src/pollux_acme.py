"""A provider for Acme's imaginary API: POST /ask {"model", "question", "temperature"} -> {"answer", "tokens"}."""

from pollux_sync.plugin import (
    Call,
    HttpRequest,
    HttpResponse,
    ProviderInfo,
    Reply,
    ReplyError,
    TextPart,
    Usage,
    check_answer,
    hookimpl,
)


class Acme:
    @hookimpl
    def pollux_provider_info(self) -> ProviderInfo:
        return ProviderInfo(
            name="acme",
            key_env=("ACME_API_KEY",),
            base_url="https://api.acme.example/v1",
            base_url_policy="optional",
            options={"temperature"},
        )

    @hookimpl
    def pollux_encode(self, call: Call) -> HttpRequest:
        texts = [part.text for part in call.parts if isinstance(part, TextPart)]
        body = {"model": call.model, "question": "\n\n".join([*texts, call.prompt or ""])}
        return HttpRequest(path="/ask", body=body | {"temperature": call.options.temperature})

    @hookimpl
    def pollux_decode(self, response: HttpResponse) -> Reply:
        check_answer(response, "answer")
        if "answer" not in (body := response.body):
            raise ReplyError("the answer has no text", response=response)
        return Reply(text=body["answer"], usage=Usage(total_tokens=body.get("tokens")), finish_reason="stop")
