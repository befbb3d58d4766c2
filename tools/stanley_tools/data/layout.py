"""Finds the splits and classes in a tree of folders; what could be read in two ways is refused, not guessed."""
from .errors import InputError, say, shown, some
from .splits import SPLITS, in_order

IMAGE_FOLDERS = {"images", "image", "img", "imgs", "pictures"}
ANNOTATIONS = "val_annotations.txt"  # tiny-imagenet: picture, class and box, one line each


def arrange(tree, options):
    """{split: {class name or None: [paths]}} of a walked source, {} where it holds no pictures."""
    root = tree.root
    if not root.holds_pictures():
        return {}
    if options.layout == "flat":
        return {name: {None: part.all_pictures()} for name, part in flat_parts(root).items()}
    if by_splits(root, options.layout):
        parts = split_folders(tree, options)
    else:
        parts = {"train": root}
    if options.layout == "auto":
        refuse_deeper_splits(root, parts)
    parts = {name: unwrapped(part, options.layout) for name, part in parts.items()}
    check_empty_classes(parts, tree, options)
    content = {name: classes_in(part) for name, part in parts.items()}
    return with_annotations(content, tree, parts)


def is_split(folder):
    return folder.name.lower() in SPLITS


def holding(folder):
    """The folders directly in one that hold pictures at any depth."""
    return [f for f in folder.folders if f.holds_pictures()]


def names_of(folders):
    return some([f.name for f in folders], limit=6)


# --- splits ---------------------------------------------------------------------------------------------
def by_splits(root, layout):
    """Whether the folders directly in a source are its splits, or else its classes."""
    splits = [f for f in holding(root) if is_split(f)]
    others = [f for f in holding(root) if not is_split(f)]
    if layout == "splits" and not splits:
        raise InputError(f"{shown(root.path)} holds no split folders with pictures (train, test, val, ...): "
                         "use another --layout.")
    if layout == "classes" and not holding(root):
        raise InputError(f"{shown(root.path)} holds no class folders with pictures: use --layout flat.")
    if layout == "auto" and splits and others:
        raise InputError(f"{shown(root.path)} holds folders called as splits ({names_of(splits)}) beside others "
                         f"({names_of(others)}): use --layout classes if each is a class, or --layout splits to "
                         "leave the others out.")
    return layout == "splits" or layout == "auto" and bool(splits)


def split_folders(tree, options):
    """{split: folder}, train first; tells which pictures are in none."""
    root = tree.root
    for path in root.pictures:
        tree.left_out.add("beside", tree.relative(path))
    found = {}
    for folder in root.folders:
        pictures = len(folder.all_pictures())
        if not is_split(folder):
            tree.left_out.add("no split", tree.relative(folder.path), pictures)
        elif pictures == 0:
            leave_out_empty(folder, tree, options)
        else:
            add_split(found, folder)
    return {name: found[name] for name in in_order(found)}


def add_split(found, folder):
    name = SPLITS[folder.name.lower()]
    if name in found:
        raise InputError(f"{shown(found[name].path)} and {shown(folder.path)} are both the {name} split: "
                         "rename or move one of them.")
    found[name] = folder


def flat_parts(root):
    """The splits of a source whose classes don't matter: its split folders if there is nothing else."""
    held = holding(root)
    if root.pictures or not all(is_split(f) for f in held):
        return {"train": root}
    found = {}
    for folder in held:
        add_split(found, folder)
    return {name: found[name] for name in in_order(found)}


def refuse_deeper_splits(root, parts):
    """Complains of folders called as splits where classes are expected."""
    for part in parts.values():
        for parent in [part, *part.below()]:
            for folder in holding(parent):
                if is_split(folder):
                    refuse_deeper_split(root, part, parent, folder)


def refuse_deeper_split(root, part, parent, folder):
    instead = "--layout classes to take it as a part of its class" if part is root else \
        "--layout splits to take it as a class or a part of one"
    raise InputError(f"{shown(folder.path)} is called as a split, but lies deeper than the splits of a source do: "
                     f"give {shown(parent.path)} as SOURCE if its folders are the splits, or use {instead}.")


# --- classes --------------------------------------------------------------------------------------------
def unwrapped(part, layout):
    """The folder of a split, or the folder `images` that holds all its pictures."""
    held = holding(part)
    if layout != "classes" and len(held) == 1 and not part.pictures and held[0].name.lower() in IMAGE_FOLDERS:
        held[0].files = part.files + held[0].files  # with them val_annotations.txt
        return held[0]
    return part


def classes_in(part):
    """{class name or None: [paths]} of one split; classes are its direct folders."""
    held = holding(part)
    if held and part.pictures:
        raise InputError(f"{shown(part.path)} holds both pictures and folders of pictures: "
                         f"{shown(part.pictures[0])} has no class; move it, or use --layout flat to take all "
                         "pictures without classes.")
    return {f.name: f.all_pictures() for f in held} or {None: part.pictures}


def check_empty_classes(parts, tree, options):
    """Complains of class folders without pictures, unless another split has pictures of that class."""
    held = {f.name for part in parts.values() for f in holding(part)}
    for split, part in parts.items():
        if not holding(part):
            continue
        for folder in part.folders:
            if folder.holds_pictures():
                continue
            if folder.name in held:
                say(f"{shown(folder.path)} holds no pictures: the {split} split has none of that class")
            else:
                leave_out_empty(folder, tree, options)


def leave_out_empty(folder, tree, options):
    if not options.skip_empty:
        held = some([tree.relative(path) for f in [folder, *folder.below()] for path in f.files])
        but = f", but {held}" if held else ""
        raise InputError(f"{shown(folder.path)} holds no pictures that can be read{but}: remove it, or use "
                         "--skip-empty to leave it out.")
    tree.left_out.add("empty", tree.relative(folder.path))


# --- tiny-imagenet --------------------------------------------------------------------------------------
def with_annotations(content, tree, parts):
    """The content with the classes that val_annotations.txt gives to a split without class folders."""
    return {split: annotated(classes, tree, parts[split]) if None in classes else classes
            for split, classes in content.items()}


def annotated(classes, tree, part):
    listed = [path for path in part.files if path.endswith("/" + ANNOTATIONS)]
    if not listed:
        return classes
    class_of = read_annotations(listed[0])
    result = {}
    for path in classes[None]:
        name = path.rsplit("/", 1)[1]
        if name not in class_of:
            raise InputError(f"{shown(listed[0])} gives no class to {shown(path)}: add a line for it, or use "
                             "--layout flat.")
        result.setdefault(class_of.pop(name), []).append(path)
    for name in class_of:
        tree.left_out.add("unlisted", name)
    return {name: result[name] for name in sorted(result)}


def read_annotations(path):
    """{picture: class} of lines "picture<tab>class<tab>box"."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            rows = [line.rstrip("\n").split("\t") for line in file if line.strip()]
    except OSError as error:
        raise InputError(f"{shown(path)} can't be read: {error.strerror}.")
    if any(len(row) < 2 for row in rows):
        raise InputError(f"{shown(path)} has a line without a class: expected PICTURE, a tab, CLASS on each.")
    return {row[0]: row[1] for row in rows}
