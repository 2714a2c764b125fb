import pytest

from pollux_sync.wire.thoughts import ThoughtSplitter, split_thoughts

TEXTS = {
    "no thoughts": ("4", "", "4"),
    "an empty text": ("", "", ""),
    "blanks": (" \n ", "", " \n "),
    "thoughts": ("<think>\n2 and 2\n</think>\n\n4\n", "2 and 2", "4\n"),
    "blanks before": ("\n <think>a</think>b", "a", "b"),
    "empty thoughts": ("<think>\n\n</think>\n\n4", "", "4"),
    "thoughts in several blocks": ("<think>a</think>\n<think>b</think>\nc", "a\n\nb", "c"),
    "an empty block before": ("<think></think><think>b</think>c", "b", "c"),
    "thoughts that were cut off": ("<think>2 and", "2 and", ""),
    "thoughts cut off inside the closing tag": ("<think>2 and </th", "2 and </th", ""),
    "thoughts that mention tags": ("<think>a <think> b </thing c</think>d", "a <think> b </thing c", "d"),
    "nothing after the thoughts": ("<think>a</think>\n ", "a", ""),
    "the beginning of a tag": ("<th", "", "<th"),
    "another tag": ("<thing>a</thing>", "", "<thing>a</thing>"),
    "another tag after thoughts": ("<think>a</think> <b>c</b>", "a", "<b>c</b>"),
    "a mention later": ("Write <think>a</think> first.", "", "Write <think>a</think> first."),
    "Google's tag": ("<thought>a</thought>b", "a", "b"),
    "Mistral's tag": ("[THINK]a[/THINK]b", "a", "b"),
    "a list": ("[1, 2]", "", "[1, 2]"),
    "blanks inside": ("<think>a \n\n b</think>c", "a \n\n b", "c"),
    "a far tag": (" " * 101 + "<think>a</think>b", "", " " * 101 + "<think>a</think>b"),
}


def join(pieces):
    splitter = ThoughtSplitter()
    pairs = [*map(splitter.split, pieces), splitter.end()]
    return tuple("".join(texts) for texts in zip(*pairs, strict=True))


@pytest.mark.parametrize(("text", "thoughts", "answer"), TEXTS.values(), ids=TEXTS)
def test_splits_a_text(text, thoughts, answer):
    assert split_thoughts(text) == (thoughts, answer)


@pytest.mark.parametrize(("text", "thoughts", "answer"), TEXTS.values(), ids=TEXTS)
def test_splits_pieces_alike_wherever_they_are_cut(text, thoughts, answer):
    cuts = [(text[:end], text[end:]) for end in range(len(text))]
    assert {join(pieces) for pieces in [*cuts, text]} == {(thoughts, answer)}


def test_passes_on_an_answer_at_once():
    splitter = ThoughtSplitter()
    assert [splitter.split(piece) for piece in ("4", " <think>")] == [("", "4"), ("", " <think>")]


def test_splits_many_pieces_of_thoughts_in_linear_time():
    pieces = ["<think>", *["a "] * 100_000, "</think>", "b"]
    assert join(pieces) == (("a " * 100_000).rstrip(), "b")
