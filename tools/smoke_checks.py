"""Checks of an installation of the wheels, without the sources. `tools/smoke.py` runs them.

Usage: ``python -I smoke_checks.py DIST``.
"""

import re
import subprocess
import sys
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pollux_sync
from pollux_sync import Config, Options, Source, run
from pollux_sync.hooks.loading import PROVIDERS, list_entry_points

#: The base URLs of providers that require one.
ADDRESSES = {"azure": "http://127.0.0.1:9", "local": "http://127.0.0.1:9/v1"}


def check(claim: str, *, holds: bool) -> None:
    """Print a claim that holds; exit at one that does not."""
    if not holds:
        raise SystemExit(f"smoke: this claim does not hold: {claim}")
    print(f"smoke: {claim}")


def check_wheel(wheel: Path) -> None:
    """Check that a wheel has the licence, the address of the project, and a README whose links work anywhere."""
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata_file,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        text = archive.read(metadata_file).decode()
    name = wheel.name.partition("-")[0]
    check(f"{name} has its licence", holds=any(name.endswith(".dist-info/licenses/LICENSE") for name in names))
    check(f"{name} is typed", holds=f"{name}/py.typed" in names)
    check(f"{name} names its repository", holds="Project-URL: Repository, https://" in text)
    check(f"{name}'s README has no relative link", holds=not re.search(r"\]\((?!https?://|#)", text))


def check_core() -> None:
    """Check that the installed core is imported, and that it answers."""
    home = Path(pollux_sync.__file__).resolve()
    check("pollux_sync is imported from the environment", holds=home.is_relative_to(Path(sys.prefix).resolve()))
    config = Config(provider="openai", model="any", use_mock=True)
    result = run("Who?", source=Source.from_text("Call me Ishmael."), config=config, options=Options(max_tokens=9))
    check("the mock answers", holds=result["answers"] == ["echo: Call me Ishmael."])


def check_versions(wheels: list[Path]) -> None:
    """Check that all distributions, their wheels and pollux_sync have the same version."""
    versions = {wheel.name.split("-")[1] for wheel in wheels}
    versions |= {metadata.version(wheel.name.partition("-")[0]) for wheel in wheels}
    check(f"all {len(wheels)} distributions are {pollux_sync.__version__}", holds=versions == {pollux_sync.__version__})


def list_declared_providers(wheels: list[Path]) -> list[str]:
    """Return the names of the providers that the wheels' entry points declare."""
    parser = ConfigParser()
    for wheel in wheels:
        with ZipFile(wheel) as archive:
            files = [name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt")]
            parser.read_string("\n".join(archive.read(file).decode() for file in files))
    return sorted(parser[PROVIDERS])


def check_provider(name: str) -> None:
    """Check that a provider loads and completes a Config."""
    config = Config(provider=name, model="any", api_key="made-up", base_url=ADDRESSES.get(name))
    check(f"{name} makes a Config", holds=config.provider == name)


def check_doctor() -> None:
    command = Path(sys.executable).with_name("pollux-sync")
    process = subprocess.run([command, "doctor"], capture_output=True, text=True, check=False)
    check(
        "pollux-sync doctor finds no problem", holds=process.returncode == 0 and "no problems found" in process.stdout
    )


def main() -> None:
    wheels = sorted(Path(sys.argv[1]).glob("*.whl"))
    for wheel in wheels:
        check_wheel(wheel)
    check_core()
    check_versions(wheels)
    providers = [entry.name for entry in list_entry_points(PROVIDERS)]
    check(f"{', '.join(providers)} are found", holds=providers == list_declared_providers(wheels))
    for name in providers:
        check_provider(name)
    check_doctor()


if __name__ == "__main__":
    main()
