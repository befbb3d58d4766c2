"""stanley_tools.data: pictures of every format, depth and mode; frames, transparency, orientation, broken files."""
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import GifImagePlugin, Image, ImageOps

from converter import complaint, convert, converted, run


def noise(generator, *shape):
    return Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8))


def pillows(path, mode):
    """What Pillow itself makes of a picture: (channel, height, width)."""
    pixels = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert(mode))
    return pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)


# --- formats: every value is Pillow's -----------------------------------------------------------------
FORMATS = {
    "a.png": {}, "a.jpg": {"quality": 80}, "progressive.jpeg": {"progressive": True}, "a.jfif": {"format": "JPEG"},
    "a.bmp": {}, "a.gif": {}, "a.webp": {}, "lossless.webp": {"lossless": True}, "a.tif": {}, "a.tiff": {},
    "lzw.tif": {"compression": "tiff_lzw"}, "a.ppm": {}, "a.jp2": {}, "a.avif": {}, "a.tga": {}, "a.pcx": {},
    "a.sgi": {}, "a.PNG": {}, "a.jpe": {"format": "JPEG"}, "a.dds": {}}


@pytest.mark.parametrize("name", FORMATS)
def test_colour_of_every_format(source, output, generator, name):
    noise(generator, 11, 13, 3).save(source / name, **FORMATS[name])
    assert np.array_equal(converted(source, output).train.images[0], pillows(source / name, "RGB"))
    grey = converted(source, output, "--grayscale").train.images
    assert np.array_equal(grey[0], pillows(source / name, "L"))


@pytest.mark.parametrize("mode, names", [
    ("L", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.pgm", "a.gif", "a.jp2", "a.tga"]),
    ("1", ["a.png", "a.bmp", "a.pbm", "a.tif"]), ("P", ["a.png", "a.bmp", "a.gif", "a.tif"]),
    ("CMYK", ["a.jpg", "a.tif"]), ("YCbCr", ["a.jpg", "a.tif"])])
def test_every_mode(source, output, generator, mode, names):
    for name in names:
        noise(generator, 11, 13, 3).convert(mode).save(source / name)
        expected = "L" if mode in "L1" else "RGB"
        assert np.array_equal(converted(source, output).train.images[0], pillows(source / name, expected)), name
        grey = converted(source, output, "--grayscale").train.images
        assert np.array_equal(grey[0], pillows(source / name, "L")), name
        (source / name).unlink()


def test_lab(source, output, generator):
    pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.frombytes("LAB", (8, 8), pixels.tobytes()).save(source / "a.tif")
    expected = Image.open(source / "a.tif").convert("RGB")
    assert np.array_equal(converted(source, output).train.images[0], np.asarray(expected).transpose(2, 0, 1))
    grey = converted(source, output, "--grayscale").train.images
    assert np.array_equal(grey[0, 0], np.asarray(expected.convert("L")))


def test_pgm_of_4_bits(source, output):
    (source / "a.pgm").write_bytes(b"P5 4 4 15\n" + bytes(range(16)))
    assert converted(source, output).train.images.ravel().tolist() == [17 * i for i in range(16)]


def test_a_suffix_that_lies_and_none_at_all(source, output, generator):
    for name, format_ in (("a.jpg", "GIF"), ("b", "PNG"), ("c.data", "JPEG"), ("d.mpo", "JPEG"), ("e.0001", "PPM"),
                          ("f.orig", "BMP"), ("g", "WEBP"), ("h", "TIFF"), ("i", "JPEG2000"), ("j", "AVIF")):
        noise(generator, 8, 8, 3).save(source / name, format=format_)
    data = converted(source, output)
    for number, path in enumerate(sorted(source.iterdir())):
        assert np.array_equal(data.train.images[number], pillows(path, "RGB"))
    assert "left out" not in data.said


def test_what_is_left_out_is_told(source, output, generator):
    noise(generator, 8, 8).save(source / "a.png")
    for name in ("Thumbs.db", "desktop.ini", "a.txt", "b.txt", ".DS_Store", "._a.png", "x.heic", "y.SVG", "z.nef"):
        (source / name).write_bytes(b"MM\0*")
    (source / "__MACOSX").mkdir()
    (source / "x.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    os.mkfifo(source / "pipe.png")
    (source / "a.txt").write_bytes(b"P5 is no picture")
    for name in ("Thumbs.db", "b.txt", "desktop.ini"):
        (source / name).write_text("text")
    data = converted(source, output)
    assert len(data.train.images) == 1
    assert "left out: 3 hidden files and folders (.DS_Store, ._a.png, __MACOSX)" in data.said
    assert "left out: 3 files of formats that can't be read here (x.heic, y.SVG, z.nef)" in data.said
    assert "left out: 1 file that is neither a file nor a folder (pipe.png)" in data.said
    assert "left out: 5 files that are no pictures (Thumbs.db, a.txt, b.txt, ...)" in data.said
    assert len(data.provenance["left_out"]) == 4


# --- grey and colour -----------------------------------------------------------------------------------
@pytest.mark.parametrize("names", ["ab", "ba"])
def test_colour_does_not_depend_on_the_order(source, output, generator, names):
    grey, colour = noise(generator, 8, 8), noise(generator, 8, 8, 3)
    grey.save(source / f"{names[0]}.png")
    colour.save(source / f"{names[1]}.png")
    data = converted(source, output)
    stored = dict(zip(sorted(names), data.train.images))
    assert np.array_equal(stored[names[0]], np.repeat(np.asarray(grey)[None], 3, 0))
    assert np.array_equal(stored[names[1]], np.asarray(colour).transpose(2, 0, 1))
    assert "1 of 2 pictures is grey" in data.said


def test_a_grey_palette_is_grey(source, output, generator):
    picture = Image.fromarray(generator.integers(0, 9, (8, 8), dtype=np.uint8), "L").convert("P")
    picture.putpalette([v for i in range(256) for v in [255 - i] * 3])
    picture.save(source / "a.png")
    data = converted(source, output)
    assert data.train.images.shape == (1, 1, 8, 8)
    assert np.array_equal(data.train.images[0], pillows(source / "a.png", "L"))


# --- depth ---------------------------------------------------------------------------------------------
RAMP = (np.arange(64).reshape(8, 8) * 1040).astype(np.uint16)


@pytest.mark.parametrize("name", ["a.png", "little.tif", "big.tif", "a.pgm", "plain.pgm", "a.jp2"])
def test_16_bit_grey_keeps_its_upper_8_bits(source, output, name):
    path = source / name
    if name == "big.tif":
        Image.frombytes("I;16B", (8, 8), RAMP.astype(">u2").tobytes()).save(path)
    elif name == "a.pgm":
        path.write_bytes(b"P5 8 8 65535\n" + RAMP.astype(">u2").tobytes())
    elif name == "plain.pgm":
        path.write_text("P2 8 8 65535\n" + " ".join(map(str, RAMP.ravel())))
    else:
        Image.fromarray(RAMP).save(path)
    data = converted(source, output)
    assert np.array_equal(data.train.images[0, 0], RAMP >> 8) and "upper 8 bits" in data.said
    data = converted(source, output, "--range", "0,65535")
    assert np.array_equal(data.train.images[0, 0], np.rint(RAMP / 257))


def png(width, height, depth, colour, rows, *chunks):
    """A PNG by hand, for what Pillow doesn't write."""
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
            + b"".join(chunk(*c) for c in chunks) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


def test_16_bits_of_grey_and_colour_follow_one_rule(source, output):
    values = np.array([[0, 0x12FF, 0xFF00, 0xFFFF]], ">u2")
    (source / "grey.png").write_bytes(png(4, 1, 16, 0, [values.tobytes()]))
    (source / "rgb.png").write_bytes(png(4, 1, 16, 2, [np.repeat(values, 3).astype(">u2").tobytes()]))
    data = converted(source, output)
    assert data.train.images[0, 0].tolist() == data.train.images[1, 0].tolist() == [[0, 0x12, 0xFF, 0xFF]]


def test_dark_16_bit_pictures(source, output):
    Image.fromarray(RAMP // 1040).save(source / "a.png")  # 0 to 63
    message = complaint(5, source, output)
    assert "--range 0,255" in message and "--range 0,65535" in message
    assert converted(source, output, "--range", "0,255").train.images.max() == 63
    Image.fromarray(RAMP // 16).save(source / "b.png")  # 12 bits
    assert "--range 0,4095" in converted(source, output).said


def test_floats_and_wide_integers_of_tiff(source, output):
    Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save(source / "a.tiff")
    data = converted(source, output)
    assert np.array_equal(data.train.images[0, 0], np.rint(np.linspace(0, 1, 64) * 255).reshape(8, 8))
    Image.fromarray(np.full((8, 8), 7, np.int32)).save(source / "a.tiff")
    assert "32 bits" in complaint(5, source, output)
    assert (converted(source, output, "--range", "0,7").train.images == 255).all()
    Image.fromarray(np.full((8, 8), 1.25, np.float32)).save(source / "a.tiff")
    message = complaint(5, source, output)
    assert "1.25" in message and "a.tiff" in message and "--range" in message
    (source / "a.tiff").unlink()
    (source / "a.pfm").write_bytes(b"Pf 2 1 -1.0\n" + np.array([0.5, 1], "<f4").tobytes())
    assert converted(source, output).train.images.ravel().tolist() == [128, 255]


def test_range_of_8_bit_pictures(source, output):
    Image.fromarray(np.array([[[10, 20, 30]]], np.uint8)).save(source / "a.png")
    Image.fromarray(np.array([[20]], np.uint8)).save(source / "b.png")
    data = converted(source, output, "--range", "10,30")
    assert data.train.images[:, :, 0, 0].tolist() == [[0, 128, 255], [128, 128, 128]]
    assert "the value 30" in complaint(5, source, output, "--range", "10,25")


# --- frames --------------------------------------------------------------------------------------------
def save_frames(path, frames, **options):
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)


@pytest.mark.parametrize("name, options", [
    ("a.gif", {"duration": 40}), ("a.png", {}), ("a.webp", {"lossless": True}), ("a.avif", {"quality": 100}),
    ("a.tif", {}), ("lzw.tif", {"compression": "tiff_lzw"})])
@pytest.mark.parametrize("grey", [True, False])
def test_every_frame_is_an_image(source, output, generator, name, options, grey):
    frames = [noise(generator, 8, 8) if grey else noise(generator, 8, 8, 3) for _ in range(5)]
    save_frames(source / name, frames, **options)
    frames[0].save(source / "z.png")
    data = converted(source, output)
    channels = 1 if grey and name != "a.webp" else 3
    assert data.train.images.shape == (6, channels, 8, 8)
    with Image.open(source / name) as image:
        for frame in range(5):
            image.seek(frame)
            expected = np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(8, 8, channels)
            assert np.array_equal(data.train.images[frame], expected.transpose(2, 0, 1))
    if name != "a.avif" and not (name == "a.gif" and not grey):  # these lose a little
        for frame, stored in zip(frames, data.train.images):
            expected = np.asarray(frame.convert("RGB")).transpose(2, 0, 1)
            assert np.array_equal(expected, np.broadcast_to(stored, (3, 8, 8)))
    assert "1 file of several frames" in data.said
    data = converted(source, output, "--frames", "first")
    assert len(data.train.images) == 2 and "left out: 4 frames after the first" in data.said


@pytest.mark.parametrize("strategy", list(GifImagePlugin.LoadingStrategy))
def test_gif_does_not_depend_on_pillows_strategy(source, output, generator, monkeypatch, strategy):
    monkeypatch.setattr(GifImagePlugin, "LOADING_STRATEGY", strategy)
    frames = [noise(generator, 8, 8) for _ in range(3)]
    save_frames(source / "a.gif", frames)
    images = converted(source, output).train.images
    assert images.shape == (3, 1, 8, 8)
    assert all(np.array_equal(np.asarray(frame), image[0]) for frame, image in zip(frames, images))


def test_limit_spreads_over_frames(source, output, generator):
    save_frames(source / "a.tif", [Image.new("L", (4, 4), i) for i in range(10)])
    assert converted(source, output, "--limit", 5).train.images[:, 0, 0, 0].tolist() == [0, 2, 4, 6, 8]


def test_thumbnails_and_layers_are_left_out(source, output):
    pages = [Image.new("RGB", (8, 8), (i, 0, 0)) for i in range(3)]
    save_frames(source / "a.tif", pages)
    with Image.open(source / "a.tif") as image:
        image.seek(1)
        offset = image.tag_v2._offset  # of the page's directory, to mark it as reduced
    content = bytearray((source / "a.tif").read_bytes())
    save_frames(source / "b.mpo", [Image.new("RGB", (8, 8), (9, 0, 0)), pages[0]], quality=100)
    Image.new("RGB", (64, 64)).save(source / "c.ico", sizes=[(8, 8), (16, 16)])
    entries = struct.unpack_from("<H", content, offset)[0]
    for entry in range(entries):
        place = offset + 2 + 12 * entry
        if struct.unpack_from("<H", content, place)[0] == 259:  # no compression is the default: its entry can go
            struct.pack_into("<HHII", content, place, 254, 4, 1, 1)
    tags = sorted(bytes(content[offset + 2 + 12 * e:offset + 14 + 12 * e]) for e in range(entries))
    tags.sort(key=lambda tag: struct.unpack("<H", tag[:2]))
    content[offset + 2:offset + 2 + 12 * entries] = b"".join(tags)
    (source / "a.tif").write_bytes(content)
    data = converted(source, output, "--size", 8)
    assert len(data.train.images) == 4 and data.train.images[:2, 0, 0, 0].tolist() == [0, 2]
    assert "left out: 3 further pictures inside files" in data.said and "a.tif, b.mpo, c.ico" in data.said


# --- transparency --------------------------------------------------------------------------------------
def hidden(mode, colour, clear):
    """A picture of one colour whose upper half is clear and hides another."""
    picture = Image.new(mode, (4, 4), colour)
    picture.paste(clear, (0, 0, 4, 2))
    return picture


def big_endian(*values):
    return np.array(values, ">u2").tobytes()


def save_palette_key(path, bytes_=False):
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([255, 0, 255, 0, 128, 0] + [0] * 762)
    picture.paste(0, (0, 0, 4, 2))
    picture.save(path, transparency=b"\0" if bytes_ else 0)


TRANSPARENT = {
    "rgba.png": lambda p: hidden("RGBA", (0, 128, 0, 255), (255, 0, 255, 0)).save(p),
    "rgba.webp": lambda p: hidden("RGBA", (0, 128, 0, 255), (255, 0, 255, 0)).save(p, lossless=True, exact=True),
    "rgba.tif": lambda p: hidden("RGBA", (0, 128, 0, 255), (255, 0, 255, 0)).save(p),
    "rgba.tga": lambda p: hidden("RGBA", (0, 128, 0, 255), (255, 0, 255, 0)).save(p),
    "key.png": lambda p: hidden("RGB", (0, 128, 0), (255, 0, 255)).save(p, transparency=(255, 0, 255)),
    "palette.png": save_palette_key, "palette.gif": save_palette_key,
    "palette_bytes.png": lambda p: save_palette_key(p, True),
    "la.png": lambda p: hidden("LA", (40, 255), (255, 0)).save(p),
    "grey_key.png": lambda p: hidden("L", 40, 255).save(p, transparency=255),
    "key16.png": lambda p: p.write_bytes(png(2, 1, 16, 2, [big_endian(0xFF01, 0, 0xFF01, 0, 0x8000, 0)],
                                             (b"tRNS", big_endian(0xFF01, 0, 0xFF01)))),
    "grey16.png": lambda p: p.write_bytes(png(2, 1, 16, 0, [big_endian(0xFF01, 0x2800)],
                                              (b"tRNS", big_endian(0xFF01)))),
    "grey4.png": lambda p: p.write_bytes(png(2, 1, 4, 0, [bytes([0xF2])], (b"tRNS", b"\0\x0f"))),
    "grey2.png": lambda p: p.write_bytes(png(4, 1, 2, 0, [bytes([0b11110101])], (b"tRNS", b"\0\x03"))),
    "bilevel.png": lambda p: p.write_bytes(png(8, 1, 1, 0, [bytes([0b11110000])], (b"tRNS", b"\0\x01"))),
    "la16.png": lambda p: p.write_bytes(png(2, 1, 16, 4, [big_endian(0xFFFF, 0, 0x2800, 0xFFFF)]))}
STAY = {"grey4.png": 0x22, "grey2.png": 85, "bilevel.png": 0}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_hidden_colours_never_become_data(source, output, name):
    TRANSPARENT[name](source / name)
    stays = [STAY.get(name, 40)] if "grey" in name or "la" in name or name in STAY else [0, 128, 0]
    for background, value in (("black", 0), ("white", 255), ("#404040", 64)):
        data = converted(source, output, "--background", background)
        image = data.train.images[0]
        assert len(image) == len(stays)
        assert image[:, 0, 0].tolist() == [value] * len(stays) and image[:, -1, -1].tolist() == stays
        assert f"1 picture with transparent parts: composed on {background}" in data.said
    data = converted(source, output, "--background", "red")
    assert data.train.images[0, :, 0, 0].tolist() == [255, 0, 0]
    data = converted(source, output, "--background", "red", "--grayscale")
    assert data.train.images[0, :, 0, 0].tolist() == [76]


def test_half_transparent_and_opaque(source, output, generator):
    opaque = noise(generator, 8, 8, 3)
    with_alpha = opaque.copy()
    with_alpha.putalpha(255)
    with_alpha.save(source / "a.png")
    data = converted(source, output)
    assert np.array_equal(data.train.images[0], np.asarray(opaque).transpose(2, 0, 1))
    assert "composed" not in data.said
    grey = converted(source, output, "--grayscale").train.images
    assert np.array_equal(grey[0, 0], np.asarray(opaque.convert("L")))
    with_alpha.putalpha(51)
    with_alpha.save(source / "a.png")
    expected = np.rint(np.asarray(opaque, float) * 0.2 + 255 * 0.8).transpose(2, 0, 1)
    assert np.array_equal(converted(source, output, "--background", "white").train.images[0], expected)


def test_an_unused_transparent_palette_entry_changes_nothing(source, output, generator):
    picture = noise(generator, 8, 8, 3).quantize(16)
    picture.putpalette((picture.getpalette() + [0] * 768)[:768])
    picture.save(source / "a.png", transparency=200)
    assert np.array_equal(converted(source, output).train.images[0], pillows(source / "a.png", "RGB"))
    assert np.array_equal(converted(source, output, "--grayscale").train.images[0], pillows(source / "a.png", "L"))


# --- orientation ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_orientation_by_exif(source, output, generator, name):
    picture = noise(generator, 12, 20, 3)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture.save(source / name, exif=exif)
        stored = converted(source, output).train.images[0]
        assert np.array_equal(stored, pillows(source / name, "RGB"))
        assert stored.shape == ((3, 12, 20) if orientation < 5 else (3, 20, 12))


# --- broken pictures -----------------------------------------------------------------------------------
@pytest.fixture
def some_broken(source, generator):
    for name in "ab":
        (source / name).mkdir()
        for i in range(4):
            noise(generator, 32, 32, 3).save(source / name / f"{i}.jpg")
    cut = source / "a" / "1.jpg"  # its header is whole
    cut.write_bytes(cut.read_bytes()[:-400])
    (source / "b" / "0.jpg").write_bytes(b"")
    (source / "b" / "3.jpg").write_text("<html>404</html>")
    (source / "b" / "lost.png").symlink_to(source / "nowhere")
    return source


def test_all_broken_pictures_are_named_at_once(some_broken, output):
    result = run(some_broken, "-o", output)
    assert result.returncode == 5 and not output.exists()
    lines = result.stderr.splitlines()
    assert lines[0] == ("convert_images: 4 of 9 pictures can't be decoded; mend them or leave them out with "
                        "--skip-broken:")
    assert sorted(line.split(" (")[0] for line in lines[1:]) == [
        f"  {some_broken}/{name}" for name in ("a/1.jpg", "b/0.jpg", "b/3.jpg", "b/lost.png")]
    for reason in ("truncated", "it is empty", "no picture that Pillow knows", "a link to nothing"):
        assert reason in result.stderr


def test_skip_broken_leaves_them_out(some_broken, output):
    data = converted(some_broken, output, "--skip-broken")
    kept = ["a/0.jpg", "a/2.jpg", "a/3.jpg", "b/1.jpg", "b/2.jpg"]
    assert data.train.images.shape == (5, 3, 32, 32) and data.train.labels == [0, 0, 0, 1, 1]
    for stored, name in zip(data.train.images, kept):
        assert np.array_equal(stored, pillows(some_broken / name, "RGB"))
    assert data.warned.count("\n") == 5 and "4 of 9 pictures can't be decoded and are left out" in data.warned
    assert len(data.provenance["broken"]) == 4
    assert len(converted(some_broken, output, "--skip-broken", "--limit", 3).train.images) in (2, 3)


def test_skip_broken_leaves_no_class_or_split_empty(some_broken, output):
    for number in (1, 2):
        (some_broken / "b" / f"{number}.jpg").write_bytes(b"broken")
    assert "every picture of the class b is broken" in convert(some_broken, output, "--skip-broken").err
    (some_broken / "b").rename(some_broken / "test")
    (some_broken / "a").rename(some_broken / "train")
    assert "every picture of the test split is broken" in convert(some_broken, output, "--skip-broken").err
    assert not output.exists()


def test_the_file_of_skipped_pictures_has_no_hole(source, output, generator):
    for i in range(200):
        noise(generator, 64, 64).save(source / f"{i:03}.jpg")
    cut = source / "150.jpg"
    cut.write_bytes(cut.read_bytes()[:-400])
    images = converted(source, output, "--skip-broken").train.images
    assert len(images) == 199 and output.stat().st_size < 1.1 * images.nbytes
    kept = [path for path in sorted(source.iterdir()) if path != cut]
    assert all(np.array_equal(stored, pillows(path, "L")) for path, stored in zip(kept, images))


def test_a_broken_frame(source, output, generator):
    save_frames(source / "a.gif", [noise(generator, 16, 16) for _ in range(4)])
    noise(generator, 16, 16).save(source / "b.png")
    content = (source / "a.gif").read_bytes()
    (source / "a.gif").write_bytes(content[:len(content) * 7 // 8])
    assert "a.gif" in complaint(5, source, output)


def test_libraries_write_nothing_to_stderr(source, tmp_path, generator):
    noise(generator, 64, 64, 3).save(source / "a.tif", compression="tiff_lzw")
    content = (source / "a.tif").read_bytes()
    (source / "a.tif").write_bytes(content[:2000] + bytes(500) + content[2500:])
    result = run(source, "-o", tmp_path / "out.h5")
    assert result.returncode == 5 and result.stderr.count("\n") == 1 and "a.tif" in result.stderr


def test_pillows_warnings_stay_away(source, tmp_path, output):
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01"
    Image.new("L", (8, 8)).save(source / "a.jpg", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(source, output)
    assert run(source, "-o", tmp_path / "out.h5").stderr.count("Warning") == 0
