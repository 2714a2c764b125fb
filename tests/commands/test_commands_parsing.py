import pytest

from pollux_sync.commands import (
    DONE,
    REFUSED,
    CommandParser,
    declare_parser,
    describe_exit_codes,
    read_parser,
    run_subcommand,
)

EXIT_CODES = describe_exit_codes({0: "done", 130: "interrupted"})


@pytest.fixture
def parser():
    """The parser of a command that greets, with one subcommand."""
    parser = CommandParser(prog="pollux-sync greet", description="Greet\npeople.", epilog=EXIT_CODES)
    parser.add_subcommand("hello", "say hello to somebody", epilog="Kindly,\nalways.").add_argument("--name")
    return parser


def show_help(parser, capsys, *words):
    with pytest.raises(SystemExit) as caught:
        parser.parse_args([*words, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_exit_codes_are_described_in_lines():
    assert EXIT_CODES == "exit codes:\n  0    done\n  130  interrupted"


def test_help_keeps_the_line_ends(parser, capsys):
    shown = show_help(parser, capsys)
    assert "\nGreet\npeople.\n" in shown
    assert shown.endswith(f"\n{EXIT_CODES}\n")


def test_help_lists_a_subcommand_with_the_line_about_it(parser, capsys):
    assert "    hello     say hello to somebody\n" in show_help(parser, capsys)


def test_help_of_a_subcommand_begins_with_the_line_about_it(parser, capsys):
    shown = show_help(parser, capsys, "hello")
    assert "\n\nSay hello to somebody.\n\n" in shown
    assert shown.endswith("\nKindly,\nalways.\n")


def test_options_cannot_be_abbreviated(parser, capsys):
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["hello", "--na", "Ada"])
    assert caught.value.code == REFUSED
    assert "unrecognized arguments: --na Ada" in capsys.readouterr().err


def test_settings_of_argparse_are_taken(capsys):
    parser = CommandParser(prog="greet", allow_abbrev=True)
    parser.add_argument("--name")
    assert parser.parse_args(["--na", "Ada"]).name == "Ada"


def test_control_characters_of_arguments_are_escaped_in_errors(parser, capsys):
    with pytest.raises(SystemExit):
        parser.parse_args(["hello", "\x1b[2J\nerror: none"])
    assert capsys.readouterr().err.endswith("unrecognized arguments: \\x1b[2J\\nerror: none\n")


def test_subcommand_gets_its_arguments_and_says_the_exit_code(parser):
    names = []

    def say_hello(arguments):
        names.append(arguments.name)
        return 7

    assert run_subcommand(parser, {"hello": say_hello}, ["hello", "--name", "Ada"]) == 7
    assert names == ["Ada"]


def test_without_a_subcommand_the_help_goes_to_stderr(parser, capsys):
    assert run_subcommand(parser, {"hello": lambda _: DONE}, []) == REFUSED
    written = capsys.readouterr()
    assert (written.out, "say hello to somebody" in written.err) == ("", True)


def test_unknown_subcommand_is_refused(parser, capsys):
    with pytest.raises(SystemExit) as caught:
        run_subcommand(parser, {"hello": lambda _: DONE}, ["goodbye"])
    assert caught.value.code == REFUSED
    assert "invalid choice: 'goodbye'" in capsys.readouterr().err


def test_command_that_declares_its_parser_stays_as_it_is():
    @declare_parser(lambda: CommandParser(prog="hello"))
    def main(argv):
        return len(argv)

    assert (main(["a"]), read_parser(main).prog) == (1, "hello")


def test_command_may_declare_no_parser():
    assert read_parser(len) is None
