"""Reads the documents: their code blocks, commands, tables and links."""
import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = ("README.md", "configs/README.md", "jobs/README.md", "tools/README.md", "tests/README.md", "src/README.md",
         "tests/kept/README.md", ".readme/CHANGELOG.md")
DOCUMENTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in NAMES}


def blocks(language, *names):
    """The code blocks in this language ("" for those without one) of these documents, or of all."""
    found, block = [], None
    for line in "\n".join(DOCUMENTS[name] for name in names or NAMES).splitlines():
        if not line.startswith("```"):
            if block is not None:
                block[1].append(line)
        elif block is None:
            block = (line[3:].strip(), [])
        else:
            found, block = [*found, block], None
    return ["\n".join(lines) for name, lines in found if name == language]


def without_output(text):
    """A document without the blocks that show what a program printed or takes: they have no language."""
    return re.sub(r"^```(\w*)\n.*?^```$", lambda block: block[0] if block[1] else "", text,
                  flags=re.DOTALL | re.MULTILINE)


def commands(*names):
    """The words of each command in a `sh` block of these documents, or of all."""
    lines = "\n".join(blocks("sh", *names)).replace("\\\n", " ").splitlines()
    words = [shlex.split(part, comments=True) for line in lines for part in line.split(" && ")]
    # STANLEY_PROGRAM=... and the Python of a test come before what is run.
    return [[*without_variables(one)] for one in words if one]


def without_variables(words):
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def quoted_commands():
    """The words of each command with an option that stands within a line of text."""
    prose = [re.sub(r"```.*?```", "", text, flags=re.DOTALL) for text in DOCUMENTS.values()]
    spans = [" ".join(span.split()) for text in prose for span in re.findall(r"`([^`]+)`", text)]
    return [shlex.split(span) for span in spans if re.match(r"(stanley|tools/|jobs/|tests/)\S* .*--", span)]


def rows(name, heading):
    """The cells of the table below a heading row such as "| key | default | meaning |"."""
    lines = DOCUMENTS[name].splitlines()
    found = []
    for line in lines[lines.index(heading) + 2:]:
        if not line.startswith("|"):
            return found
        found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


def first_words(name, heading):
    """What stands in code in the first cells of a table."""
    return [word for row in rows(name, heading) for word in re.findall(r"`([^`]+)`", row[0])]


def links():
    """(document, target) of each link to another file."""
    return [(name, target) for name, text in DOCUMENTS.items()
            for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]


def named_files():
    """(document, path) of each file of the repository that is named in code within a line of text."""
    pattern = r"`((?:[\w.-]+/)*[\w-]+\.(?:sh|bash|sbatch|def|py|yaml|cpp|hpp|c))(?: [^`]*)?`"
    return [(name, path) for name, text in DOCUMENTS.items() if name != ".readme/CHANGELOG.md"
            for path in re.findall(pattern, text)]
