"""Reads pictures in folders: looks at all of them once, then hands them over as samples with labels."""
import numpy as np

from .broken import refuse_vanished
from .errors import counted, say, shown, utf8
from .formats import kind_of
from .layout import arrange
from .pictures import BrokenPicture, PictureReader, look
from .progress import Progress
from .splits import Source, Split


def find_pictures(tree):
    """Tells the pictures of a tree from its other files."""
    for folder in [tree.root, *tree.root.below()]:
        folder.pictures = [path for path in folder.files if is_picture(path, tree)]


def is_picture(path, tree):
    kind = kind_of(path)
    if kind != "picture":
        tree.left_out.add(kind, tree.relative(path))
    return kind == "picture"


def folder_source(tree, options):
    """The splits of a tree of pictures, or None where it holds none."""
    content = arrange(tree, options)
    if not content:
        return None
    paths = [path for classes in content.values() for paths in classes.values() for path in paths]
    looks, broken = look_at_all(paths, options)
    count_frames(looks, tree, options)
    channels = channels_of(looks, options)
    classes = class_names(content)
    reader = PictureReader(channels, options)
    splits = [split_of_pictures(name, content[name], classes, looks, reader) for name in content]
    source = Source(splits, classes and [utf8(name) for name in classes], broken, len(paths))
    if broken and options.skip_broken:
        refuse_vanished(source, {s.name: np.arange(s.count) for s in splits}, set(range(len(classes or []))))
    return source


def look_at_all(paths, options):
    """{path: what its headers say}, and the pictures whose headers can't be read."""
    looks, broken = {}, []
    progress = Progress(len(paths), "pictures looked at")
    for path in paths:
        try:
            looks[path] = look(path, options.frames == "first")
        except BrokenPicture as error:
            broken.append(error)
        progress.advance(1)
    return looks, broken


def count_frames(looks, tree, options):
    """Counts what files hold beside the frames that become samples, and leaves it out."""
    for path, seen in looks.items():
        tree.left_out.add("further", tree.relative(path), seen.further)
        if options.frames == "first":
            tree.left_out.add("frames", tree.relative(path), len(seen.frames) - 1)
            seen.frames = seen.frames[:1]
    many = [seen for seen in looks.values() if len(seen.frames) > 1]
    if many:
        say(f"{counted(len(many), 'file')} of several frames or pages: each of their "
            f"{sum(len(seen.frames) for seen in many):,} is an image (--frames first takes one of each file)")


def channels_of(looks, options):
    """1 or 3: colour where any picture has any, whatever comes first."""
    tinted = not options.composing.is_grey
    grey = sum(not (seen.coloured or seen.transparent and tinted) for seen in looks.values())
    if options.grayscale or grey == len(looks):
        return 1
    if grey:
        say(f"{grey:,} of {counted(len(looks), 'picture')} {'is' if grey == 1 else 'are'} grey: repeated in all "
            "three channels (--grayscale makes all of them grey)")
    return 3


def class_names(content):
    """The classes of all splits in order, or None; tells which splits have none."""
    classes = sorted({name for split in content.values() for name in split if name is not None})
    for split, folders in content.items():
        if classes and None in folders:
            say(f"the {split} split has no class folders, so it gets no labels")
    return classes or None


def split_of_pictures(name, folders, classes, looks, reader):
    """One split: a sample for each frame, in the order of classes, files and frames."""
    samples, labels = [], []
    for class_name, paths in folders.items():
        before = len(samples)
        samples += [(path, frame) for path in paths if path in looks for frame in looks[path].frames]
        labels += [None if class_name is None else classes.index(class_name)] * (len(samples) - before)
    described = [f"{utf8(c)} ({counted(len(p), 'file')})" if c else counted(len(p), "file")
                 for c, p in folders.items()]

    def read(index):
        path, frame = samples[index]
        return reader.read(path, frame), shown(path) + (f" (frame {frame})" if frame else "")

    return Split(name, None if None in folders else np.array(labels, np.int64), len(samples), read, described)
