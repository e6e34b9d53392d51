"""Training photographs, made from their originals byte for byte."""

from PIL import Image

from data_scripts import fetch, photos

from .conftest import put


def test_a_photograph_is_made_from_its_original_and_the_others_come_from_a_mirror(
    tmp_path, server, declare, capsys
):
    wanted, to = tmp_path / "wanted.jpg", tmp_path / "p"
    Image.linear_gradient("L").resize((2000, 1500)).save(server.folder / "1.png")
    photos.training_jpeg(server.folder / "1.png", wanted)
    listed = {"cid22_1.jpg": wanted.read_bytes(), "mate_2.jpg": b"of a package"}
    declare("photos_train", listed, addresses={"cid22_": f"{server.url}/{{stem}}.png"})
    assert photos.main(["--to", str(to)]) == 0
    assert (to / "cid22_1.jpg").read_bytes() == wanted.read_bytes()
    assert "1 more files have no address" in capsys.readouterr().out
    put(server.folder, {"mate_2.jpg": b"of a package"})
    assert photos.main(["--to", str(to), "--mirror", server.url]) == 0
    assert {path.name: path.read_bytes() for path in to.iterdir()} == listed


def test_a_web_page_instead_of_an_original_is_one_line_and_code_2(
    tmp_path, server, declare, monkeypatch, capsys
):
    monkeypatch.setattr(fetch, "RETRIES", 0)
    put(server.folder, {"1.png": b"<html>log in</html>"})
    declare(
        "photos_train", {"cid22_1.jpg": b""}, addresses={"cid22_": f"{server.url}/{{stem}}.png"}
    )
    assert photos.main(["--to", str(tmp_path / "p")]) == 2
    assert "1.png is not the file that is listed" in (shown := capsys.readouterr().err)
    assert shown.count("\n") == 1


def test_a_training_photograph_has_two_megapixels_full_colour_and_no_comment(tmp_path):
    original = Image.radial_gradient("L").resize((2560, 1600)).convert("RGB")
    original.save(tmp_path / "o.jpg", comment=b"made by a camera", dpi=(300, 300))
    photos.training_jpeg(tmp_path / "o.jpg", tmp_path / "t.jpg")
    with Image.open(tmp_path / "t.jpg") as made:
        assert made.size == (1789, 1118)
        assert [component[1:3] for component in made.layer] == [(1, 1)] * 3
        assert "comment" not in made.info
