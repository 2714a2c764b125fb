"""What the site does to the pages before mkdocs reads them."""

from types import SimpleNamespace

from site_hooks import on_page_markdown


def render(markdown, page="how-to/sources.md"):
    file = SimpleNamespace(src_uri=page)
    return on_page_markdown(
        markdown, page=SimpleNamespace(file=file), config=SimpleNamespace(repo_url="https://example.org/r/"), files=None
    )


def test_leads_links_out_of_the_docs_to_the_repository():
    assert render("[e](../../examples/README.md)") == "[e](https://example.org/r/blob/main/examples/README.md)"


def test_leaves_links_inside_the_docs_alone():
    assert render("[c](../reference/config.md#capabilities)") == "[c](../reference/config.md#capabilities)"


def test_shows_a_bar_in_a_table_without_the_backslash_that_github_wants():
    assert render("| `a\\|b` | c |") == "| `a|b` | c |"


def test_gives_a_class_of_the_reference_the_anchors_of_its_paths():
    anchors = "[](){#pollux_sync.Usage}\n[](){#pollux_sync.data.reply.Usage}\n\n## `Usage`"
    assert render("## `Usage`", "reference/result.md") == anchors


def test_gives_other_headings_none():
    assert render("## `run`", "reference/cli.md") == "## `run`"
