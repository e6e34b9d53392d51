"""What a release consists of, and what stops one."""

import subprocess
import zipfile

import pytest

from book.command import UserError
from book.tools import identity, paths, release, trial
from book.tools.identity import Identity

OWN = Identity("https://github.com/one/codec", "0.1.0")
FILES = {
    "dist/mrdcae_lite-0.1.0-py3-none-any.whl": "wheel",
    "dist/mrdcae_lite-0.1.0.tar.gz": "sdist",
    "book.zip": "pages",
    "print/book.epub": "the whole book",
    "print/book.pdf": "the whole book",
    "course/pages/patches.zip": "for students",
    "course/patches/solution.ipynb": "for the teacher",
    "course/patches/autograder.zip": "for the teacher",
    "CHANGELOG.md": "# Changelog\n\n## 0.1.0 (2026-12-24)\n- one\n",
    "CITATION.cff": "version: 0.1.0\n",
}


@pytest.fixture
def built(tmp_path, monkeypatch):
    """What make dist, book, print and course leave, and what a release takes as it stands."""
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(release, "DISTRIBUTIONS", tmp_path / "dist")
    monkeypatch.setattr(release, "RELEASE", tmp_path / "release")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "ARCHIVE", tmp_path / "book.zip")
    monkeypatch.setattr(paths, "COURSE", tmp_path / "course")
    monkeypatch.setattr(paths, "PRINT", tmp_path / "print")
    monkeypatch.setattr(identity, "stated", lambda: OWN)
    return tmp_path


def test_a_release_without_the_printed_book_is_refused(built):
    (built / "print" / "book.pdf").unlink()
    with pytest.raises(UserError, match=r"expected book\.pdf in _build/print; run make print"):
        release.gather("v0.1.0")


def test_a_release_holds_everything_with_sums_that_agree_and_no_solution(built):
    release.gather("v0.1.0")
    folder = built / "release"
    assert {path.name for path in folder.iterdir()} == {
        "CITATION.cff",
        "NOTES.md",
        "SHA256SUMS",
        "book-0.1.0.epub",
        "book-0.1.0.pdf",
        "mrdcae-lite-book-0.1.0.zip",
        "mrdcae-lite-course-0.1.0.zip",
        "mrdcae_lite-0.1.0-py3-none-any.whl",
        "mrdcae_lite-0.1.0.tar.gz",
    }
    with zipfile.ZipFile(folder / "mrdcae-lite-course-0.1.0.zip") as course:
        assert course.namelist() == ["mrdcae-lite-course-0.1.0/patches.zip"]
    assert {"book-0.1.0.epub", "book-0.1.0.pdf"} <= set((folder / "SHA256SUMS").read_text().split())
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(check, cwd=folder, capture_output=True).returncode == 0
    (folder / "NOTES.md").write_text("changed")
    assert subprocess.run(check, cwd=folder, capture_output=True).returncode == 1


def test_a_tag_of_another_version_stops_the_release(built):
    with pytest.raises(UserError, match=r"expected the tag v0\.1\.0 .*got 'v0\.2\.0'"):
        release.gather("v0.2.0")


def test_a_version_without_a_date_may_be_gathered_but_not_tagged(built):
    (built / "CHANGELOG.md").write_text("## 0.1.0 (unreleased)\n- one\n")
    with pytest.raises(UserError, match=r"expected the date of 0\.1\.0 in CHANGELOG\.md"):
        release.gather("v0.1.0")
    release.gather("")
    assert (built / "release" / "NOTES.md").read_text() == "- one\n"


def test_a_version_in_development_is_not_released(built, monkeypatch):
    monkeypatch.setattr(identity, "stated", lambda: Identity(OWN.address, "0.2.0.dev0"))
    with pytest.raises(UserError, match="in development"):
        release.gather("")


@pytest.mark.parametrize(
    ("missing", "target"),
    [
        ("dist/mrdcae_lite-0.1.0.tar.gz", "dist"),
        ("book.zip", "book"),
        ("course/pages/patches.zip", "course"),
    ],
)
def test_what_was_not_made_is_named_with_the_command_that_makes_it(built, missing, target):
    (built / missing).unlink()
    with pytest.raises(UserError, match=f"run make {target}"):
        release.gather("")


def test_the_notes_are_the_section_of_the_version():
    text = "# Changelog\n\n## 0.2.0\n\n### Added\n- two\n\n## 0.1.0 (unreleased)\n- one\n"
    assert release.notes(text, "0.2.0") == "### Added\n- two\n"
    assert release.notes(text, "0.1.0") == "- one\n"
    with pytest.raises(UserError, match=r"a section 0\.3\.0"):
        release.notes(text, "0.3.0")


def test_links_of_the_readme_lead_into_the_repository_where_the_package_is_shown():
    text = "![a plot](book/a.svg) [licence](LICENSE) [far](https://x.org) [here](#install)"
    assert release.absolute(text, OWN) == (
        "![a plot](https://github.com/one/codec/raw/v0.1.0/book/a.svg) "
        "[licence](https://github.com/one/codec/blob/v0.1.0/LICENSE) "
        "[far](https://x.org) [here](#install)"
    )


def test_a_trial_reads_tests_that_exist_and_shows_what_the_readme_shows(root):
    for setting in trial.SETTINGS.values():
        for test in (*setting.tests, *setting.slow):
            name, _, function = test.partition("::")
            assert (root / name).exists(), test
            if function:
                assert f"def {function.partition('[')[0]}(" in (root / name).read_text(), test
    assert [name for name in trial.NEEDED if not (root / name).exists()] == []
    assert "mr.load" in "".join(trial.blocks("python"))
    assert "mrdcae compress" in "".join(trial.blocks("sh"))
