"""JSON files that are there as a whole or not at all."""
import json
import os

from .errors import FailedError


def write_json(path, value):
    """Replaces the file at once: whoever dies meanwhile leaves the old one."""
    draft = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(draft, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, ensure_ascii=False, allow_nan=False)
            file.write("\n")
        os.replace(draft, path)
    except OSError as error:
        raise FailedError(f"{path} can't be written: {error.strerror}")


def read_json(path, form, makes):
    """The object, or None where there is no file; `form` is what its key "format" must say."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["format"] != form:
            raise ValueError
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FailedError(f"{path} can't be read: {error.strerror}")
    except (ValueError, KeyError, TypeError):
        raise FailedError(f"{path} is not what {makes} writes: move it away, or give another --output")
    return value
