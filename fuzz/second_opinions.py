#!/usr/bin/env python3
"""Compares dapple's verdicts on requests and documents with those of other parsers.

    fuzz/second_opinions.py http [FOLDER...]     with h11
    fuzz/second_opinions.py xml [FOLDER...]      with libxml2 (lxml) and expat

The inputs are those of the corpus, those in the FOLDERs, and mutants of both. MUTANTS in the
environment is the number of mutants, and SEED their seed. The script ends with status 1 if the
verdicts on an input differ for a reason that is not listed here. It needs the packages h11 and lxml
of PyPI.
"""

import collections
import ipaddress
import os
import pathlib
import random
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
MUTANTS = int(os.environ.get("MUTANTS", "100000"))
SEED = int(os.environ.get("SEED", "1"))


class Verdicts:
    """The verdicts of dapple, from its example program."""

    def __init__(self, kind):
        flags = os.environ.get("RUSTFLAGS", "") + " --cfg dapple_fuzzing"
        command = ["cargo", "run", "-q", "--release", "--example", "verdicts", "--", kind]
        self.process = subprocess.Popen(
            command, cwd=HERE, env={**os.environ, "RUSTFLAGS": flags},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def of(self, data):
        self.process.stdin.write(data.hex() + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")


def inputs(target, folders):
    """Yields all inputs in order, and then mutants of them."""
    files = sorted(p for folder in [HERE / "corpus" / target, *folders]
                   for p in pathlib.Path(folder).iterdir())
    kept = [p.read_bytes()[:4000] for p in files]
    yield from kept
    rng = random.Random(SEED)
    pieces = [b"\r\n", b"\n", b" ", b"\t", b":", b"\0", b"<", b">", b"&", b";", b"'", b'"', b"=",
              b"\xff", b"\xc3\xa4", b"]]>", b"<!--", b"--", b"<?", b"?>", b"xmlns", b"xml", b"&#9;",
              b"Host: a\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 1\r\n",
              b"HTTP/1.1", b"HTTP/1.0", b",", b"+", b"0", b"\x0b", b"\x7f", b"\xef\xbb\xbf"]
    for _ in range(MUTANTS):
        data = bytearray(rng.choice(kept))
        for _ in range(rng.randint(1, 3)):
            at = rng.randint(0, len(data))
            match rng.randrange(5):
                case 0:
                    data[at:at] = rng.choice(pieces)
                case 1:
                    del data[at:at + rng.randint(1, 8)]
                case 2:
                    data[at:at + 1] = bytes([rng.randrange(256)])
                case 3:
                    other = rng.choice(kept)
                    data[at:] = other[rng.randint(0, len(other)):]
                case 4:
                    data[at:at + rng.randint(0, 8)] = rng.choice(pieces)
        yield bytes(data)


def as_h11_reads(data):
    """Returns a request in a form that h11 accepts.

    Blank lines before the request are removed (RFC 9112, 2.2), and a later 1.x becomes HTTP/1.1
    (RFC 9110, 2.5)."""
    data = re.sub(rb"\A(\r?\n)+", b"", data)
    return re.sub(rb"\A([^\n]* HTTP/1\.)[2-9](?=\r?\n)", rb"\g<1>1", data)


def h11_says(data):
    import h11
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    try:
        connection.receive_data(as_h11_reads(data))
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        return "refused", str(error)
    if event is h11.NEED_DATA:
        return "incomplete", ""
    if isinstance(event, h11.Request):
        return "accepted", event.target.decode("latin-1")
    return "refused", repr(event)


NAME = re.compile(rb"([-\w.~!$&'()*+;=]|%[0-9A-Fa-f]{2})+", re.ASCII)
ADDRESS_TO_COME = re.compile(rb"[vV][0-9A-Fa-f]+\.[-\w.~!$&'()*+,;=:]+", re.ASCII)


def is_host(text):
    """Returns whether the text is a host, with or without a port (RFC 3986, 3.2.2 and 3.2.3)."""
    literal = re.fullmatch(rb"\[([^\]]*)\](?::(\d*))?", text)
    if not literal:
        name, _, port = text.partition(b":")
        return bool(NAME.fullmatch(name)) and is_port(port)
    address, port = literal.groups()
    if ADDRESS_TO_COME.fullmatch(address):
        return is_port(port or b"")
    try:
        ipaddress.IPv6Address(address.decode())
    except ValueError:
        return False
    return b"%" not in address and is_port(port or b"")


def is_port(digits):
    return not digits or (digits.isdigit() and int(digits) <= 65535)


def explain_http(data, ours, theirs):
    """Returns the reason for which the two differ, or None if no known reason applies."""
    head = re.split(rb"\n\r?\n", data.lstrip(b"\r\n"), maxsplit=1)[0] + b"\n"
    line, _, fields = head.partition(b"\n")

    def values(name):
        return [v.strip(b" \t\r") for v in re.findall(rb"(?im)^" + name + rb":([^\n]*)$", fields)]

    if ours.startswith("accepted"):
        if re.match(rb"[^ ]+ [^ ]*[\x80-\xff]", line):
            return "UTF-8 in a target is read, not refused"
        if any(not value.strip(b" \t,") for value in values(b"transfer-encoding")):
            return "an empty element of a list counts for nothing (RFC 9110, 5.6.1)"
        return None
    if ours == "incomplete":
        return "a refusal comes with the end of the head" if theirs == "refused" else None
    if theirs == "incomplete":
        return "what is wrong is refused before all of it is there"
    if re.search(rb"\r(?!\n)", data[:len(data) - len(data.lstrip(b"\r\n"))] + head):
        return "a carriage return alone is refused (RFC 9112, 2.2)"
    if re.search(rb"\n[ \t]", head):
        return "a folded line is refused (RFC 9112, 5.2)"
    if re.search(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]", head):
        return "control characters are refused (RFC 9110, 5.5)"
    hosts, lengths = values(b"host"), values(b"content-length")
    if not all(map(is_host, hosts)):
        return "a Host that is none is refused (RFC 9110, 7.2)"
    if len(hosts) > 1:
        return "two Hosts are refused (RFC 9112, 3.2)"
    if len(lengths) > 1 or (lengths and values(b"transfer-encoding")):
        return "what says the length of a body twice is refused (RFC 9112, 6.3)"
    if values(b"transfer-encoding") and line.rstrip().endswith(b"HTTP/1.0"):
        return "a coding that HTTP/1.0 does not have is refused (RFC 9112, 6.1)"
    if any(len(length) >= 20 for length in lengths):
        return "a length that nothing has is refused"
    if any(status in ours for status in ("VersionNotSupported", "UriTooLong", "FieldsTooLarge")):
        return "limits and versions"
    authority = re.match(rb"[^ ]+ [a-zA-Z0-9+.-]*://([^/?# ]*)", line)
    if authority and not is_host(authority[1]):
        return "a target with a host that is none is refused"
    return None


def lxml_says(data):
    from lxml import etree
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        # A document whose namespace is no URI is still valid.
        said = [entry.message for entry in parser.error_log]
        if said and all("URI" in message for message in said):
            return "accepted", ""
        return "refused", str(error)
    except (ValueError, LookupError) as error:
        return "refused", str(error)
    if root.getroottree().docinfo.doctype:
        return "refused", "a document type"
    return "accepted", ""


def expat_says(data):
    from xml.parsers import expat
    parser = expat.ParserCreate(namespace_separator="\x01")
    parser.StartDoctypeDeclHandler = lambda *_: (_ for _ in ()).throw(ValueError("a document type"))
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        return "refused", str(error)
    return "accepted", ""


OWN_RULES = re.compile("nested too deeply|too many|too long|XML itself|reserved")


def explain_xml(data, ours, lxml, expat):
    """Returns the reason for which the three differ, or None if no known reason applies."""
    is_wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    if ours.startswith("accepted"):
        if lxml[0] == "accepted" and not data.isascii() and "invalid token" in expat[1]:
            return "names have the characters of the fifth edition of XML 1.0"
        is_of_encoding = "encoding" in expat[1] + lxml[1]
        if is_of_encoding and re.search(rb"encoding\s*=", data) and data.isascii():
            return "ASCII text is the same in encodings that others do not know"
        if is_of_encoding and is_wide:
            return "of UTF-16 the mark says the order, whatever the declaration says"
        return None
    if OWN_RULES.search(ours) or "document type" in ours:
        return "a limit, or a rule of ours"
    if "version of XML" in ours and re.search(rb"version\s*=\s*.(?!1\.\d)", data):
        return "versions other than 1.x are not known"
    if "encoding that is not" in ours and re.search(rb"encoding\s*=\s*.(?!(?i:utf-8))", data):
        return "encodings other than UTF-8 and UTF-16 are not read"
    # It is enough if one of the others is as strict.
    if "refused" in (lxml[0], expat[0]):
        return "one of the others refuses it, too"
    return None


def main():
    kind, folders = sys.argv[1], sys.argv[2:]
    target = {"http": "http_request", "xml": "dav_xml"}[kind]
    verdicts, counts, strange = Verdicts(kind), collections.Counter(), []
    for data in inputs(target, folders):
        ours = verdicts.of(data)
        if kind == "http":
            theirs, why = h11_says(data)
            same = ours.split(" ")[0] == theirs
            if same and theirs == "accepted":
                same = ours.split(" ", 2)[2] == why or not why.isascii() or "\\" in ours
            explained = same or explain_http(data, ours, theirs)
        else:
            lxml, expat = lxml_says(data), expat_says(data)
            theirs, why = f"lxml {lxml[0]}, expat {expat[0]}", (lxml[1], expat[1])
            same = {ours.split(" ")[0], lxml[0], expat[0]} == {ours.split(" ")[0]}
            explained = same or explain_xml(data, ours, lxml, expat)
        if same:
            counts[f"the same: {ours.split(' ')[0]}"] += 1
        elif explained:
            counts[explained] += 1
        else:
            counts["NOT EXPLAINED"] += 1
            strange.append((data, ours, theirs, why))
    for what, n in counts.most_common():
        print(f"{n:9}  {what}")
    for data, ours, theirs, why in strange[:20]:
        print(f"\n{data!r}\n  dapple: {ours}\n  others: {theirs} {why}")
    return 1 if strange else 0


if __name__ == "__main__":
    sys.exit(main())
