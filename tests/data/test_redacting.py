"""How a secret is taken out of a text: a long one anywhere, a short one where it is a word of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollux_sync.data.config import REDACTED, redact_secret

pytestmark = pytest.mark.drawn

LETTERS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)
LONG = st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=12, max_size=40)


@given(key=LONG, before=st.text(), between=st.text(), after=st.text())
def test_a_long_key_never_survives(key, before, between, after):
    assert key not in redact_secret(f"{before}{key}{between}{key}{after}", key)


def test_a_long_key_survives_not_even_where_its_removal_would_form_it_anew():
    key = f"x{REDACTED}y"
    assert key not in redact_secret(f"x{key}y", key)


@given(key=st.text("abcxyz019", min_size=4, max_size=11), before=LETTERS, after=LETTERS)
def test_a_short_key_never_changes_a_word_that_merely_contains_it(key, before, after):
    words = f"{before}{key} {key}{after} {before}{key}{after} {before}-{key}"
    assert redact_secret(words, key) == words


@given(key=st.text("abcxyz019", min_size=4, max_size=11))
@pytest.mark.parametrize("text", ["{}", "Bearer {}", "key '{}'.", "?key={}&x=1", '{{"key":"{}"}}'])
def test_a_short_key_is_taken_out_where_it_is_a_word(key, text):
    assert redact_secret(text.format(key), key) == text.format(REDACTED)
