"""An artificial llama model of a few hundred kilobytes, for tests with a real llama.cpp server.

Its weights are random, except for a few likely steps: a line break starts `ANSWER`, each word leads to the next, and
the full stop ends the answer. So answers are short and end without a limit, also at temperature 0.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import gguf
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CONTEXT_TOKENS = 4096
ANSWER = "Pollux answers every prompt in order."

_SENTENCE = ("Pollux", "▁answers", "▁every", "▁prompt", "▁in", "▁order", ".")
_SPECIALS = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
_UNKNOWN, _BEGIN, _, _, _END = range(len(_SPECIALS))
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
_TOKENS = (*_SPECIALS, *_BYTES, "▁", *_SENTENCE)

_LINE_BREAK, _QUOTE, _BRACE, _BRACKET = (f"<0x{ord(character):02X}>" for character in '\n"}]')
_LIKELY_STEPS = (
    *((*step, 0.3) for step in itertools.pairwise((_LINE_BREAK, *_SENTENCE, _SPECIALS[_END]))),
    (_SENTENCE[-1], _QUOTE, 0.2),  # for a grammar that forbids the end here
)

_LAYERS, _HEADS, _WIDTH, _INNER_WIDTH = 2, 2, 64, 128

_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def write_tiny_gguf(path: Path) -> Path:
    """Write the model to `path` and return it; every call writes the same weights."""
    writer = gguf.GGUFWriter(path, "llama")
    _add_shape(writer)
    _add_vocabulary(writer)
    for name, weights in _tensors().items():
        writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_shape(writer: gguf.GGUFWriter) -> None:
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_INNER_WIDTH)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(_TOKENS))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def _add_vocabulary(writer: gguf.GGUFWriter) -> None:
    writer.add_tokenizer_model("llama")
    writer.add_token_list(_TOKENS)
    writer.add_token_scores([0.0] * len(_TOKENS))
    writer.add_token_types([_token_type(token) for token in _TOKENS])
    writer.add_unk_token_id(_UNKNOWN)
    writer.add_bos_token_id(_BEGIN)
    writer.add_eos_token_id(_END)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(_CHAT_TEMPLATE)


def _token_type(token: str) -> gguf.TokenType:
    if token == "<unk>":
        return gguf.TokenType.UNKNOWN
    if token in _SPECIALS:
        return gguf.TokenType.CONTROL
    return gguf.TokenType.BYTE if token in _BYTES else gguf.TokenType.NORMAL


def _tensors() -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(seed=20)
    embeddings = random.normal(size=(len(_TOKENS), _WIDTH))
    embeddings[:, 0] = 4.0  # equal for all tokens and never changed: the factor of the biases in the output layer
    tensors = {
        "token_embd.weight": embeddings,
        "output_norm.weight": np.ones(_WIDTH),
        "output.weight": _output(random, embeddings),
    }
    for layer in range(_LAYERS):
        tensors |= {f"blk.{layer}.{name}.weight": weights for name, weights in _layer(random).items()}
    return {name: weights.astype(np.float32) for name, weights in tensors.items()}


def _layer(random: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    def matrix(rows: int, columns: int) -> NDArray[np.float64]:
        return random.normal(scale=0.05, size=(rows, columns))

    layer = {
        "attn_norm": np.ones(_WIDTH),
        "attn_q": matrix(_WIDTH, _WIDTH),
        "attn_k": matrix(_WIDTH, _WIDTH),
        "attn_v": matrix(_WIDTH, _WIDTH),
        "attn_output": matrix(_WIDTH, _WIDTH),
        "ffn_norm": np.ones(_WIDTH),
        "ffn_gate": matrix(_INNER_WIDTH, _WIDTH),
        "ffn_up": matrix(_INNER_WIDTH, _WIDTH),
        "ffn_down": matrix(_WIDTH, _INNER_WIDTH),
    }
    layer["attn_output"][0] = layer["ffn_down"][0] = 0.0
    return layer


def _output(random: np.random.Generator, embeddings: NDArray[np.float64]) -> NDArray[np.float64]:
    output = random.normal(scale=0.15, size=embeddings.shape)
    output[:, 0] = [_bias(token) for token in _TOKENS]
    for token, following, strength in _LIKELY_STEPS:
        output[_TOKENS.index(following), 1:] += strength * embeddings[_TOKENS.index(token), 1:]
    return output


def _bias(token: str) -> float:
    """Return the bias of a token: prefer words, then tokens that end an answer or close JSON; never break UTF-8."""
    if token in _SENTENCE:
        return 1.0
    if token in {_QUOTE, _BRACE, _BRACKET, _SPECIALS[_END]}:
        return 0.5
    return 0.0 if token == "▁" or token in _BYTES[0x20:0x7F] else -5.0
