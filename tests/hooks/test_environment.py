import os

import pytest

from pollux_sync import ConfigurationError
from pollux_sync.hooks import environment
from pollux_sync.hooks.environment import read_enabled_plugins, read_number, read_variable

KEY = "ACME_API_KEY"


# read_variable


def test_variable_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv(KEY, "from-environment")
    assert read_variable(KEY) == "from-environment"


def test_space_around_a_variable_is_dropped(monkeypatch):
    monkeypatch.setenv(KEY, " from-environment\n")
    assert read_variable(KEY) == "from-environment"


def test_missing_variable_is_none():
    assert read_variable(KEY) is None


def test_environment_wins_over_the_file(folder, monkeypatch):
    (folder / ".env").write_text(f"{KEY}=from-file")
    monkeypatch.setenv(KEY, "from-environment")
    assert read_variable(KEY) == "from-environment"


@pytest.mark.parametrize("blank", ["", "  "])
def test_blank_variable_counts_as_unset(folder, monkeypatch, blank):
    (folder / ".env").write_text(f"{KEY}=from-file")
    monkeypatch.setenv(KEY, blank)
    assert read_variable(KEY) == "from-file"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("ACME_API_KEY=abc", "abc"),
        ("  ACME_API_KEY = abc  ", "abc"),
        ("export ACME_API_KEY=abc", "abc"),
        ("export   ACME_API_KEY=abc", "abc"),
        ("ACME_API_KEY='abc'", "abc"),
        ('ACME_API_KEY="abc"', "abc"),
        ('ACME_API_KEY=" a b "', " a b "),
        ("ACME_API_KEY='a#b' # the key", "a#b"),
        ('ACME_API_KEY="it\'s"', "it's"),
        ("ACME_API_KEY=abc # the key", "abc"),
        ("ACME_API_KEY=abc\t# the key", "abc"),
        ("ACME_API_KEY=abc#def", "abc#def"),
        ("ACME_API_KEY=abc==", "abc=="),
        ("ACME_API_KEY=", None),
        ("ACME_API_KEY=''", None),
        ("ACME_API_KEY=  # put your key here", None),
        ("ACME_API_KEY=# put your key here", None),
        ("ACME_API_KEY", None),
        ("# ACME_API_KEY=abc", None),
        ("#ACME_API_KEY=abc", None),
        ("OTHER_ACME_API_KEY=abc", None),
        ("ACME_API_KEY_2=abc", None),
        ("acme_api_key=abc", None),
    ],
)
def test_line_of_the_file_is_read(folder, line, value):
    (folder / ".env").write_text(line)
    assert read_variable(KEY) == value


def test_line_is_found_between_comments_and_blank_lines(folder):
    (folder / ".env").write_text("# keys\n\n   \nOTHER=1\nnot a setting\nACME_API_KEY=abc\n")
    assert read_variable(KEY) == "abc"


def test_last_line_wins_as_in_a_shell(folder):
    (folder / ".env").write_text("ACME_API_KEY=old\nACME_API_KEY=new\n")
    assert read_variable(KEY) == "new"


def test_file_may_end_its_lines_as_windows_does(folder):
    (folder / ".env").write_bytes(b"OTHER=1\r\nACME_API_KEY=abc\r\n")
    assert read_variable(KEY) == "abc"


def test_file_may_begin_with_a_byte_order_mark(folder):
    (folder / ".env").write_text("ACME_API_KEY=abc\n", encoding="utf-8-sig")
    assert read_variable(KEY) == "abc"


def test_file_that_is_no_text_is_ignored(folder):
    (folder / ".env").write_bytes(b"ACME_API_KEY=\xff\xfe\n")
    assert read_variable(KEY) is None


def test_directory_by_that_name_is_passed_over(folder, monkeypatch):
    (folder / ".env").write_text("ACME_API_KEY=abc")
    (folder / "project" / ".env").mkdir(parents=True)
    monkeypatch.chdir(folder / "project")
    assert read_variable(KEY) == "abc"


def test_file_is_found_upwards(folder, monkeypatch):
    (folder / ".env").write_text("ACME_API_KEY=abc")
    (folder / "project" / "src").mkdir(parents=True)
    monkeypatch.chdir(folder / "project" / "src")
    assert read_variable(KEY) == "abc"


def test_nearest_file_is_the_only_one_read(folder, monkeypatch):
    (folder / ".env").write_text("ACME_API_KEY=abc")
    (folder / "project").mkdir()
    (folder / "project" / ".env").write_text("OTHER=1")
    monkeypatch.chdir(folder / "project")
    assert read_variable(KEY) is None


def test_reading_a_variable_leaves_the_environment_as_it_was(folder):
    (folder / ".env").write_text("ACME_API_KEY=abc\nOTHER=1\n")
    before = dict(os.environ)
    read_variable(KEY)
    assert dict(os.environ) == before


@pytest.fixture
def missing_directory(folder, monkeypatch):
    """Stand in a working directory that was deleted."""
    place = folder / "gone"
    place.mkdir()
    monkeypatch.chdir(place)
    place.rmdir()


@pytest.mark.usefixtures("missing_directory")
def test_reading_a_variable_works_where_the_working_directory_is_gone():
    assert read_variable(KEY) is None


@pytest.mark.usefixtures("missing_directory")
def test_plugins_are_looked_up_where_the_working_directory_is_gone():
    assert read_enabled_plugins() == ()


# read_enabled_plugins


def test_no_plugin_is_enabled_by_default():
    assert read_enabled_plugins() == ()


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        ("log", ("log",)),
        ("log,cost", ("log", "cost")),
        (" log , cost ,", ("log", "cost")),
        ("", ()),
        (",", ()),
    ],
)
def test_variable_lists_plugins(monkeypatch, listed, names):
    monkeypatch.setenv("POLLUX_SYNC_PLUGINS", listed)
    assert read_enabled_plugins() == names


def test_project_lists_plugins_in_order(folder):
    (folder / "pyproject.toml").write_text('[tool.pollux-sync]\nplugins = ["log", "cost"]\n')
    assert read_enabled_plugins() == ("log", "cost")


@pytest.mark.parametrize("listed", ["", "trace"])
def test_variable_wins_over_the_project(folder, monkeypatch, listed):
    (folder / "pyproject.toml").write_text('[tool.pollux-sync]\nplugins = ["log"]\n')
    monkeypatch.setenv("POLLUX_SYNC_PLUGINS", listed)
    assert read_enabled_plugins() == tuple(filter(None, [listed]))


@pytest.mark.parametrize(
    "table",
    [
        '[ tool.pollux-sync ]\nplugins = ["log"]',
        '[tool."pollux-sync"]\nplugins = ["log"]',
        '[tool]\npollux-sync = { plugins = ["log"] }',
        'tool.pollux-sync.plugins = ["log"]',
    ],
)
def test_project_may_write_its_table_in_any_way_toml_has(folder, table):
    (folder / "pyproject.toml").write_text(table)
    assert read_enabled_plugins() == ("log",)


def test_project_is_found_upwards(folder, monkeypatch):
    (folder / "pyproject.toml").write_text('[tool.pollux-sync]\nplugins = ["log"]\n')
    (folder / "src").mkdir()
    monkeypatch.chdir(folder / "src")
    assert read_enabled_plugins() == ("log",)


@pytest.mark.parametrize(
    "content",
    [
        "[project]\nname = 'whale'\n",
        "[tool.pollux-sync]\n",
        "[tool.pollux-sync]\nplugins = []\n",
        "# see [tool.pollux-sync] in the manual\n",
        "[tool.black]\n# or [tool.pollux-sync]\n",
    ],
)
def test_project_need_not_list_any(folder, content):
    (folder / "pyproject.toml").write_text(content)
    assert read_enabled_plugins() == ()


@pytest.mark.parametrize("listed", ['"log"', "true", "[1]", '["log", 2]', "{ log = true }"])
def test_list_of_the_wrong_type_is_refused_by_its_file(folder, listed):
    (folder / "pyproject.toml").write_text(f"[tool.pollux-sync]\nplugins = {listed}\n")
    with pytest.raises(ConfigurationError, match=r"plugins in .*pyproject\.toml must be a list of names") as caught:
        read_enabled_plugins()
    assert 'plugins = ["name", ...]' in caught.value.hint


def test_unknown_key_of_the_table_is_refused_by_its_file(folder):
    (folder / "pyproject.toml").write_text('[tool.pollux-sync]\nplugin = ["log"]\n')
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml has the key 'plugin'") as caught:
        read_enabled_plugins()
    assert 'plugins = ["name", ...]' in caught.value.hint


def test_table_of_the_wrong_type_is_refused_by_its_file(folder):
    (folder / "pyproject.toml").write_text("[tool]\npollux-sync = 3 # not a [tool.pollux-sync]\n")
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml"):
        read_enabled_plugins()


def test_broken_project_that_mentions_us_is_refused_by_its_file(folder):
    (folder / "pyproject.toml").write_text('[tool.pollux-sync]\nplugins = ["log"\n')
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml is not valid TOML"):
        read_enabled_plugins()


def test_broken_project_that_does_not_mention_us_is_ignored(folder):
    (folder / "pyproject.toml").write_text("[project\n")
    assert read_enabled_plugins() == ()


def test_project_in_another_encoding_that_mentions_us_is_refused(folder):
    (folder / "pyproject.toml").write_bytes('[tool.pollux-sync]\nplugins = ["größe"]\n'.encode("latin1"))
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml is not valid TOML"):
        read_enabled_plugins()


def test_project_that_cannot_be_read_is_refused_with_a_way_on(folder, monkeypatch):
    (folder / "pyproject.toml").write_text("")

    # Root may read a file without permissions, so that removing them would show nothing.
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(environment, "_read_bytes", refuse)
    with pytest.raises(ConfigurationError, match="cannot be read, and may list plugins") as caught:
        read_enabled_plugins()
    assert "set POLLUX_SYNC_PLUGINS" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[tool.pollux-sync]\nplugin = ["log"]', "has the key 'plugin', which is not known"),
        ('[tool.pollux_sync]\nplugins = ["log"]', "has a table tool.pollux_sync"),
        ('[[tool.pollux-sync]]\nplugins = ["log"]', "must be a list of names"),
        ("tool = 'pollux-sync'", "tool"),
    ],
)
def test_table_that_nobody_would_read_is_refused(folder, content, message):
    (folder / "pyproject.toml").write_text(content)
    with pytest.raises(ConfigurationError, match=message):
        read_enabled_plugins()


def test_number_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("POLLUX_TEST_TTL_S", "2.5")
    assert read_number("POLLUX_TEST_TTL_S") == 2.5


def test_number_that_is_not_set_is_none():
    assert read_number("POLLUX_TEST_TTL_S") is None


def test_text_in_place_of_a_number_is_refused(monkeypatch):
    monkeypatch.setenv("POLLUX_TEST_TTL_S", "soon")
    with pytest.raises(ConfigurationError, match="POLLUX_TEST_TTL_S is not a number: 'soon'"):
        read_number("POLLUX_TEST_TTL_S")
