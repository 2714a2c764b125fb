"""Types of files: what a service takes is sent as what it is, and all else is refused by name."""

import pytest

from capabilities import declarations
from pollux_sync import Config, ConfigurationError, Source, explain

pytestmark = pytest.mark.usefixtures("no_network")

#: The mock takes every file.
SERVICES = sorted({info.name for info in declarations()} - {"mock"})
#: The providers that take HEIC.
TAKES_HEIC = {"gemini"}
REACH = {"local": {"base_url": "http://127.0.0.1:9/v1"}}


def build_config(provider):
    return Config(provider=provider, model="some-model", **REACH.get(provider, {"api_key": "made-up"}))


@pytest.mark.parametrize("provider", SERVICES)
@pytest.mark.parametrize("name", ["IMG_1.heic", "IMG_1.jpg", "IMG_1.mp4", "IMG_1"])
def test_a_photo_in_heic_is_refused_or_sent_as_what_it_is(tmp_path, provider, name):
    path = tmp_path / name
    path.write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(4) + b"mif1heic" + bytes(40))
    sources = [Source.from_file(path)]
    if provider in TAKES_HEIC:
        assert "image/heic" in str(explain("q", sources=sources, config=build_config(provider)).requests[0].body)
        return
    with pytest.raises(ConfigurationError, match=r"IMG_1.*image/heic") as caught:
        explain("q", sources=sources, config=build_config(provider))
    assert "JPEG" in caught.value.hint
