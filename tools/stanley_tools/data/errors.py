"""Says what went wrong, and what was left out, in sentences that any terminal can show."""
import re


class InputError(Exception):
    """A file that can't be read or written; the message is the sentence that the user sees."""


class UsageError(Exception):
    """A command line that asks for something that can't be."""


def utf8(name):
    """Writes a file's name as valid UTF-8, with \\xe9 for a byte that isn't."""
    return re.sub("[\ud800-\udfff]", lambda odd: f"\\x{ord(odd[0]) & 0xff:02x}", str(name))


def shown(name):
    """Writes any name so that it stays on one line: control characters and odd bytes escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in utf8(name))


def some(names, count=None, limit=3):
    """Lists the first names of many: "a.txt, b.txt, c.txt, ..."."""
    listed = [shown(name) for name in names[:limit]]
    return ", ".join(listed + ["..."] * ((count or len(names)) > limit))


def counted(count, noun):
    """Writes a number with its noun: 1 picture, 3,000 pictures, 2 classes."""
    plural = noun + ("es" if noun.endswith("ss") else "s")
    return f"{count:,} {noun if count == 1 else plural}"


SAID = []  # for the provenance of the file that is made


def say(sentence):
    """Tells on stdout what the user should know of how the images were read."""
    SAID.append(sentence)
    print(sentence, flush=True)


def said():
    """All that was told so far, for the file's provenance."""
    return [utf8(sentence) for sentence in SAID]


def first_line(error):
    """The first line of an error's own words, without its path where the system gave a reason."""
    system = re.search(r"error message = '([^']*)'", str(error))  # as HDF5 hands it on
    if system:
        return system[1]
    if isinstance(error, OSError) and error.strerror:
        return shown(error.strerror)
    return shown((str(error).splitlines() or [type(error).__name__])[0].rstrip("."))
