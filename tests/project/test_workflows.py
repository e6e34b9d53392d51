"""The workflows are thin: what they do is a make target, and runs here as it runs there."""

import re

import pytest
import yaml

from book.tools.paths import ROOT

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.yml"))}
# What only GitHub can do, or what hands its files from one job to the next.
OTHERWISE = {
    'cat _build/coverage/report.md >> "$GITHUB_STEP_SUMMARY"',
    "sha256sum --check --strict SHA256SUMS",
    'gh release create "$TAG" --repo "$REPOSITORY" --verify-tag --title "$TAG" '
    "--notes-file NOTES.md *",
}


def jobs(name: str) -> dict[str, dict]:
    return yaml.safe_load(WORKFLOWS[name])["jobs"]


def steps(name: str) -> list[dict]:
    return [step for job in jobs(name).values() for step in job["steps"]]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_action_is_pinned_by_a_commit_and_says_its_version(name):
    used = re.findall(r"uses: (.+)", WORKFLOWS[name])
    assert used
    for line in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_has_no_rights_but_those_that_a_job_asks_for(name):
    assert yaml.safe_load(WORKFLOWS[name])["permissions"] == {}
    for job in jobs(name).values():
        assert "timeout-minutes" in job
        assert job["permissions"]
    for step in steps(name):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_one_version_of_an_action_is_used_everywhere():
    used = re.findall(r"uses: (.+)@(.+)", "\n".join(WORKFLOWS.values()))
    assert len({action for action, _ in used}) == len({*used})


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_step_runs_one_make_target_and_no_expression(name):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for step in steps(name):
        if "run" in step and step["run"] not in OTHERWISE:
            assert "${{" not in step["run"], step["run"]
            command, target, *settings = step["run"].split()
            assert command == "make", step["run"]
            assert target in targets, step["run"]
            assert all(re.fullmatch(r'[A-Z]+=("\$[A-Z]+"|[\w.]+)', one) for one in settings)


def test_the_package_is_tried_on_every_python_and_system_that_it_names(project):
    matrix = jobs("checks")["trial"]["strategy"]["matrix"]
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(project["project"]["classifiers"]))
    assert matrix["python"] == named
    assert {system.partition("-")[0] for system in matrix["system"]} == {
        "ubuntu", "macos", "windows",
    }  # fmt: skip


def test_every_setting_of_a_trial_is_tried_somewhere():
    from book.tools.trial import SETTINGS

    matrix = jobs("checks")["trial"]["strategy"]["matrix"]
    tried = {*matrix["setting"], *(entry["setting"] for entry in matrix["include"])}
    assert tried == {*SETTINGS}
