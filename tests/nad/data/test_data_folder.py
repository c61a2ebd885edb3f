import os
import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nad.data import folder
from nad.data.folder import load_folder, load_owned
from nad.data.listing import list_part
from nad.data.opening import image_suffixes
from nad.errors import DataError

COLOURS = {"ant": (200, 10, 10), "bee": (10, 200, 10)}


def write_image(path: Path, colour: object, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes, of one plain colour each: three training images and one test image a class."""
    root = tmp_path / "tree"
    for name, colour in COLOURS.items():
        for index in range(3):
            write_image(root / "train" / name / f"{index}.png", colour, size=(20 + index, 50))
        write_image(root / "test" / name / "one.JPG", colour)
    return root


def load(root: Path, cache: Path | None = None, size: int = 8, **options):
    return load_folder(root, cache_dir=cache or root.parent / "cache", image_size=size, **options)


def test_folder_classes_are_the_sorted_folder_names(tree: Path) -> None:
    dataset = load(tree)
    assert dataset.class_names == ("ant", "bee")
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.test.labels.tolist() == [0, 1]
    assert dataset.train.images.shape == (6, 3, 8, 8)
    for part in (dataset.train, dataset.test):
        for image, label in zip(part.images, part.labels, strict=True):
            wanted = torch.tensor(COLOURS[dataset.class_names[label]])
            assert (image.flatten(1).int() - wanted[:, None]).abs().max() <= 2


def test_folder_flip_is_the_caller_s_choice(tree: Path) -> None:
    assert load(tree).flip
    assert not load(tree, flip=False).flip


def test_images_keep_their_orientation_and_are_resized_with_antialiasing(tree: Path) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    stripes[:32, :, 2] = 255
    Image.fromarray(stripes).save(tree / "train" / "ant" / "0.png")
    image = load(tree).train.images[0].int()
    assert (image[0] - 127).abs().max() <= 16
    assert (image[2, 0] == 255).all()
    assert (image[2, -1] - 127).abs().max() <= 16


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 90, (90, 90, 90)),
        ("RGBA", (9, 80, 70, 128), (9, 80, 70)),
        ("LA", (50, 0), (50, 50, 50)),
        ("1", 1, (255,) * 3),
    ],
)
def test_other_modes_become_rgb(tree: Path, mode: str, colour: object, expected: tuple[int, ...]) -> None:
    write_image(tree / "train" / "ant" / "0.png", colour, mode=mode)
    assert load(tree).train.images[0, :, 4, 4].tolist() == list(expected)


def test_palette_images_become_rgb_with_and_without_transparency(tree: Path) -> None:
    palette = Image.new("RGB", (20, 20), (30, 60, 90)).convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(tree / "train" / "ant" / "0.png")
    palette.save(tree / "train" / "ant" / "1.png", transparency=bytes([100, 255, 3]))
    images = load(tree).train.images
    for index in (0, 1):
        assert (images[index, :, 4, 4].int() - torch.tensor([30, 60, 90])).abs().max() <= 3


def test_deeper_folders_count_and_hidden_ones_do_not(tree: Path) -> None:
    write_image(tree / "train" / "ant" / "deep" / "er.png", COLOURS["ant"])
    write_image(tree / "train" / ".thumbnails" / "0.png", 0)
    write_image(tree / "train" / "ant" / "._0.png", 0)
    (tree / "train" / "ant" / "notes.txt").write_text("not an image")
    assert load(tree).train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_a_link_to_a_folder_that_it_lies_in_is_passed_over(tree: Path) -> None:
    elsewhere = tree.parent / "elsewhere"
    write_image(elsewhere / "0.png", COLOURS["ant"])
    for link, end in (
        (tree / "train" / "ant" / "here", tree / "train" / "ant"),
        (tree / "train" / "ant" / "up", tree),
        (tree / "train" / "ant" / "more", elsewhere),
        (elsewhere / "back", tree / "train" / "ant"),
    ):
        link.symlink_to(end, target_is_directory=True)
    assert load(tree).train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_images_are_decoded_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(tree)
    monkeypatch.setattr(folder, "_read_image", lambda *_: pytest.fail("decoded again"))
    again = load(tree)
    assert torch.equal(first.train.images, again.train.images)
    assert torch.equal(first.test.images, again.test.images)


def test_a_cache_folder_in_another_encoding_than_utf_8_is_used(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tree / os.fsdecode(b"cach\xe9")
    first = load(tree, cache)
    monkeypatch.setattr(folder, "_decode", lambda *given: pytest.fail("it is in the cache"))
    assert torch.equal(load(tree, cache).train.images, first.train.images)


def test_a_changed_file_or_size_is_decoded_anew(tree: Path) -> None:
    load(tree)
    changed = write_image(tree / "train" / "ant" / "0.png", (1, 2, 3), size=(20, 50))
    assert load(tree).train.images[0, :, 0, 0].tolist() == [1, 2, 3]
    before = changed.stat()
    write_image(changed, (4, 5, 6), size=(20, 50))
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert load(tree).train.images[0, :, 0, 0].tolist() == [4, 5, 6]
    assert load(tree, size=16).train.images.shape[-1] == 16


def pinned_tree(root: Path, level: int) -> Path:
    """A tree of bitmaps, equal to others in all names, sizes and times of writing."""
    for part in ("train", "test"):
        for name in COLOURS:
            path = write_image(root / part / name / "0.bmp", (level, level, level))
            os.utime(path, ns=(10**18, 10**18))
    return root


def test_trees_that_agree_in_names_sizes_and_times_are_told_apart(tmp_path: Path) -> None:
    first, second = (pinned_tree(tmp_path / name, level) for name, level in (("first", 10), ("second", 200)))
    assert load(first).train.images.unique().tolist() == [10]
    assert load(second).train.images.unique().tolist() == [200]


def test_a_file_that_was_given_back_its_time_is_decoded_anew(tmp_path: Path) -> None:
    root = pinned_tree(tmp_path / "tree", 10)
    load(root)
    time.sleep(0.02)  # the clock of a file system is coarse
    assert load(pinned_tree(root, 200)).train.images.unique().tolist() == [200]


def test_another_way_to_decode_is_another_entry(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(tree)
    monkeypatch.setattr(folder, "DECODING_VERSION", folder.DECODING_VERSION + 1)
    load(tree)
    assert len(list((tree.parent / "cache" / "images").iterdir())) == 2


def test_a_moved_tree_is_the_same_tree(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(tree)
    moved = tree.rename(tree.with_name("moved"))
    monkeypatch.setattr(folder, "_read_image", lambda *_: pytest.fail("decoded again"))
    load(moved)


@pytest.mark.parametrize("damage", [b"", b"not safetensors at all, but rather longer than a header"])
def test_a_damaged_cache_entry_is_made_again(tree: Path, damage: bytes) -> None:
    first = load(tree)
    [entry] = (tree.parent / "cache" / "images").iterdir()
    whole = entry.read_bytes()
    for content in (damage, whole[: len(whole) // 2]):
        entry.write_bytes(content)
        assert torch.equal(load(tree).train.images, first.train.images)
    assert entry.read_bytes() == whole


def test_nothing_is_left_beside_the_cache_entry(tree: Path) -> None:
    load(tree)
    assert [path.suffix for path in (tree.parent / "cache" / "images").iterdir()] == [".safetensors"]


def test_a_cache_that_cannot_be_written_is_one_sentence(tree: Path) -> None:
    blocked = tree.parent / "a file"
    blocked.write_text("in the way")
    with pytest.raises(
        DataError, match=r"decoded images cannot be kept in .*a file.*; make room or choose another cache"
    ):
        load(tree, cache=blocked)


def test_progress_reaches_the_number_of_images(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "CHUNK", 2)
    calls: list[tuple[str, int, int]] = []
    load(tree, progress=lambda *call: calls.append(call))
    assert calls == [("decoding train", done, 6) for done in (2, 4, 6)] + [("decoding test", 2, 2)]


def refused(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(root)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert "nowhere does not exist; name one that is there" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_missing_part_is_named(tree: Path, part: str) -> None:
    (tree / part).rename(tree / "elsewhere")
    assert f"has no folder {part}/" in refused(tree)


def test_a_tree_without_images_says_what_is_expected(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / part / "ant").mkdir(parents=True)
    assert "no images in" in refused(tmp_path)
    assert "train/<class>/*.jpg" in refused(tmp_path)


def test_an_empty_class_is_named(tree: Path) -> None:
    (tree / "train" / "wasp").mkdir()
    assert "wasp has no images; fill it or remove it" in refused(tree)


@pytest.mark.parametrize("place", ["train", "train/ant", "train/ant/deeper"])
def test_a_folder_that_this_user_may_not_read_is_named(tree: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the file's mode: the superuser may read everything."""
    (tree / place).mkdir(exist_ok=True)
    scan = os.scandir

    def refuse(path: str | Path) -> object:
        if Path(path) == tree / place:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(os, "listdir", lambda path: [entry.name for entry in refuse(path)])
    with pytest.raises(DataError, match=f"cannot be read: .*{place}.*; let this user read it"):
        list_part(tree, "train")


def test_one_class_is_refused(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_image(tmp_path / part / "ant" / "0.png", 0)
    assert "has only one class, 'ant'" in refused(tmp_path)


def test_classes_of_one_part_only_are_named(tree: Path) -> None:
    write_image(tree / "test" / "wasp" / "0.png", 0)
    assert "different classes: wasp only in one of them" in refused(tree)


def test_an_unreadable_image_is_named(tree: Path) -> None:
    (tree / "train" / "bee" / "1.png").write_bytes(b"GIF, perhaps")
    assert str(tree / "train" / "bee" / "1.png") in refused(tree)
    assert "repair or remove it" in refused(tree)


def test_a_truncated_image_is_named(tree: Path) -> None:
    whole = (tree / "test" / "bee" / "one.JPG").read_bytes()
    (tree / "test" / "bee" / "one.JPG").write_bytes(whole[: len(whole) - 100])
    assert f"{tree / 'test' / 'bee' / 'one.JPG'} cannot be read" in refused(tree)


def test_a_dangling_link_is_named(tree: Path) -> None:
    (tree / "train" / "bee" / "link.png").symlink_to(tree / "gone.png")
    assert "link.png cannot be read" in refused(tree)


@pytest.mark.parametrize(("size", "mode"), [((1, 30), "RGB"), ((30, 1), "L"), ((30, 30), "I;16")])
def test_an_odd_image_is_named(tree: Path, size: tuple[int, int], mode: str) -> None:
    write_image(tree / "train" / "bee" / "odd.png", 0, size=size, mode=mode)
    assert f"odd.png is {size[0]}x{size[1]} pixels of type {mode}" in refused(tree)


def test_a_defender_s_own_images_are_read_as_a_data_set_is_and_need_no_test_part(tree: Path) -> None:
    whole, cache = load(tree), tree.parent / "cache"
    owned = load_owned(tree, cache_dir=cache, image_size=8)
    assert owned.class_names == whole.class_names
    for mine, other in ((owned.train, whole.train), (owned.test, whole.test)):
        assert mine is not None
        assert torch.equal(mine.images, other.images)
        assert torch.equal(mine.labels, other.labels)
    (tree / "test").rename(tree / "elsewhere")
    alone = load_owned(tree, cache_dir=cache, image_size=8)
    assert alone.test is None
    assert torch.equal(alone.train.images, whole.train.images)


def test_a_defender_s_own_images_have_the_same_classes_in_both_parts(tree: Path) -> None:
    (tree / "test" / "ant").rename(tree / "test" / "fly")
    with pytest.raises(DataError, match="different classes: ant, fly only in one of them"):
        load_owned(tree, cache_dir=tree.parent / "cache", image_size=8)


NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def write_classes(root: Path, names: list[str], parts: tuple[str, ...] = ("train", "test")) -> Path:
    """One image a class and part, its grey the place of its class in `names`."""
    for part in parts:
        for place, name in enumerate(names):
            write_image(root / part / name / "0.png", (place, place, place))
    return root


@pytest.mark.parametrize(
    "names",
    [
        [str(number) for number in range(12)],
        [f"{number:05d}" for number in range(12)],
        ["B", "a10", "a2", "b"],
        ["1", "10", "2", "a"],
        ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    ],
    ids=["numbers", "padded numbers", "text", "numbers and text", "short names of CIFAR-10"],
)
def test_a_study_and_a_defender_number_the_same_folders_alike(names: list[str], tmp_path: Path) -> None:
    root = write_classes(tmp_path / "tree", names)
    study = load(root)
    owned = load_owned(root, cache_dir=tmp_path / "cache", image_size=8)
    assert study.class_names == owned.class_names == tuple(names)
    for part in (study.train, study.test, owned.train, owned.test):
        assert part is not None
        assert torch.equal(part.images[:, 0, 0, 0].long(), part.labels)


def test_two_folders_of_the_same_number_are_refused(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "tree", ["0", "1", "01"])
    assert "the class folders 01 and 1 in" in refused(root)
    assert "are the same number; merge them, or rename one" in refused(root)


def test_class_folders_match_in_either_form_of_unicode(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "tree", [NFD, "tea"], ("train",))
    write_classes(root, [NFC, "tea"], ("test",))
    dataset = load(root)
    assert dataset.class_names == (NFC, "tea")
    assert dataset.train.labels.tolist() == dataset.test.labels.tolist() == [0, 1]


def test_two_folders_of_one_name_in_two_forms_of_unicode_are_refused(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "tree", [NFC, NFD])
    assert r"'cafe\u0301' and 'caf\xe9'" in refused(root)
    assert "the same name in two forms of Unicode; merge them, or rename one" in refused(root)


@pytest.mark.parametrize("suffix", ["jfif", "JPE", "gif", "jp2", "tga", "dib", "webp"])
def test_other_suffixes_of_still_images_are_read(suffix: str, tree: Path) -> None:
    path = tree / "train" / "ant" / f"more.{suffix}"
    Image.new("RGB", (40, 30), COLOURS["ant"]).save(path, format="JPEG" if suffix in ("jfif", "JPE") else None)
    dataset = load(tree)
    assert dataset.train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert (dataset.train.images[3, :, 4, 4].int() - torch.tensor(COLOURS["ant"])).abs().max() <= 8
    assert "skipped" not in " ".join(dataset.remarks)


def test_films_documents_and_depths_are_no_images() -> None:
    assert not {".mpg", ".pdf", ".eps", ".h5", ".pfm", ".wmf"} & image_suffixes()


def test_the_first_frame_of_an_animation_counts(tree: Path) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ((200, 0, 0), (0, 0, 200))]
    frames[0].save(tree / "train" / "ant" / "0.gif", save_all=True, append_images=frames[1:])
    assert load(tree).train.images[0, :, 4, 4].tolist() == [200, 0, 0]


SIDECARS = ("@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", ".AppleDouble")


@pytest.mark.parametrize("sidecar", SIDECARS)
def test_what_systems_leave_is_neither_class_nor_image_and_is_said_in_one_line(sidecar: str, tree: Path) -> None:
    write_image(tree / "train" / "ant" / sidecar / "0.png" / "thumbnail.jpg", 0)
    write_image(tree / "train" / sidecar / "0.png", 0)
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._1.png"):
        (tree / "test" / "bee" / name).write_bytes(b"left by a system")
    dataset = load(tree)
    assert dataset.class_names == ("ant", "bee")
    assert len(dataset.train) == 6
    assert dataset.remarks[0] == f"skipped files: 2 of the system, 2 hidden; left out folders: 2 {sidecar}"


def test_files_that_are_no_images_are_counted_by_their_suffix(tree: Path) -> None:
    for index in range(5):
        (tree / "train" / "ant" / f"{index}.HEIC").write_bytes(b"cannot be read")
    (tree / "train" / "bee" / "README").write_text("no suffix")
    write_image(tree / "train" / "stray.png", 0)
    owned = load_owned(tree, cache_dir=tree.parent / "cache", image_size=8)
    assert owned.remarks[0] == load(tree).remarks[0]
    assert owned.remarks[0] == (
        "skipped files: 5 .heic, 1 outside of class folders, 1 without a suffix;"
        " fewer than half of the files are images in train/ant (3 of 8)"
    )


def test_a_class_without_images_says_what_it_has_instead(tree: Path) -> None:
    for file in (tree / "test" / "bee").iterdir():
        file.rename(file.with_suffix(".heic"))
    assert "bee has no images but other files (1 .heic); convert them or remove it" in refused(tree)


@pytest.mark.parametrize("suffix", ["jpg", "tiff", "png", "webp"])
@pytest.mark.parametrize(("orientation", "corner"), [(3, (1, 1)), (6, (0, 1)), (8, (1, 0))])
def test_images_are_upright_in_every_format(suffix: str, orientation: int, corner: tuple[int, int], tree: Path) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32, :32] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tree / "train" / "ant" / "0.png").unlink()
    Image.fromarray(pixels).save(tree / "train" / "ant" / f"0.{suffix}", exif=exif, quality=95)
    image = load(tree).train.images[0, 0].float()
    quarters = {(row, column): image[4 * row :, 4 * column :][:4, :4].mean() for row in (0, 1) for column in (0, 1)}
    assert max(quarters, key=lambda place: quarters[place]) == corner


def test_damaged_exif_leaves_the_pixels_as_they_are(tree: Path) -> None:
    Image.new("RGB", (20, 20), (10, 90, 200)).save(tree / "train" / "ant" / "0.png", exif=b"Exif\0\0no TIFF at all")
    assert load(tree).train.images[0, :, 4, 4].tolist() == [10, 90, 200]


def test_an_image_of_both_parts_is_said_with_an_example(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "tree", ["ant", "bee"], ("train",))
    for index, name in enumerate(("ant", "bee")):
        write_image(root / "test" / name / "1.bmp", (index * 201,) * 3)
    dataset = load(root)
    assert dataset.remarks == (
        "the same image twice, by its pixels at 8x8: 1 of 2 test images are training images too"
        f" ({Path('test/ant/1.bmp')} is {Path('train/ant/0.png')})",
    )
    assert load_owned(root, cache_dir=tmp_path / "cache", image_size=8).remarks == dataset.remarks


def test_a_training_image_that_repeats_another_is_said(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "tree", ["ant", "bee"], ("train",))
    write_image(root / "train" / "bee" / "1.png", (1, 1, 1))
    owned = load_owned(root, cache_dir=tmp_path / "cache", image_size=8)
    assert owned.remarks[0].endswith(
        f": 1 of 3 training images repeat another ({Path('train/bee/1.png')} is {Path('train/bee/0.png')})"
    )


def test_a_tree_with_nothing_odd_is_not_remarked_on(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "tree", ["ant", "bee"], ("train",))
    for index, name in enumerate(("ant", "bee")):
        write_image(root / "test" / name / "0.png", (index + 100,) * 3)
    assert load(root).remarks == ()


def test_all_damaged_images_are_counted_in_one_run(tree: Path) -> None:
    for name in ("0.png", "1.png", "2.png"):
        (tree / "train" / "ant" / name).write_bytes(b"damaged")
    (tree / "test" / "bee" / "one.JPG").write_bytes(b"damaged")
    text = refused(tree)
    assert text.startswith("4 images cannot be used: ")
    assert text.endswith("; and 1 more; repair or remove them")
    assert all(str(tree / place) in text for place in ("test/bee/one.JPG", "train/ant/0.png", "train/ant/1.png"))
