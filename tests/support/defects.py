"""Providers with one defect each, made from the distributions that `pollux-sync new-provider` writes.

``pollux_birch`` has a service of its own, ``pollux_oak`` speaks Chat Completions; both must be importable.
"""

import json

import attrs
from pollux_birch import Birch
from pollux_oak import Oak

from pollux_sync.plugin import (
    ConfigurationError,
    EventParser,
    EventStream,
    HttpError,
    HttpRequest,
    Reply,
    ReplyError,
    TextDelta,
    Usage,
    classify_error,
    hookimpl,
    open_client,
)

#: By the name of its entry point: each class, and the test of the contract that must fail for it.
DEFECTS = {}


def fails(*tests):
    """Register a provider under the name of its class, with the tests that fail for it."""

    def register(provider):
        name = provider.__name__.lower()
        provider.info = attrs.evolve(provider.info, name=name)
        DEFECTS[name] = (provider, tests)
        return provider

    return register


class _Named:
    @hookimpl
    def pollux_provider_info(self):
        return self.info


class OwnService(_Named, Birch):
    info = Birch().pollux_provider_info()


class Chat(_Named, Oak):
    info = Oak().pollux_provider_info()


class _KeyHolder:
    """Keeps the key that it should only hand to its client."""

    key = None

    @hookimpl
    def pollux_open(self, config):
        self.key = config.api_key
        return open_client(config, self.info)


@fails()
class SoundService(OwnService):
    pass


@fails()
class SoundChat(Chat):
    pass


# the request


@fails("test_hides_the_key")
class KeyInAddress(_KeyHolder, OwnService):
    @hookimpl
    def pollux_send(self, request, client, timeout_s):
        return client.send(attrs.evolve(request, path=f"{request.path}?key={self.key}"), timeout_s)


@fails("test_sends_every_option_that_it_declares")
class OptionDropped(Chat):
    @hookimpl
    def pollux_encode(self, call):
        request = super().pollux_encode(call)
        return attrs.evolve(request, body={name: value for name, value in request.body.items() if name != "seed"})


@fails("test_sends_every_option_that_it_declares")
class SystemPromptDropped(Chat):
    @hookimpl
    def pollux_encode(self, call):
        request = super().pollux_encode(call)
        messages = [message for message in request.body["messages"] if message["role"] != "system"]
        return attrs.evolve(request, body={**request.body, "messages": messages})


@fails("test_encodes_a_call_twice_alike_and_leaves_it_unchanged")
class CallChanged(Chat):
    @hookimpl
    def pollux_encode(self, call):
        for tool in call.options.tools or ():
            tool.parameters["additionalProperties"] = False
        return super().pollux_encode(call)


@fails("test_encodes_a_call_twice_alike_and_leaves_it_unchanged")
class RandomRequest(OwnService):
    count = 0

    @hookimpl
    def pollux_encode(self, call):
        self.count += 1
        request = super().pollux_encode(call)
        return attrs.evolve(request, body={**request.body, "nonce": self.count})


@fails("test_sends_all_that_is_said_of_a_tool")
class ToolFieldUnread(Chat):
    @hookimpl
    def pollux_encode(self, call):
        request = super().pollux_encode(call)
        functions = [dict(tool["function"]) for tool in request.body.get("tools", ())]
        for function in functions:
            function.pop("description", None)
        tools = [{"type": "function", "function": function} for function in functions]
        return attrs.evolve(request, body=request.body | ({"tools": tools} if tools else {}))


@fails("test_round_trips_typed_values")
class WrongSchema(Chat):
    @hookimpl
    def pollux_encode(self, call):
        return super().pollux_encode(attrs.evolve(call, response_schema=call.response_schema and {"type": "object"}))


@fails("test_introduces_each_of_several_texts")
class SourceDropped(OwnService):
    @hookimpl
    def pollux_encode(self, call):
        return super().pollux_encode(attrs.evolve(call, parts=call.parts[:1]))


# the answer


@fails("test_answers_prompts_in_order")
class AnswerIgnored(OwnService):
    @hookimpl
    def pollux_decode(self, response):
        return Reply(text="what?", finish_reason="stop")


@fails("test_reads_the_text_the_finish_reason_and_the_usage", "test_decodes_the_stated_replies")
class UsageLost(OwnService):
    @hookimpl
    def pollux_decode(self, response):
        return attrs.evolve(super().pollux_decode(response), usage=Usage())


@fails("test_reads_the_text_the_finish_reason_and_the_usage", "test_decodes_the_stated_replies")
class FinishReasonLost(Chat):
    @hookimpl
    def pollux_decode(self, response, call):
        return attrs.evolve(super().pollux_decode(response, call), finish_reason=None)


@fails("test_decodes_the_stated_replies")
class ToolCallLost(Chat):
    @hookimpl
    def pollux_decode(self, response, call):
        return attrs.evolve(super().pollux_decode(response, call), tool_calls=())


@fails("test_takes_no_error_for_an_answer")
class ErrorTakenForAnAnswer(OwnService):
    @hookimpl
    def pollux_decode(self, response):
        try:
            return super().pollux_decode(response)
        except HttpError as error:
            return Reply(text=str(error), finish_reason="stop")


@fails("test_takes_no_json_of_another_type_for_an_answer")
class AnythingTakenForAnAnswer(OwnService):
    @hookimpl
    def pollux_decode(self, response):
        try:
            return super().pollux_decode(response)
        except ReplyError:
            return Reply(text=json.dumps(response.body), finish_reason="stop")


# faults


@fails("test_maps_a_fault[direct-status 404]", "test_follows_no_redirect")
class EverythingRetried(OwnService):
    @hookimpl
    def pollux_classify_error(self, error):
        fault = classify_error(error)
        return fault and attrs.evolve(fault, retryable=True)


@fails("test_maps_a_fault[direct-status 503]", "test_retries_a_stream_that_ends_before_its_first_event")
class NothingRetried(OwnService):
    @hookimpl
    def pollux_classify_error(self, error):
        fault = classify_error(error)
        return fault and attrs.evolve(fault, retryable=False)


@fails("test_retries_only_as_the_policy_says", "test_maps_a_fault[direct-status 503]")
class OwnRetry(OwnService):
    @hookimpl
    def pollux_send(self, request, client, timeout_s):
        try:
            return client.send(request, timeout_s)
        except HttpError:
            return client.send(request, timeout_s)


@fails("test_maps_a_fault[direct-status 401]")
class SecretInAnError(_KeyHolder, OwnService):
    @hookimpl
    def pollux_send(self, request, client, timeout_s):
        try:
            return client.send(request, timeout_s)
        except HttpError:
            raise ConfigurationError(f"refused: {self.key}") from None


# streams


class _OwnStream(EventStream):
    """Events of a stream that the plugin reads itself: each chunk is decoded alone, so that split characters break."""

    def __init__(self, inner):
        super().__init__(inner.response)
        self._inner = inner

    def __iter__(self):
        parser = EventParser()
        for chunk in self._inner._take_chunks():  # the core may have looked into the first already
            yield from parser.feed(chunk.decode(errors="replace").encode())

    def close(self):
        self._inner.close()

    def wake(self):
        self._inner.wake()


@fails("test_reads_a_stream_that_arrives_byte_by_byte[direct-text]")
class CharactersSplit(OwnService):
    @hookimpl
    def pollux_stream(self, request, client, timeout_s):
        return _OwnStream(client.stream(request, timeout_s))


@fails("test_stream_result_does_not_depend_on_chunk_boundaries[text]")
class ChunksDecodedAlone(OwnService):
    @hookimpl
    def pollux_decode_stream(self, stream):
        return super().pollux_decode_stream(_OwnStream(stream))


@fails("test_streamed_answer_equals_the_blocking_answer[direct-text]")
class StreamUnlikeBlocking(OwnService):
    @hookimpl
    def pollux_decode_stream(self, stream):
        for item in super().pollux_decode_stream(stream):
            yield attrs.evolve(item, text=item.text.strip()) if isinstance(item, TextDelta | Reply) else item


@fails("test_keeps_the_partial_text_when_a_stream_breaks[direct-end-malformed]")
class EndNotAwaited(OwnService):
    @hookimpl
    def pollux_decode_stream(self, stream):
        text = ""
        for item in super().pollux_decode_stream(stream):
            text += item.text if isinstance(item, TextDelta) else ""
            yield item
            if isinstance(item, Reply):
                return
        yield Reply(text=text, finish_reason="stop")


@fails("test_tells_an_error_inside_a_stream[direct-an event]")
class StreamErrorIgnored(OwnService):
    @hookimpl
    def pollux_decode_stream(self, stream):
        try:
            yield from super().pollux_decode_stream(stream)
        except HttpError:
            yield Reply(text="half", finish_reason="stop")


@fails("test_sends_raw_fields_and_headers_of_a_stream[direct]")
class StreamRequestRewritten(OwnService):
    @hookimpl
    def pollux_encode_stream(self, request):
        return HttpRequest(path=request.path, body={"model": request.body["model"], "stream": True})
