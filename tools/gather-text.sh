#!/bin/sh
# Gathers real text that every Debian machine has: licence texts, Perl's and Python's documentation, and what
# packages say about themselves under /usr/share/doc. Writes one UTF-8 file, the same on every run.
#
#   tools/gather-text.sh OUT [MEGABYTES]     (default: at most 6)
#
# Files and paragraphs that repeat (licence texts stand in hundreds of copyright files) are taken once. Of each kind
# files are taken in the order of a hash of their names, and the whole is ordered so too: a held-out end then has the
# same mixture as the rest.
set -eu
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
exec python3 - "$@" <<'PYTHON'
import ast, gzip, hashlib, os, re, sys

LEAST = 200_000
LARGEST = 1_000_000  # bytes read of one file
# Kind of text: folders, names wanted, and the share of the limit that it may take.
KINDS = [
    ("licences", ["/usr/share/common-licenses"], re.compile(r".*"), 1.0),
    ("documentation of Perl", ["/usr/share/perl", "/usr/share/perl5", "/usr/lib/x86_64-linux-gnu/perl-base"],
     re.compile(r".*\.(pod|pm)$"), 0.35),
    ("documentation of Python", ["/usr/lib/python3.%d/pydoc_data" % minor for minor in range(20)],
     re.compile(r"topics\.py$"), 0.25),
    ("documentation of packages", ["/usr/share/doc"],
     re.compile(r"(readme|news|faq|todo|authors|contributing|.*\.(txt|md|rst))[^/]*$", re.I), 0.5),
    ("copyright files", ["/usr/share/doc"], re.compile(r"copyright$"), 0.5),
    ("change logs", ["/usr/share/doc"], re.compile(r"changelog[^/]*$", re.I), 0.25),
]


def order(path):
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()


def files(folders, wanted):
    found = set()
    for top in folders:
        for folder, _, names in os.walk(top):
            for name in names:
                path = os.path.join(folder, name)
                if wanted.match(name) and os.path.isfile(path) and not os.path.islink(path):
                    found.add(path)
    return sorted(found, key=order)


def read(path):
    """The text of a file; "" when it is not plain UTF-8 text."""
    try:
        with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
            data = file.read(LARGEST)
        if len(data) == LARGEST:
            data = data[:data.rfind(b"\n") + 1]
        text = data.decode("utf-8").replace("\r\n", "\n").replace("\f", "\n")
    except (OSError, EOFError, UnicodeDecodeError, gzip.zlib.error):
        return ""
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f\ufeff]", text) or text.startswith(("<!DOCTYPE", "<html", "<?xml")):
        return ""
    if path.endswith(".pm"):  # only what is written for people
        text = "\n".join(re.findall(r"^=(?:pod|head1|encoding)\b.*?(?:^=cut\b|\Z)", text, re.M | re.S))
    if path.endswith((".pm", ".pod")):
        text = without_markup(text)
    if path.endswith("topics.py"):
        try:
            text = "\n\n".join(ast.literal_eval(text[text.index("{"):text.rindex("}") + 1]).values())
        except (ValueError, SyntaxError):
            return ""
    return text


def without_markup(text):
    """Perl's Pod as plain text: C<open> is open, =head1 NAME is NAME."""
    text = re.sub(r"^=(?:over|back|cut|pod|encoding|begin|end|for)\b.*\n?", "", text, flags=re.M)
    text = re.sub(r"^=head\d[ \t]+", "", re.sub(r"^=item[ \t]*\*?[ \t]*", "* ", text, flags=re.M), flags=re.M)
    text = re.sub(r"\b[A-Z]<<+ (.*?) >>+", r"\1", text).replace("E<lt>", "\x01").replace("E<gt>", "\x02")
    for _ in range(3):  # codes may stand in codes
        text = re.sub(r"\bL<([^<>|]*)\|[^<>]*>", r"\1", text)
        text = re.sub(r"\b[A-Z]<([^<>]*)>", r"\1", text)
    return text.replace("\x01", "<").replace("\x02", ">")


def fresh(text, seen):
    """Without the paragraphs that came before and without tables and lists of hashes, numbers and addresses; short
    paragraphs (headings) may repeat."""
    kept = []
    for paragraph in re.sub(r"\n[ \t]+\n", "\n\n", text).split("\n\n"):
        key = " ".join(re.findall(r"[^\W\d_]+", paragraph)).lower()
        if len(key) > 60:
            if len(key) < 0.75 * len(" ".join(paragraph.split())):
                continue
            digest = hashlib.sha256(key.encode()).digest()[:12]
            if digest in seen:
                continue
            seen.add(digest)
        if paragraph.strip():
            kept.append(paragraph.strip("\n").rstrip())
    return "\n\n".join(kept)


def gather(limit):
    seen, texts, total, report = set(), {}, 0, []
    for kind, folders, wanted, share in KINDS:
        count = size = 0
        for path in files(folders, wanted):
            if path in texts:
                continue
            if size > 0.98 * share * limit or total + size > 0.99 * limit:
                break
            text = fresh(read(path), seen)
            length = len(text.encode())
            if length < 200:
                continue
            if total + size + length > limit or size + length > share * limit:
                continue
            texts[path] = text
            count += 1
            size += length
        total += size
        report.append((kind, count, size))
    return texts, report


def main():
    out = sys.argv[1]
    try:
        limit = int(float(sys.argv[2]) * 1e6) if len(sys.argv) > 2 else 6_000_000
    except ValueError:
        sys.exit(f"gather-text: {sys.argv[2]} is not a number of megabytes")
    texts, report = gather(limit)
    joined = "\n\n\n".join(texts[path] for path in sorted(texts, key=order)) + "\n"
    size = len(joined.encode())
    if size < min(LEAST, limit // 2):
        sys.exit(f"gather-text: found only {size} bytes of text under /usr/share, expected at least {LEAST}; "
                 "give a text of your own: make run TEXT=file.txt")
    try:
        os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
        with open(out + ".part", "w", encoding="utf-8") as file:
            file.write(joined)
        os.replace(out + ".part", out)
    except OSError as error:
        sys.exit(f"gather-text: {out}: {error.strerror}")
    for kind, count, part in report:
        print(f"gather-text: {part:9,} bytes from {count:5} files: {kind}")
    print(f"gather-text: {size:9,} bytes in {out}")


main()
PYTHON
