"""The Gemini API for tests: pairs of a blocking answer and the same answer streamed."""

from gemini_api import USAGE, candidate, function_call, last_piece, piece, response, text, thought

TOOLS = [{"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]
FEW = {"promptTokenCount": 11, "totalTokenCount": 11}
MANY = {"promptTokenCount": 15, "toolUsePromptTokenCount": 20, "thoughtsTokenCount": 3, "totalTokenCount": 38}
RATINGS = [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "LOW"}]
WORSE = [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "HIGH", "blocked": True}]
HEAD = {"usageMetadata": USAGE, "modelVersion": "gemini-2.5-flash", "responseId": "r1"}
BLOCK = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": FEW}
CODE = {"executableCode": {"language": "PYTHON", "code": "print(4)"}}
IMAGE = {"inlineData": {"mimeType": "image/png", "data": "AA=="}}
CITED = [{"uri": f"https://{name}.example", "startIndex": 0, "endIndex": 4} for name in "ab"]
WEB = [{"web": {"uri": f"https://{name}.example"}} for name in "ab"]
TOKENS = [{"token": token, "logProbability": -0.5} for token in ("hel", "lo")]


def logprobs(*tokens, total):
    return {"logprobsResult": {"chosenCandidates": list(tokens), "logProbabilitySum": total}}


#: What Gemini streams, and what it would have answered at once.
TRANSCRIPTS = {
    "text": ([piece(text("Zü"), usage=FEW), piece(text("rich"), usage=FEW), last_piece(text("!"))], [text("Zürich!")]),
    "several parts in a piece": (
        [piece(text("a\n"), text("\nb")), last_piece(text(" c"), text("d"))],
        [text("a\n"), text("\nb c"), text("d")],
    ),
    "reasoning": (
        [piece(thought("**Plan**\n\nfirst\n\n\n")), piece(thought("then")), last_piece(text("4"))],
        [thought("**Plan**\n\nfirst\n\n\nthen"), text("4")],
    ),
    "all in one piece": (
        [last_piece(thought("first"), thought("then"), text("4"), text("!"))],
        [thought("first"), thought("then"), text("4"), text("!")],
    ),
    "reasoning apart": (
        [piece(thought("first", thoughtSignature="c2ln")), piece(thought("then")), last_piece(text("4"), thought("!"))],
        [thought("first", thoughtSignature="c2ln"), thought("then"), text("4"), thought("!")],
    ),
    "a signature at the beginning": (
        [piece(text("it ", thoughtSignature="c2ln")), piece(text("is ")), last_piece(text("4"))],
        [text("it ", thoughtSignature="c2ln"), text("is 4")],
    ),
    "a signature at the end": (
        [piece(text("it is ")), piece(text("4")), last_piece(text("", thoughtSignature="c2ln"))],
        [text("it is 4"), text("", thoughtSignature="c2ln")],
    ),
    "tool": (
        [piece(function_call("weather", {"city": "Zürich"}, call_id="a1", signature="c2ln")), last_piece(text(""))],
        [function_call("weather", {"city": "Zürich"}, call_id="a1", signature="c2ln")],
    ),
    "parallel tools after text": (
        [
            piece(text("let me ")),
            piece(text("look"), function_call("weather", {"city": "Bonn"}, signature="c2ln")),
            last_piece(function_call("weather", {"city": "Rome"})),
        ],
        [
            text("let me look"),
            function_call("weather", {"city": "Bonn"}, signature="c2ln"),
            function_call("weather", {"city": "Rome"}),
        ],
    ),
    "code and images": (
        [piece(text("run ")), piece(text("it"), CODE), piece(IMAGE), last_piece(text("4"))],
        [text("run it"), CODE, IMAGE, text("4")],
    ),
    "empty": ([last_piece()], []),
    "a last text that is empty": ([piece(text("x")), last_piece(text(""))], [text("x")]),
    "billed after its end": ([piece(text("x"), usage=FEW, finishReason="STOP"), {"usageMetadata": USAGE}], [text("x")]),
}
#: The same, where more differs than the parts.
ENDINGS = {
    "truncated": (
        [piece(text("hel")), last_piece(text("lo"), finishReason="MAX_TOKENS")],
        [candidate(text("hello"), finishReason="MAX_TOKENS")],
    ),
    "truncated before the first word": (
        [piece(), last_piece(finishReason="MAX_TOKENS")],
        [candidate(finishReason="MAX_TOKENS")],
    ),
    "filtered": (
        [
            piece(text("well, "), safetyRatings=RATINGS),
            last_piece(finishReason="SAFETY", safetyRatings=WORSE, finishMessage="no"),
        ],
        [candidate(text("well, "), finishReason="SAFETY", safetyRatings=WORSE, finishMessage="no")],
    ),
    "filtered without content": (
        [{"candidates": [{"finishReason": "SAFETY"}]} | HEAD],
        [{"finishReason": "SAFETY"}],
    ),
    "a call that cannot be read": (
        [last_piece(finishReason="MALFORMED_FUNCTION_CALL", finishMessage="print(x")],
        [candidate(finishReason="MALFORMED_FUNCTION_CALL", finishMessage="print(x")],
    ),
    "citations one by one": (
        [
            piece(text("a"), citationMetadata={"citationSources": CITED[:1]}),
            last_piece(text("b"), citationMetadata={"citationSources": CITED[1:]}),
        ],
        [candidate(text("ab"), citationMetadata={"citationSources": CITED})],
    ),
    "grounding that repeats itself": (
        [
            piece(
                text("a"), groundingMetadata={"webSearchQueries": ["q"], "searchEntryPoint": {"renderedContent": ""}}
            ),
            piece(text("b"), groundingMetadata={"webSearchQueries": ["q"], "groundingChunks": WEB[:1]}),
            last_piece(groundingMetadata={"groundingChunks": WEB, "searchEntryPoint": None}),
        ],
        [
            candidate(
                text("ab"),
                groundingMetadata={
                    "webSearchQueries": ["q"],
                    "searchEntryPoint": {"renderedContent": ""},
                    "groundingChunks": WEB,
                },
            )
        ],
    ),
    "probabilities": (
        [
            piece(text("hel"), **logprobs(TOKENS[0], total=-0.5)),
            last_piece(text("lo"), **logprobs(TOKENS[1], total=-1)),
        ],
        [candidate(text("hello"), **logprobs(*TOKENS, total=-1))],
    ),
    "two candidates": (
        [
            piece(text("y"), index=1),
            piece(text("x")),
            piece(text("z"), index=1, finishReason="STOP"),
            last_piece(text("w")),
        ],
        [candidate(text("xw")), candidate(text("yz"), index=1)],
    ),
}
ANSWERS = {name: (pieces, response(*parts)) for name, (pieces, parts) in TRANSCRIPTS.items()}
ANSWERS |= {name: (pieces, response(candidates=made)) for name, (pieces, made) in ENDINGS.items()}
ANSWERS |= {
    "blocked": ([BLOCK], BLOCK),
    "blocked on the way": (
        [piece(text("wel"), usage=FEW), BLOCK],
        response(candidates=piece(text("wel"))["candidates"]) | BLOCK,
    ),
    "the tier that served": (
        [piece(text("x"), usage=FEW | {"serviceTier": "flex"}), last_piece(usage=USAGE | {"serviceTier": "flex"})],
        response(text("x"), usageMetadata=USAGE | {"serviceTier": "flex"}),
    ),
    "usage that shrinks": (
        [piece(text("x"), usage=USAGE), last_piece(usage=MANY)],
        response(text("x"), usageMetadata=MANY),
    ),
}
