"""`aifa sites` and the program's own manners."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Aifa


def test_all_sites_are_listed(aifa: Aifa) -> None:
    """The packaged sites, and which is a draft."""
    rows = {row["site"]: row["ready"] for row in aifa("sites", "--json").json}
    assert {"jupiter": "yes", "local": "yes", "lumi": "yes", "lumi2": "draft"} == rows


def test_a_site_is_shown_with_sources_for_every_fact(aifa: Aifa) -> None:
    """Machines get every fact with its source and date; people are shown what is not certain."""
    facts = aifa("sites", "show", "jupiter", "--json").json["facts"]
    assert [] == [fact for fact in facts if not fact["source"] or not fact["checked_on"]]
    assert "Not certain" in aifa("sites", "show", "jupiter").out


def test_user_sites_extend_packaged_ones(aifa: Aifa) -> None:
    """A table in sites.toml is a site."""
    (aifa.home / "config").mkdir()
    (aifa.home / "config" / "sites.toml").write_text('[sites.mine]\nextends = "lumi"\naccount = "project_465000009"\n')
    rows = {row["site"]: row["account"] for row in aifa("sites", "--json").json}
    assert "project_465000009" == rows["mine"]


def test_a_mark_at_the_beginning_of_the_site_file(aifa: Aifa) -> None:
    """Editors on Windows write one; a folder in the file's place is named, without numbers for programmers."""
    (aifa.home / "config").mkdir()
    path = aifa.home / "config" / "sites.toml"
    path.write_bytes(b"\xef\xbb\xbf[sites.lumi]\naccount = 'project_465000009'\n")
    assert "project_465000009" in aifa("sites").out
    path.unlink()
    path.mkdir()
    assert (2, f"error: {path} cannot be read: Is a directory.\n") == ((ran := aifa("sites")).code, ran.err)


def test_a_broken_site_file_names_file_key_and_nearest(aifa: Aifa) -> None:
    """A typo in sites.toml is found wherever the file is read."""
    (aifa.home / "config").mkdir()
    (aifa.home / "config" / "sites.toml").write_text('[sites.lumi]\nusr = "ada"\n')
    ran = aifa("sites")
    assert (2, True) == (ran.code, all(word in ran.err for word in ("sites.toml", "usr", "user")))


def test_unknown_words_exit_with_2(aifa: Aifa) -> None:
    """A command or option that is none is wrong input."""
    assert [2, 2] == [aifa("sumbit").code, aifa("jobs", "--frobnicate").code]


def test_version_and_help_exit_with_0(aifa: Aifa) -> None:
    """Asking is never an error, and every command explains itself."""
    names = ("sites", "check", "render", "submit", "jobs", "logs", "cancel", "login", "stage", "demo")
    ran = [aifa("--version"), aifa("--help"), *(aifa(name, "--help") for name in names)]
    assert [0] * len(ran) == [one.code for one in ran]
