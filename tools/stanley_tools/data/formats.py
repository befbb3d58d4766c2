"""Knows which files are pictures: by their suffix, or by how their content begins."""
import os
import re

from PIL import Image, ImageFile

Image.init()
# Pillow opens files of these but decodes none; EPS is a program that Ghostscript would run.
NOT_DECODED = {"MPEG", "EPS"} | {name for name, (opener, _) in Image.OPEN.items()
                                 if isinstance(opener, type) and issubclass(opener, ImageFile.StubImageFile)}
COMMON = ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "JPEG2000", "AVIF"]  # tried first
FORMATS = sorted((name for name in Image.OPEN if name not in NOT_DECODED), key=lambda name: name not in COMMON)
SUFFIXES = {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS} | {".mpo"}
# Pictures and films that users have and that Pillow can't decode; some begin like a TIFF and hold a thumbnail.
UNREADABLE = set(""".3fr .ai .arw .avi .bufr .cr2 .cr3 .czi .dcm .dng .emf .eps .erf .exr .grib .hdr .heic .heif
    .hif .jls .jxl .jxr .kdc .lif .m4v .mkv .mov .mp4 .mpeg .mpg .mrc .nd2 .nef .nii .nrw .oib .orf .pdf .pef .ps
    .raf .raw .rw2 .sr2 .srw .svg .svgz .svs .webm .wdp .wmf .wmv .x3f .xcf""".split())
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*",
              b"\0\0\0\x0cjP  \r\n", b"\xff\x4f\xff\x51")
NETPBM = re.compile(rb"P[1-6]\s+(#[^\n]*\n\s*)*\d+\s+\d+")


def suffix_of(path):
    return os.path.splitext(path)[1].lower()


def kind_of(path):
    """What a file is by its name, or where that says nothing by its content: picture, unreadable or other."""
    suffix = suffix_of(path)
    if suffix in SUFFIXES:
        return "picture"
    if suffix in UNREADABLE:
        return "unreadable"
    if not os.path.exists(path):  # a link to nothing
        return "other" if suffix else "picture"
    try:
        with open(path, "rb") as file:
            begin = file.read(256)
    except OSError:
        return "other"
    return "picture" if is_picture(begin, os.path.getsize(path)) else "other"


def is_picture(begin, size):
    """Whether the first bytes of a file are those of a picture, beyond doubt."""
    if begin.startswith(SIGNATURES):
        return True
    if begin[:4] == b"RIFF" and begin[8:12] == b"WEBP":
        return True
    if begin[4:12] in (b"ftypavif", b"ftypavis"):
        return True
    if begin[:2] == b"BM":
        return int.from_bytes(begin[2:6], "little") == size
    return NETPBM.match(begin) is not None
