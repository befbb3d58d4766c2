"""Walks a source once: its folders and files through links, a digest of them, and what was left out."""
import os
import stat

import xxhash

from .errors import InputError, UsageError, first_line, say, shown, some

# What can be left out, for one and for many.
REASONS = {
    "hidden": ("hidden file or folder", "hidden files and folders"),
    "special": ("file that is neither a file nor a folder", "files that are neither files nor folders"),
    "loop": ("folder link that leads back to a folder above it",
             "folder links that lead back to a folder above them"),
    "other": ("file that is no picture", "files that are no pictures"),
    "unreadable": ("file of a format that can't be read here", "files of formats that can't be read here"),
    "beside": ("picture beside the split folders", "pictures beside the split folders"),
    "no split": ("picture in a folder that is no split", "pictures in folders that are no splits"),
    "empty": ("folder without pictures", "folders without pictures"),
    "further": ("further picture inside a file (layers, thumbnails, second views)",
                "further pictures inside files (layers, thumbnails, second views)"),
    "frames": ("frame after the first", "frames after the first"),
    "unlisted": ("line of val_annotations.txt without its picture",
                 "lines of val_annotations.txt without their pictures"),
}


class LeftOut:
    """Counts what is no part of the data, by reason, with the first names."""

    def __init__(self):
        self.counts, self.names = {}, {}

    def add(self, reason, name, count=1):
        self.counts[reason] = self.counts.get(reason, 0) + count
        names = self.names.setdefault(reason, [])
        if len(names) < 4 and count:
            names.append(name)

    def sentences(self):
        for reason, count in self.counts.items():
            if count:
                one, many = REASONS[reason]
                yield f"{count:,} {one if count == 1 else many} ({some(self.names[reason])})"

    def tell(self):
        for sentence in self.sentences():
            say(f"left out: {sentence}")


class Folder:
    """A folder with its files (paths) and folders in order; `pictures` are those files that are."""

    def __init__(self, path):
        self.path, self.name = path, os.path.basename(path)
        self.files, self.folders, self.pictures = [], [], []

    def below(self):
        """The folders below this one, at any depth."""
        for folder in self.folders:
            yield folder
            yield from folder.below()

    def all_pictures(self):
        """The pictures of this folder, then of those below it."""
        pictures = list(self.pictures)
        for folder in self.below():
            pictures += folder.pictures
        return pictures

    def holds_pictures(self):
        return bool(self.pictures) or any(folder.holds_pictures() for folder in self.folders)


class Walk:
    """Goes through a source, following links, and leaves the output file out of it."""

    def __init__(self, source, output, output_is_data):
        self.source = source
        self.output, self.output_is_data = output, output_is_data
        self.output_id = identity(output)
        self.output_folder = os.path.realpath(os.path.dirname(output) or ".")
        self.output_name = os.path.basename(output)
        self.digest = xxhash.xxh64()
        self.left_out = LeftOut()

    def folder(self, path, above=()):
        """The Folder at a path; `above` are the identities of the folders that it lies in."""
        folder = Folder(path)
        above = (*above, identity(path))
        try:
            names = sorted(os.listdir(path))
        except OSError as error:
            raise InputError(f"{shown(path)} can't be read: {first_line(error)}.")
        for name in names:
            place = os.path.join(path, name)
            if name.startswith(".") or name == "__MACOSX":
                self.left_out.add("hidden", self.relative(place))
            else:
                self.entry(folder, place, above)
        return folder

    def entry(self, folder, place, above):
        try:
            status = os.stat(place)
        except FileNotFoundError:  # a link to nothing
            status = os.lstat(place)
        except OSError as error:
            raise InputError(f"{shown(place)} can't be read: {first_line(error)}.")
        if stat.S_ISDIR(status.st_mode):
            if (status.st_dev, status.st_ino) in above:
                self.left_out.add("loop", self.relative(place))
            else:
                folder.folders.append(self.folder(place, above))
        elif stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            self.file(folder.files, place, status)
        else:
            self.left_out.add("special", self.relative(place))

    def file(self, files, place, status):
        """Adds a file to a list and to the digest, unless it is the output."""
        name = os.path.basename(place)
        if (status.st_dev, status.st_ino) == self.output_id:
            if not self.output_is_data:
                raise UsageError(f"--output {shown(self.output)} is a file of the source: choose another name.")
            return
        if name.startswith(f"{self.output_name}.part.") and \
                os.path.realpath(os.path.dirname(place)) == self.output_folder:
            return
        files.append(place)
        self.digest.update(f"{self.relative(place)}\0{status.st_size}\0{status.st_mtime_ns}\n"
                           .encode("utf-8", "surrogateescape"))

    def relative(self, place):
        return os.path.relpath(place, self.source)


def identity(path):
    """What tells a file from all others, whatever it is called; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
