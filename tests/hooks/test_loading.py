import difflib
import sys
from zipfile import ZipFile

import pytest

from pollux_sync import ConfigurationError, PluginLoadError
from pollux_sync.hooks.loading import COMMANDS, MIDDLEWARE, PROVIDERS, find, list_entry_points, list_names, load

PLUGIN = "class Plugin: pass"
BROKEN = "raise RuntimeError('no such whale')"


# finding


def test_mock_is_installed_with_the_core():
    assert "mock" in list_names(PROVIDERS)


def test_entry_point_has_name_and_distribution(install):
    module = install(PLUGIN, version="1.2.3")
    entry = find(PROVIDERS, "acme")
    assert (entry.value, entry.distribution, entry.version) == (f"{module}:Plugin", "pollux-acme", "1.2.3")


def test_distribution_is_named_as_it_is_installed_by_pip(install):
    install(PLUGIN, distribution="Pollux-Acme")
    assert find(PROVIDERS, "acme").distribution == "pollux-acme"


def test_distribution_with_a_dot_in_its_name_is_named_as_by_pip(install):
    install(PLUGIN, distribution="pollux.acme")
    assert find(PROVIDERS, "acme").distribution == "pollux-acme"


@pytest.mark.parametrize(
    ("metadata", "version"),
    [
        ("{distribution}-{version}.dist-info", "1.0"),
        ("{distribution}-{version}.egg-info", "1.0"),
        ("{distribution}-{version}-py3.11.egg-info", "1.0"),
        ("{distribution}.egg-info", ""),
    ],
)
def test_metadata_folder_of_every_kind_is_read(install, metadata, version):
    install(PLUGIN, metadata=metadata)
    entry = find(PROVIDERS, "acme")
    assert (entry.distribution, entry.version) == ("pollux-acme", version)


def test_origin_without_a_version_is_the_name_alone(install):
    install(PLUGIN, metadata="{distribution}.egg-info")
    assert find(PROVIDERS, "acme").origin == "pollux-acme"


def test_names_are_listed_in_order_and_by_group(install):
    install(PLUGIN, names=("zebra", "acme"))
    install(PLUGIN, distribution="pollux-blink", group=MIDDLEWARE, names=("blink",))
    assert "blink" in list_names(MIDDLEWARE)
    assert not {"acme", "zebra"} & {*list_names(MIDDLEWARE)}
    assert [name for name in list_names(PROVIDERS) if name in {"acme", "zebra"}] == ["acme", "zebra"]


def test_names_are_listed_although_plugins_are_broken(install):
    install(BROKEN, names=("acme",))
    install("", distribution="pollux-void", names=("void",))
    assert {"acme", "void"} <= set(list_names(PROVIDERS))


def test_listing_imports_nothing(install):
    module = install(PLUGIN)
    list_names(PROVIDERS)
    find(PROVIDERS, "acme")
    assert module not in sys.modules


def test_entry_points_of_other_projects_are_left_out(install):
    install(PLUGIN, group="pollux_other.providers", names=("alien",))
    assert "alien" not in list_names(PROVIDERS)


def test_entry_points_are_read_with_comments_space_and_extras(install, tmp_path):
    install(PLUGIN)
    (file,) = tmp_path.glob("site-*/*.dist-info/entry_points.txt")
    file.write_text("# ours\n\n[ pollux_sync.providers ]\n; none\nacme=whale.plugin : Plugin [fast]\n[other]\nx = y\n")
    assert find(PROVIDERS, "acme").value == "whale.plugin : Plugin"


def test_unreadable_entry_points_are_passed_over(install, tmp_path):
    install(PLUGIN)
    install(PLUGIN, distribution="pollux-void", names=("void",))
    (file,) = tmp_path.glob("site-*/pollux_void-*/entry_points.txt")
    file.write_bytes(b"[pollux_sync.providers]\nvoid = \xff\xfe\n")
    assert "acme" in list_names(PROVIDERS)
    assert "void" not in list_names(PROVIDERS)


def test_path_entries_that_do_not_exist_are_passed_over(install, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path / "nowhere")
    install(PLUGIN)
    assert "acme" in list_names(PROVIDERS)


def test_distribution_installed_later_is_found(install):
    assert "acme" not in list_names(PROVIDERS)
    install(PLUGIN)
    assert "acme" in list_names(PROVIDERS)


# inside a zip


@pytest.fixture
def zip_distributions(tmp_path, monkeypatch):
    """Pack distributions into one zip in front of the others, as a zipapp has them; returns a function."""

    def pack(*names, version="1.0"):
        file = tmp_path / f"zipped-{version}.pyz"
        with ZipFile(file, "w") as archive:
            for name in names:
                info = f"pollux_{name}-{version}.dist-info"
                archive.writestr(f"{info}/entry_points.txt", f"[{PROVIDERS}]\n{name} = zipped_{name}:Plugin\n")
                archive.writestr(f"zipped_{name}.py", PLUGIN)
        monkeypatch.syspath_prepend(file)
        return file

    yield pack
    for module in [module for module in sys.modules if module.startswith("zipped_")]:
        del sys.modules[module]


def test_plugin_inside_a_zip_is_loaded(zip_distributions):
    zip_distributions("whale")
    assert load(PROVIDERS, "whale").origin == "pollux-whale 1.0"


def test_plugins_inside_a_zip_are_listed(zip_distributions):
    zip_distributions("whale", "boat")
    assert {"whale", "boat"} <= set(list_names(PROVIDERS))


def test_zip_in_front_hides_the_install_behind(install, zip_distributions):
    install(PLUGIN, distribution="pollux-whale", names=("whale",), version="1.0")
    zip_distributions("whale", version="2.0")
    assert find(PROVIDERS, "whale").version == "2.0"


def test_distribution_inside_a_zip_without_entry_points_is_passed_over(zip_distributions):
    with ZipFile(zip_distributions("whale"), "a") as archive:
        archive.writestr("plain-1.0.dist-info/METADATA", "Name: plain")
    assert "whale" in list_names(PROVIDERS)


def test_file_on_the_path_that_is_no_zip_is_passed_over(install, tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("Call me Ishmael.")
    monkeypatch.syspath_prepend(tmp_path / "notes.txt")
    install(PLUGIN)
    assert "acme" in list_names(PROVIDERS)


# several of one name


def test_two_distributions_of_one_name_are_ambiguous(install):
    install(PLUGIN)
    install(PLUGIN, distribution="acme-next", version="2.0")
    with pytest.raises(PluginLoadError, match=r"'acme' is offered by acme-next 2\.0 and pollux-acme 1\.0") as caught:
        load(PROVIDERS, "acme")
    assert caught.value.hint == "ask for 'acme-next:acme' or 'pollux-acme:acme', or uninstall one"


@pytest.mark.parametrize("spelling", ["acme-next", "acme_next", "Acme-Next"])
def test_distribution_picks_one_of_two(install, spelling):
    install(PLUGIN)
    install(PLUGIN, distribution="acme-next", version="2.0")
    assert find(PROVIDERS, f"{spelling}:acme").version == "2.0"


def test_distribution_that_does_not_offer_the_name_is_refused(install):
    install(PLUGIN)
    with pytest.raises(PluginLoadError, match="no installed provider is called 'acme-next:acme'"):
        load(PROVIDERS, "acme-next:acme")


def test_name_that_two_offer_is_listed_once(install):
    install(PLUGIN)
    install(PLUGIN, distribution="acme-next")
    assert list_names(PROVIDERS).count("acme") == 1


def test_install_in_front_hides_the_one_behind(install):
    install(PLUGIN, version="1.0")
    install(PLUGIN, version="2.0")
    assert [entry.version for entry in list_entry_points(PROVIDERS) if entry.name == "acme"] == ["2.0"]


def test_install_in_front_hides_the_one_behind_also_when_it_offers_nothing(install):
    install(PLUGIN, version="1.0")
    install(PLUGIN, version="2.0", group="console_scripts")
    assert "acme" not in list_names(PROVIDERS)


# loading


def test_plugin_is_imported_when_it_is_loaded(install):
    module = install(PLUGIN)
    load(PROVIDERS, "acme")
    assert module in sys.modules


def test_plugin_of_another_name_is_not_imported(install):
    install(PLUGIN)
    other = install(PLUGIN, distribution="pollux-zebra", names=("zebra",))
    load(PROVIDERS, "acme")
    assert other not in sys.modules


def test_class_is_instantiated(install):
    install("class Plugin: pass")
    assert type(load(PROVIDERS, "acme").plugin).__name__ == "Plugin"


def test_object_is_used_unchanged(install):
    module = install("Plugin = object()")
    assert load(PROVIDERS, "acme").plugin is sys.modules[module].Plugin


def test_module_is_a_plugin_too(install):
    module = install(PLUGIN, attribute="")
    assert load(PROVIDERS, "acme").plugin is sys.modules[module]


def test_attribute_is_followed_to_its_end(install):
    install("class Outer:\n    class Inner: pass", attribute=":Outer.Inner")
    assert type(load(PROVIDERS, "acme").plugin).__name__ == "Inner"


def test_plugin_is_loaded_once(install):
    install(PLUGIN)
    assert load(PROVIDERS, "acme") is load(PROVIDERS, "acme")


def test_loaded_plugin_names_its_origin(install):
    install(PLUGIN)
    loaded = load(PROVIDERS, "acme")
    assert (loaded.name, loaded.distribution, loaded.version, loaded.origin) == (
        "acme",
        "pollux-acme",
        "1.0",
        "pollux-acme 1.0",
    )


# what can be wrong


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (BROKEN, "RuntimeError: no such whale"),
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("def Plugin(", "SyntaxError"),
        ("", "AttributeError"),
        ("class Plugin:\n    def __init__(self, must): pass", "TypeError"),
        ("class Plugin:\n    def __init__(self): raise OSError('no boat')", "OSError: no boat"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
    ids=["raises", "import", "syntax", "attribute", "arguments", "constructor", "exit"],
)
def test_broken_plugin_is_refused_with_its_reason(install, source, reason):
    install(source)
    with pytest.raises(PluginLoadError) as caught:
        load(PROVIDERS, "acme")
    assert caught.value.message.startswith("plugin 'acme' of pollux-acme 1.0 cannot be loaded: ")
    assert reason in caught.value.message


def test_broken_plugin_names_its_distribution_and_version(install):
    install(BROKEN, version="1.2")
    with pytest.raises(PluginLoadError) as caught:
        load(PROVIDERS, "acme")
    assert (caught.value.name, caught.value.distribution, caught.value.version) == ("acme", "pollux-acme", "1.2")


def test_broken_plugin_chains_its_cause(install):
    install(BROKEN)
    with pytest.raises(PluginLoadError) as caught:
        load(PROVIDERS, "acme")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_broken_plugin_has_a_hint(install):
    install(BROKEN)
    with pytest.raises(PluginLoadError) as caught:
        load(PROVIDERS, "acme")
    assert caught.value.hint == "upgrade or uninstall pollux-acme; POLLUX_SYNC_STRICT_PLUGINS=1 shows where it fails"


def test_broken_plugin_leaves_the_others_alone(install):
    install(BROKEN)
    install(PLUGIN, distribution="pollux-zebra", names=("zebra",))
    with pytest.raises(PluginLoadError):
        load(PROVIDERS, "acme")
    assert load(PROVIDERS, "zebra").distribution == "pollux-zebra"


def test_broken_plugin_raises_its_own_exception_when_strict(install, monkeypatch):
    install(BROKEN)
    monkeypatch.setenv("POLLUX_SYNC_STRICT_PLUGINS", "1")
    with pytest.raises(RuntimeError, match="no such whale"):
        load(PROVIDERS, "acme")


def test_strict_is_only_1(install, monkeypatch):
    install(BROKEN)
    monkeypatch.setenv("POLLUX_SYNC_STRICT_PLUGINS", "0")
    with pytest.raises(PluginLoadError):
        load(PROVIDERS, "acme")


def test_unknown_provider_is_a_configuration_error():
    with pytest.raises(ConfigurationError, match="no installed provider is called 'acme'"):
        load(PROVIDERS, "acme")


def test_unknown_plugin_is_called_a_plugin():
    with pytest.raises(PluginLoadError, match="no installed plugin is called 'whale'"):
        load(MIDDLEWARE, "whale")


def test_unknown_provider_has_a_hint_to_install_or_pick_one(install):
    install(PLUGIN)
    with pytest.raises(PluginLoadError) as caught:
        load(PROVIDERS, "zzz")
    assert caught.value.hint.startswith("pip install the package that offers it, or pick one of: acme, ")
    assert "mock" in caught.value.hint


def test_hint_for_an_unknown_plugin_says_that_none_is_installed(monkeypatch):
    # What an error imports is loaded before the path is empty.
    difflib.get_close_matches("log", [])
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(PluginLoadError) as caught:
        load(MIDDLEWARE, "log")
    assert caught.value.hint == "pip install the package that offers it, or pick one of: none is installed"


def test_hint_does_not_repeat_the_prefix_of_a_pollux_package():
    with pytest.raises(PluginLoadError) as caught:
        load(MIDDLEWARE, "pollux-log")
    assert "pollux-pollux-log" not in caught.value.hint


def test_hint_for_a_misspelt_provider_names_the_near_one(install):
    install(PLUGIN)
    with pytest.raises(PluginLoadError) as caught:
        load(PROVIDERS, "acmee")
    assert caught.value.hint.startswith("did you mean 'acme'? ")


def test_hint_for_a_misspelt_provider_does_not_install_the_misspelling(install):
    install(PLUGIN)
    with pytest.raises(PluginLoadError) as caught:
        load(PROVIDERS, "acmee")
    assert "pollux-acmee" not in caught.value.hint


def test_unknown_provider_carries_its_name():
    with pytest.raises(PluginLoadError) as caught:
        load(PROVIDERS, "acme")
    assert (caught.value.name, caught.value.distribution) == ("acme", None)


def test_distribution_installed_into_a_folder_already_searched_is_found(tmp_path, monkeypatch):
    from installing import install as install_into

    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginLoadError):
        load(PROVIDERS, "latecomer")
    install_into(tmp_path, "pollux-latecomer", latecomer="latecomer_plugin:Provider")
    (tmp_path / "latecomer_plugin.py").write_text("class Provider:\n    pass\n")
    assert load(PROVIDERS, "latecomer").origin == "pollux-latecomer 1.0"


@pytest.mark.parametrize("wanted", ["opneai", "pollux-openai", "OpenAI", "openai"])
def test_hint_names_a_package_of_ours_for_a_near_name(wanted, monkeypatch, tmp_path):
    # The core alone is installed; its extras are the packages that this project publishes.
    folder = tmp_path / "pollux_sync-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: pollux-sync\nVersion: 1.0\nProvides-Extra: openai\n")
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(PluginLoadError) as caught:
        find(PROVIDERS, wanted)
    assert "pip install pollux-openai, or pick one of" in caught.value.hint


@pytest.mark.parametrize("group", [PROVIDERS, MIDDLEWARE, COMMANDS])
def test_hint_names_no_package_that_is_not_ours(group):
    with pytest.raises(PluginLoadError) as caught:
        find(group, "whatever")
    assert "whatever" not in caught.value.hint
    assert "pip install pollux-" not in caught.value.hint
