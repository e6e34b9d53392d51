from tests.fuzz import foreign_suite


def test_foreign_pictures_come_back_or_are_refused_in_one_line(tmp_path):
    folder = tmp_path / "suite"
    foreign_suite.make(folder, number=60, seed=1)
    assert len(list(folder.iterdir())) == 60
    assert foreign_suite.run(folder, timeout=900) == {}
