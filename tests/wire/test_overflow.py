import pytest

from pollux_sync.data.provider import HttpResponse
from pollux_sync.wire.faults import HttpError, classify_error

#: Messages, and the numbers of tokens and of the context in them.
WORDINGS = {
    "sglang": ("The input (9000 tokens) is longer than the model's context length (8192 tokens).", 9000, 8192),
    "sglang total": (
        "The count exceeds the model's maximum context length of 8192 tokens. You requested a total of 9000 tokens.",
        9000,
        8192,
    ),
    "vllm passed": (
        "You passed 9000 input tokens and requested 100 output tokens. However, the model has only 8192 tokens.",
        9100,
        8192,
    ),
    "vllm engine": ("The engine prompt length 9000 exceeds the max_model_len 8192. Please reduce prompt.", 9000, 8192),
    "vllm negative": ("max_tokens must be at least 1, got -808.", None, None),
    "tensorrt": ("Prompt length (9000) exceeds maximum input length (8192).", 9000, 8192),
    "tgi": (
        "`inputs` tokens + `max_new_tokens` must be <= 8193. Given: 8190 `inputs` tokens and 100 `max_new_tokens`",
        8290,
        8193,
    ),
    "tgi inputs": ("`inputs` must have less than 4095 tokens. Given: 5000", 5000, 4095),
    "perplexity": ("The total length of all messages is too long.", None, None),
    "bedrock": ("Too many input tokens. Max input tokens: 8192, request input token count: 9000", 9000, 8192),
    "bedrock alone": ("Input is too long.", None, None),
    "cohere": ("too many tokens: size limit exceeded by 1000 tokens. Try using shorter or fewer inputs.", None, None),
    "cohere total": (
        "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4200.",
        4200,
        4081,
    ),
    "github": ("Request body too large for gpt-4o-mini model. Max size: 8000 tokens.", None, 8000),
    "copilot": ("prompt token count of 70000 exceeds the limit of 64000", 70000, 64000),
    "databricks": ("Input token count 9000 exceeds the maximum context length 8192", 9000, 8192),
    "cerebras": ("Please reduce the length. Current length is 9000 while limit is 8192", 9000, 8192),
    "groq": ("Please reduce the length of the messages or completion.", None, None),
    "moonshot": ("Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)", 9000, 8192),
    "qwen": ("Range of input length should be [1, 30720]", None, 30720),
    "workers ai": (
        "The number of input and maximum output tokens (9000) exceeded this model context window limit (8192).",
        9000,
        8192,
    ),
    "minimax": ("invalid params, context window exceeds limit (2013)", None, None),
    "zhipu": ("Prompt exceeds max length", None, None),
    "volcengine": ("Total tokens of image and text exceed max message tokens", None, None),
    "ollama": ("prompt too long; exceeded max context length by 120 tokens", None, None),
    "litellm": ("litellm.ContextWindowExceededError: the prompt does not fit", None, None),
    "openai characters": ("Invalid 'messages[0].content': string too long. Expected at most 10485760.", None, None),
}


def catch_fault(status, body):
    return classify_error(HttpError(HttpResponse(status=status, body=body)))


def build_error(message, **facts):
    return {"error": {"message": message} | facts}


@pytest.mark.parametrize(
    ("status", "body", "n_tokens", "n_ctx"),
    [
        (
            400,
            build_error(
                "try increasing it", code=400, type="exceed_context_size_error", n_prompt_tokens=20010, n_ctx=8192
            ),
            20010,
            8192,
        ),
        (400, build_error("request (20010 tokens) exceeds the available context size (8192 tokens), try"), 20010, 8192),
        (500, build_error("the request exceeds the available context size. try increasing it"), None, None),
        (400, build_error("too long", code="context_length_exceeded"), None, None),
        (
            400,
            build_error("Your input exceeds the context window of this model.", code="context_length_exceeded"),
            None,
            None,
        ),
        (
            400,
            build_error(
                "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300007 tokens.",
                type="invalid_request_error",
            ),
            300007,
            272000,
        ),
        (
            400,
            build_error(
                "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (8000 in"
            ),
            9000,
            8192,
        ),
        (
            400,
            build_error(
                "This model's maximum context length is 4097 tokens. However, your messages resulted in 5001 tokens."
            ),
            5001,
            4097,
        ),
        (400, build_error("This model's maximum context length is 8192 tokens"), None, 8192),
        (
            400,
            {
                "object": "error",
                "message": "This model's maximum context length is 8192 tokens. However, you requested 1000 output "
                "tokens and your prompt contains at least 7193 input tokens, for a total of at least 8193 tokens.",
            },
            8193,
            8192,
        ),
        (
            400,
            build_error(
                "'max_tokens' or 'max_completion_tokens' is too large: 8000. This model's maximum context length is "
                "8192 tokens and your request has 500 input tokens (8000 > 8192 - 500)."
            ),
            8500,
            8192,
        ),
        (
            400,
            build_error("The decoder prompt (length 9000) is longer than the maximum model length of 8192."),
            9000,
            8192,
        ),
        (
            400,
            {"type": "error", "error": {"type": "invalid_request_error"} | build_error("prompt is too long")["error"]},
            None,
            None,
        ),
        (400, build_error("prompt is too long: 210000 tokens > 200000 maximum"), 210000, 200000),
        (
            400,
            build_error("input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input"),
            209573,
            200000,
        ),
        (
            400,
            [
                build_error(
                    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", code=400
                )
            ],
            1200000,
            1048576,
        ),
        (
            400,
            build_error("The input token count exceeds the maximum number of tokens allowed 1,048,576."),
            None,
            1048576,
        ),
        (
            400,
            build_error(
                "Unable to submit, the input token count is 1200000 but model only supports up to 1048576. Reduce"
            ),
            1200000,
            1048576,
        ),
        (
            400,
            build_error(
                "This endpoint's maximum context length is 131072 tokens. However, you requested about 200012 tokens "
                "(199012 of text input, 1000 in the output). Please reduce the length of either one."
            ),
            200012,
            131072,
        ),
        (
            400,
            build_error(
                "Provider returned error",
                metadata={"raw": '{"error": {"message": "prompt is too long: 9 tokens > 8"}}'},
            ),
            9,
            8,
        ),
        (
            413,
            build_error("Prompt contains 40000 tokens, too large for model with 32768 maximum context length"),
            40000,
            32768,
        ),
        (400, build_error("maximum prompt length is 131072 but the request contains 537812 tokens."), 537812, 131072),
        (400, build_error("The prompt is too long: 9000, model maximum context length: 8191"), 9000, 8191),
        (
            400,
            build_error(
                "keep the first 9001 tokens when it overflows. However, it has context length of only 4096 tokens"
            ),
            9001,
            4096,
        ),
        (400, build_error("The number of tokens to keep is greater than the context length"), None, None),
        (400, build_error("Input is too long for requested model."), None, None),
        (400, "context length exceeded", None, None),
        (200, build_error("maximum context length is 8 tokens", code=400), None, 8),
    ],
)
def test_recognises_an_overflow_and_its_numbers(status, body, n_tokens, n_ctx):
    fault = catch_fault(status, body)
    assert (fault.kind, fault.n_tokens, fault.n_ctx) == ("context_overflow", n_tokens, n_ctx)
    assert (fault.retryable, "shorten" in fault.hint) == (False, True)


@pytest.mark.parametrize(("message", "n_tokens", "n_ctx"), WORDINGS.values(), ids=WORDINGS)
@pytest.mark.parametrize("status", [400, 413, 422])
def test_recognises_an_overflow_in_the_words_of_every_service(status, message, n_tokens, n_ctx):
    for body in (build_error(message), {"message": message}, {"error": message}, {"detail": message}):
        fault = catch_fault(status, body)
        assert (fault.kind, fault.n_tokens, fault.n_ctx) == ("context_overflow", n_tokens, n_ctx)


@pytest.mark.parametrize("code", ["tokens_limit_reached", "model_max_prompt_tokens_exceeded"])
def test_recognises_an_overflow_by_its_code(code):
    assert catch_fault(413, build_error("no", code=code)).kind == "context_overflow"


@pytest.mark.parametrize(
    ("status", "body", "kind", "retryable"),
    [
        (
            400,
            build_error("max_tokens is too large: 99999. This model supports at most 4096 completion tokens"),
            None,
            False,
        ),
        (
            400,
            build_error("max_tokens: 99999 > 8192, which is the maximum allowed number of output tokens"),
            None,
            False,
        ),
        (400, build_error("Unknown parameter: 'context_length'"), None, False),
        (400, build_error("Unsupported value: context window", code="unsupported_value"), None, False),
        (429, build_error("Request too large: limit 30000 tokens a minute, requested 42000"), "rate_limit", False),
        (400, build_error("Too many images and documents: 101 + 0 > 100"), "invalid_request", False),
        (400, build_error("Invalid 'metadata.key': string too long."), "invalid_request", False),
        (400, build_error("max_tokens must be at least 1, got 0."), "invalid_request", False),
        (429, build_error("Too many tokens, please wait before trying again."), "rate_limit", True),
        (429, build_error("maximum context length is 8 tokens"), "rate_limit", True),
        (500, build_error("Context size has been exceeded."), "capacity", True),  # shared by requests that each fit
    ],
)
def test_does_not_report_other_limits_as_an_overflow(status, body, kind, retryable):
    fault = catch_fault(status, body)
    assert (fault.kind, fault.retryable) == (kind or "invalid_request", retryable)
    assert (fault.n_tokens, fault.n_ctx) == (None, None)
