#!/usr/bin/env python3
"""Generates the test vectors below data/ with the line "source: computed".

It shares no code with the Go library, so the expected values are independent of
it. It needs Python 3.9 and the package "cryptography", for AES. The output is
deterministic, byte for byte:

    python3 generate.py          write the files, remove obsolete computed ones
    python3 generate.py --check  write nothing, fail if a file would change
"""

import hashlib
import hmac
import pathlib
import re
import struct
import sys
import zlib

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

DATA = pathlib.Path(__file__).resolve().parent / "data"
PAGE = "https://core.telegram.org/mtproto/mtproto-transports"
WIDTH = 96

files = {}


# The text format.


def wrap(line):
    """Breaks a long line, between bytes in long runs of hexadecimal digits only."""
    out = []
    while len(line) > WIDTH:
        runs = re.finditer("(?:[0-9a-f]{2}){8,}", line)
        cuts = [at for run in runs for at in range(run.start() + 2, run.end(), 2) if at <= WIDTH]
        if not cuts:
            break
        out.append(line[: cuts[-1]])
        line = "  " + line[cuts[-1] :]
    return out + [line]


def case(path, about, spec, test, *fields):
    lines = [f"about: {about}", f"spec: {spec}", "source: computed", f"test: {test}"]
    for key, value in fields:
        if isinstance(value, bytes):
            value = value.hex()
        lines += wrap(f"{key}: {value}" if value != "" else f"{key}:")
    assert path not in files, path
    files[path] = "\n".join(lines) + "\n"


# Packets. A packet is a tuple: kind, bytes or number, padding, ack wanted.


def payload(b, padding=b"", ack=False):
    return ("payload", b, padding, ack)


def quick_ack(token, padding=b""):
    return ("quick-ack", token, padding, False)


def error(code, padding=b""):
    return ("error", code, padding, False)


def nop(padding=b""):
    return ("nop", None, padding, False)


def packet_line(p):
    kind, value, padding, ack = p
    words = [kind]
    if kind == "payload":
        words.append(value.hex())
    elif kind == "quick-ack":
        words.append(f"{value:08x}")
    elif kind == "error":
        words.append(str(value))
    if padding:
        words += ["padding", padding.hex()]
    if ack:
        words.append("ack")
    return " ".join(words)


def body_of(p):
    kind, value, _, _ = p
    if kind == "payload":
        return value
    if kind == "error":
        return struct.pack("<q", -value)[:4]
    if kind == "nop":
        return bytes(4)
    return b"\xff\xff\xff\xff" + struct.pack("<I", value)


def encode(protocol, packets, seq=0):
    out = b""
    for p in packets:
        kind, value, padding, ack = p
        b = body_of(p)
        if kind == "quick-ack" and protocol == "abridged":
            out += struct.pack(">I", value)
        elif kind == "quick-ack" and protocol == "intermediate":
            out += struct.pack("<I", value)
        elif protocol == "abridged":
            n, top = len(b) // 4, 0x80 if ack else 0
            out += bytes([n | top]) if n < 127 else bytes([127 | top]) + n.to_bytes(3, "little")
            out += b
        elif protocol in ("intermediate", "padded-intermediate"):
            assert protocol != "intermediate" or not padding
            out += struct.pack("<I", len(b + padding) | (1 << 31 if ack else 0)) + b + padding
        else:
            head = struct.pack("<II", len(b) + 12, seq) + b
            out += head + struct.pack("<I", zlib.crc32(head))
            seq += 1
    return out


def frames(path, about, anchor, protocol, side, packets, *, wire=None, err=None, max_length=None):
    """Adds a case of the test "frames". Without wire, it is for encoding too."""
    both = wire is None
    wire = encode(protocol, packets) if both else wire
    fields = [("protocol", protocol), ("from", side)]
    if max_length:
        fields.append(("max-length", max_length))
    fields.append(("wire", wire))
    fields += [("packet", packet_line(p)) for p in packets]
    if err:
        fields.append(("error", err))
    fields.append(("encode", "yes" if both else "no"))
    case(path, about, f"{PAGE}#{anchor}", "frames", *fields)


ANCHOR = {
    "abridged": "abridged",
    "intermediate": "intermediate",
    "padded-intermediate": "padded-intermediate",
    "full": "full",
}
SHORT = {"abridged": "abridged", "intermediate": "intermediate", "padded-intermediate": "padded", "full": "full"}


def pattern(n, start=0x11):
    """Returns n bytes, of which adjacent ones differ."""
    return bytes((start + 37 * i) & 0xFF for i in range(n))


def encrypted(blocks):
    """Returns bytes of the form of an encrypted message: key id, msg_key, cipher blocks."""
    return pattern(24 + 16 * blocks)


NONCE = bytes(range(0xA0, 0xB0))


def unencrypted(body, msg_id=0x6770000012345678):
    return bytes(8) + struct.pack("<qI", msg_id, len(body)) + body


REQ_PQ_MULTI = bytes.fromhex("f18e7ebe") + NONCE
REQ = unencrypted(REQ_PQ_MULTI)
RES_PQ = (
    bytes.fromhex("63241605")
    + NONCE
    + bytes(range(0xB0, 0xC0))
    + bytes.fromhex("0817ed48941a08f981000000")
    + bytes.fromhex("15c4b51c01000000")
    + struct.pack("<Q", 0xD09D1D85DE64FD85)
)
RES = unencrypted(RES_PQ, 0x6770000100000001)


def framing():
    row = "framing/"
    words = lambda n: pattern(4 * n)

    f = lambda name, about, side, packets, **k: frames(row + name, about, "abridged", "abridged", side, packets, **k)
    f("abridged-one-word", "The shortest packet: one word.", "client", [payload(words(1))])
    f("abridged-short-longest", "126 words are the most that the one-byte length says.", "client", [payload(words(126))])
    f("abridged-long-shortest", "From 127 words on, 7f and the length in three bytes.", "client", [payload(words(127))])
    f("abridged-long-300-words", "The three bytes are little-endian: 300 is 2c 01 00.", "server", [payload(words(300))])
    f("abridged-joined", "A short, a long and a short packet without anything between them.", "client",
      [payload(words(10)), payload(words(130)), payload(words(6))])
    f("abridged-from-server", "A server's packet looks the same.", "server", [payload(encrypted(4))])
    f("abridged-long-form-of-short", "Most servers take the long form for lengths that the short one could say. Nobody should write it.",
      "client", [payload(REQ)], wire=b"\x7f\x0a\x00\x00" + REQ)
    f("abridged-empty", "No packet is empty.", "client", [], wire=b"\x00", err="empty")
    f("abridged-empty-long-form", "No packet is empty in the long form either.", "client", [], wire=b"\x7f\0\0\0", err="empty")
    f("abridged-over-limit", "A receiver's limit is applied when the length has come, before the body.", "client", [],
      wire=b"\x11", err="too-long", max_length=64)
    f("abridged-at-limit", "A packet exactly as long as the limit is taken.", "client", [payload(words(16))], max_length=64)
    f("abridged-over-default-limit", "The largest length of all, 64 MiB less a word, is over the 16 MiB that receivers stop at.",
      "client", [], wire=b"\x7f\xff\xff\xff", err="too-long")
    f("abridged-cut-in-length", "The stream ends inside a long length.", "client", [payload(words(2))],
      wire=encode("abridged", [payload(words(2))]) + b"\x7f\x7f", err="incomplete")
    f("abridged-cut-in-payload", "The stream ends one byte before the packet does.", "client", [],
      wire=encode("abridged", [payload(REQ)])[:-1], err="incomplete")

    f = lambda name, about, side, packets, **k: frames(
        row + name, about, "intermediate", "intermediate", side, packets, **k)
    f("intermediate-one-word", "The shortest packet.", "client", [payload(words(1))])
    f("intermediate-message", "Length in bytes, four bytes little-endian.", "client", [payload(encrypted(5))])
    f("intermediate-from-server", "A server's packet looks the same.", "server", [payload(encrypted(4))])
    f("intermediate-joined", "Three packets without anything between them.", "client",
      [payload(words(10)), payload(words(70)), payload(words(6))])
    f("intermediate-empty", "No packet is empty.", "client", [], wire=bytes(4), err="empty")
    f("intermediate-misaligned", "A length must be a multiple of four.", "client", [], wire=struct.pack("<I", 41), err="misaligned")
    f("intermediate-over-limit", "Refused by its length alone.", "client", [], wire=struct.pack("<I", 68), err="too-long",
      max_length=64)
    f("intermediate-over-default-limit", "Nearly 2 GiB; nobody should take memory for it.", "client", [],
      wire=struct.pack("<I", 0x7FFFFFFC), err="too-long")
    f("intermediate-cut-in-length", "The stream ends inside a length.", "client", [payload(words(2))],
      wire=encode("intermediate", [payload(words(2))]) + b"\x08\0\0", err="incomplete")
    f("intermediate-cut-in-payload", "The stream ends one byte before the packet does.", "client", [],
      wire=encode("intermediate", [payload(REQ)])[:-1], err="incomplete")

    f = lambda name, about, side, packets, **k: frames(
        row + name, about, "padded-intermediate", "padded-intermediate", side, packets, **k)
    for n in (0, 1, 3, 4, 8, 12, 15):
        f(f"padded-encrypted-padding-{n:02}",
          f"An encrypted message is 24 bytes and whole blocks of 16, and so {n} bytes of padding can be told from it.",
          "client", [payload(encrypted(5), pattern(n, 0x5A))])
    f("padded-encrypted-one-block-more", "Sixteen bytes behind the message are one more cipher block, not padding.",
      "client", [payload(encrypted(5) + pattern(16, 0x5A))])
    f("padded-encrypted-from-server", "Servers add 0 to 3 bytes.", "server", [payload(encrypted(4), pattern(2, 0x5A))])
    f("padded-unencrypted-padding-7", "An unencrypted message says its own length at 16.", "client",
      [payload(REQ, pattern(7, 0x5A))])
    f("padded-unencrypted-padding-256", "Android adds up to 256 bytes behind an unencrypted message.", "client",
      [payload(REQ, pattern(256, 0x5A))])
    f("padded-unencrypted-length-past-end",
      "A message whose own length does not fit keeps its whole words; judging it is for the layer above.", "client",
      [payload(unencrypted(bytes(20))[:36], b"\x5a\x5b")])
    f("padded-neither", "What is no message in shape keeps its whole words.", "client", [payload(words(10), b"\x5a")])
    f("padded-joined", "Three packets, each with padding of its own.", "client",
      [payload(encrypted(3), pattern(5, 0x5A)), payload(REQ), payload(encrypted(4), pattern(15, 0x61))])
    f("padded-empty", "No packet is empty.", "client", [], wire=bytes(4), err="empty")
    for n in (1, 3):
        f(f"padded-length-{n}", "A padded packet has at least four bytes.", "client", [], wire=struct.pack("<I", n), err="too-short")
    f("padded-over-limit", "The limit holds for payload and padding together.", "client", [], wire=struct.pack("<I", 65),
      err="too-long", max_length=64)
    f("padded-cut-in-padding", "Padding that has not come is waited for.", "client", [],
      wire=encode("padded-intermediate", [payload(encrypted(3), pattern(9))])[:-1], err="incomplete")

    f = lambda name, about, side, packets, **k: frames(row + name, about, "full", "full", side, packets, **k)
    three = [payload(words(10)), payload(encrypted(3)), payload(words(1))]
    f("full-sequence", "Sequence numbers count from 0, and the CRC covers them.", "client", three)
    f("full-from-server", "A server counts from 0 on its own.", "server", [payload(encrypted(3)), payload(encrypted(4))])
    f("full-error-is-counted", "An error takes a sequence number like any other packet.", "server",
      [payload(encrypted(3)), error(404), payload(encrypted(4))])
    second = encode("full", [payload(words(1))], seq=1)
    f("full-sequence-starts-at-1", "The first number must be 0.", "server", [], wire=second, err="sequence")
    f("full-sequence-repeated", "A number that comes twice ends the stream.", "client", [payload(words(10))],
      wire=encode("full", [payload(words(10))]) * 2, err="sequence")
    f("full-sequence-skipped", "So does one that is left out.", "client", [payload(words(10))],
      wire=encode("full", [payload(words(10))]) + encode("full", [payload(words(10))], seq=2), err="sequence")
    whole = encode("full", [payload(REQ)])
    for name, at in (("crc", -1), ("payload", 30)):
        bad = bytearray(whole)
        bad[at] ^= 0x10
        f(f"full-damaged-{name}", f"One bit of the {name} has turned over.", "server", [], wire=bytes(bad), err="checksum")
    castagnoli = whole[:-4] + bytes.fromhex("aabbccdd")
    f("full-other-checksum", "Four bytes that are no CRC of anything.", "server", [], wire=castagnoli, err="checksum")
    f("full-empty", "Twelve bytes are an envelope around nothing.", "client", [], wire=encode("full", [payload(b"")]), err="empty")
    for n in (0, 4, 8):
        f(f"full-length-{n:02}", "No frame is shorter than its envelope.", "client", [], wire=struct.pack("<II", n, 0), err="too-short")
    f("full-misaligned", "A length must be a multiple of four.", "client", [], wire=struct.pack("<II", 53, 0), err="misaligned")
    f("full-over-limit", "The limit is that of the payload: 64 bytes and 12 around them are the most here.", "client", [],
      wire=struct.pack("<I", 80), err="too-long", max_length=64)
    f("full-at-limit", "A payload exactly as long as the limit is taken.", "client", [payload(words(16))], max_length=64)
    f("full-negative-length-from-client", "The length is signed, and a client has no errors to tell.", "client", [],
      wire=bytes.fromhex("53feffff00000000"), err="too-long")
    f("full-cut-in-crc", "The stream ends inside the CRC.", "client", [], wire=whole[:-1], err="incomplete")


def quick_acks():
    row, anchor = "quick-ack/", "quick-ack"
    f = lambda name, about, protocol, side, packets, **k: frames(row + name, about, anchor, protocol, side, packets, **k)
    message, token = encrypted(4), 0x9E42FB8A
    for protocol, short in SHORT.items():
        if protocol == "full":
            continue
        padding = pattern(6, 0x5A) if short == "padded" else b""
        f(f"request-{short}", "The top bit of the length asks for an acknowledgement.", protocol, "client",
          [payload(message, padding, True), payload(message, padding)])
        f(f"reply-{short}-between-messages", "A token between two messages.", protocol, "server",
          [payload(message), quick_ack(token), payload(message)])
    f("request-abridged-long", "In the long form the first byte is ff.", "abridged", "client", [payload(pattern(4 * 127), b"", True)])
    f("request-full", "Full has no such bit: the length is signed, and this one is negative.", "full", "client", [],
      wire=struct.pack("<II", 0x80000000 | 52, 0), err="too-long")
    f("reply-padded-framed", "The official form: ffffffff and the token, in a frame of 8 bytes.", "padded-intermediate", "server",
      [quick_ack(token)])
    for n in (1, 4, 8):
        f(f"reply-padded-framed-padding-{n}", f"The official form with {n} bytes of padding.", "padded-intermediate", "server",
          [quick_ack(token, pattern(n, 0x5A))])
    f("reply-padded-bare", "Most proxies send the bare token in the padded transport too.", "padded-intermediate", "server",
      [quick_ack(token)], wire=struct.pack("<I", token))
    f("reply-padded-with-nop", "MTProxy's own form: the framed token, and at once a frame that means nothing.", "padded-intermediate",
      "server", [quick_ack(token, pattern(4, 0x5A)), nop(pattern(5, 0x5A))])
    f("reply-padded-without-top-bit", "A framed token must have its top bit.", "padded-intermediate", "server", [],
      wire=struct.pack("<II", 8, 0xFFFFFFFF) + struct.pack("<I", token & 0x7FFFFFFF), err="token")
    for protocol in ("abridged", "intermediate"):
        f(f"reply-{protocol}-lowest", "The least token is the top bit alone.", protocol, "server", [quick_ack(0x80000000)])
    f("reply-abridged-cut", "Three bytes of a token wait for the fourth.", "abridged", "server", [], wire=b"\x9e\x42\xfb", err="incomplete")
    f("reply-intermediate-cut", "Three bytes of a token wait for the fourth.", "intermediate", "server", [quick_ack(token)],
      wire=bytes.fromhex("8afb429e" "8afb42"), err="incomplete")

    auth_key, spec = hashlib.sha512(b"auth key").digest() * 4, f"{PAGE}#{anchor}"
    plaintext = pattern(32 + 28 + 20)
    for name, side, x in (("client", "client", 0), ("server", "server", 8)):
        digest = hashlib.sha256(auth_key[88 + x : 120 + x] + plaintext).digest()
        token = struct.unpack("<I", digest[:4])[0] | 1 << 31
        case(f"{row}token-2-from-{name}", f"MTProto 2.0, a packet that the {name} sends: x is {x}.", spec, "token", ("version", 2),
             ("from", side), ("auth-key", auth_key), ("plaintext", plaintext), ("token", f"{token:08x}"),
             ("free", f"0-{88 + x} {120 + x}-256"))
    token = struct.unpack("<I", hashlib.sha1(plaintext).digest()[:4])[0] | 1 << 31
    case(f"{row}token-1", "MTProto 1.0: SHA-1 of the plaintext without its padding.", spec, "token", ("version", 1),
         ("plaintext", plaintext), ("token", f"{token:08x}"))


def transport_errors():
    row, anchor = "transport-error/", "transport-errors"
    f = lambda name, about, protocol, side, packets, **k: frames(row + name, about, anchor, protocol, side, packets, **k)
    for protocol, short in SHORT.items():
        for code in (403, 404, 429, 444, 1234567):
            f(f"{short}-{code}", "An error is the code, negative, as the whole payload." if code < 1000 else "Codes are not a closed list.",
              protocol, "server", [error(code)])
        f(f"{short}-least", "The least of all 32-bit integers.", protocol, "server", [error(1 << 31)])
        f(f"{short}-nop", "Zero in place of an error means nothing and is passed over.", protocol, "server",
          [nop(), payload(encrypted(4))])
        f(f"{short}-from-client", "Only servers send errors: from a client the same bytes are a payload.", protocol, "client",
          [payload(bytes.fromhex("6cfeffff"))])
        f(f"{short}-negative-key-id", "A message may begin with a negative number; it is too long for an error.", protocol, "server",
          [payload(bytes.fromhex("6cfeffff") + encrypted(4)[4:])])
        f(f"{short}-then-message", "The stream goes on behind an error.", protocol, "server",
          [error(429), payload(encrypted(4)), error(444)])
    for n in (1, 3, 4, 15):
        f(f"padded-404-padding-{n:02}", f"Padding makes the error's frame {4 + n} bytes long.", "padded-intermediate", "server",
          [error(404, pattern(n, 0x5A))])
    f("full-bare-429", "A data centre under flood has sent the code in place of a length.", "full", "server", [error(429)],
      wire=bytes.fromhex("53feffff"))


# Obfuscation.

TAG = {"abridged": 0xEF, "intermediate": 0xEE, "padded-intermediate": 0xDD}
OBFUSCATION = f"{PAGE}#transport-obfuscation"


def ctr(key, iv):
    return Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()


class Obfuscated:
    """The client's end of a connection. start is bytes 0..56 of the init payload."""

    def __init__(self, protocol, dc, key=b"", start=bytes(range(1, 57))):
        tag = bytes([TAG[protocol]]) * 4 if protocol in TAG else bytes.fromhex("c0ffee00")
        self.init = start + tag + struct.pack("<h", dc) + b"\xaa\xbb"
        back = self.init[::-1]
        self.ekey, self.eiv = self.init[8:40], self.init[40:56]
        self.dkey, self.div = back[8:40], back[40:56]
        if key:
            self.ekey = hashlib.sha256(self.ekey + key).digest()
            self.dkey = hashlib.sha256(self.dkey + key).digest()
        self.up, self.down = ctr(self.ekey, self.eiv), ctr(self.dkey, self.div)
        self.encrypted = self.up.update(self.init)
        self.wire = self.init[:56] + self.encrypted[56:]

    def send(self, clear):
        return self.up.update(clear)

    def answer(self, clear):
        return self.down.update(clear)


KEY = bytes(range(16))
OTHER = bytes(range(0x40, 0x50))
PLAIN, PADDED = KEY.hex(), "dd" + KEY.hex()
FAKE = "ee" + KEY.hex() + b"example.com".hex()


def key_of(secret):
    b = bytes.fromhex(secret)
    return b if len(b) == 16 else b[1:17]


def obfuscation():
    row = "obfuscation/"

    def init(name, about, protocol, dc, secret=None, full=False):
        o = Obfuscated(protocol, dc, key_of(secret) if secret else b"", start=pattern(56, 0x31))
        up = encode(protocol, [payload(REQ), payload(encrypted(3))])
        down = encode(protocol, [payload(RES), payload(encrypted(4))])
        fields = [("protocol", protocol), ("dc", dc)]
        if secret:
            fields.append(("secret", secret))
        fields += [("init", o.init), ("ekey", o.ekey), ("eiv", o.eiv), ("dkey", o.dkey), ("div", o.div), ("wire", o.wire),
                   ("upload", up), ("upload-wire", o.send(up)), ("download", down), ("download-wire", o.answer(down)),
                   ("free", "0-8 56-60 62-64" if full else "0-8 62-64")]
        case(row + name, about, OBFUSCATION, "init", *fields)

    init("no-secret-abridged", "Without a secret the keys are the payload's own bytes.", "abridged", 0)
    init("no-secret-padded-media", "A media data centre has its number negated.", "padded-intermediate", -3)
    init("plain-secret-intermediate", "Sixteen bytes of secret go into both keys, and into neither counter.", "intermediate", 5, PLAIN)
    init("dd-secret-padded-cdn", "Of a secret with dd in front only the key counts. CDN data centres have positive numbers.",
         "padded-intermediate", 203, PADDED)
    init("ee-secret-padded-test-media", "Of an ee secret only the key counts; its domain does not. Test, media.",
         "padded-intermediate", -10002, FAKE)
    init("dc-unknown", "Any sixteen bits may stand in the place of the data centre.", "intermediate", -32768)
    init("full-no-secret", "Full has no tag. A server that was told to expect it looks at the first frame.", "full", 2, full=True)
    init("full-with-secret", "Full, with a secret.", "full", -4, PLAIN, full=True)

    o = Obfuscated("intermediate", 2, OTHER)
    no = lambda name, about, *fields: case(row + name, about, OBFUSCATION, "init", *fields, ("error", "no-match"))
    no("wrong-secret", "Made with another secret: no tag appears, and the server stays silent.", ("secret", PLAIN), ("wire", o.wire))
    no("secret-where-none-is", "A client with a secret at a server that has none.", ("wire", o.wire))
    o = Obfuscated("intermediate", 2)
    no("no-secret-where-one-is", "A client without a secret at a server that has one.", ("secret", PLAIN), ("wire", o.wire))
    bad = bytearray(o.wire)
    bad[57] ^= 1
    no("mixed-tag", "A tag is four times the same byte.", ("wire", bytes(bad)))
    o = Obfuscated("full", 2)
    no("full-not-asked-for", "Without being told, a server takes no missing tag for Full.", ("wire", o.wire))

    dc = lambda value, about, number, test, media: case(
        f"{row}dc-{str(value).replace('-', 'minus-')}", about, OBFUSCATION, "dc", ("dc", value),
        ("bytes", struct.pack("<h", value)), ("id", number), ("in-test", test), ("media", media))
    dc(2, "Production.", 2, "no", "no")
    dc(-2, "Production, media.", 2, "no", "yes")
    dc(10003, "Test: the number and 10000.", 3, "yes", "no")
    dc(-10001, "Test, media.", 1, "yes", "yes")
    dc(203, "CDN, never negated.", 203, "no", "no")
    dc(0, "None named.", 0, "no", "no")


# FakeTLS.

RFC8446 = "https://www.rfc-editor.org/rfc/rfc8446#section-4.1.2"
CLOCK = 1767225600


def vec(size, b):
    return len(b).to_bytes(size, "big") + b


def sni(name):
    return struct.pack(">H", 0) + vec(2, vec(2, b"\0" + vec(2, name)))


def client_hello(domain=b"example.com", mlkem=True, suites="8a8a130113021303c02b", session=bytes([0x11]) * 32, pad=0):
    """Returns a ClientHello without its record header, with zeros for the random."""
    extensions = bytes.fromhex("0a0a0000")
    if domain is not None:
        extensions += sni(domain)
    extensions += bytes.fromhex("000a000a000811ec001d00170018") + bytes.fromhex("002b000504 0304 0303".replace(" ", ""))
    shares = bytes.fromhex("3a3a000100")
    if mlkem:
        shares += bytes.fromhex("11ec") + vec(2, pattern(1216, 0x07))
    shares += bytes.fromhex("001d") + vec(2, pattern(32, 0x09))
    extensions += bytes.fromhex("0033") + vec(2, vec(2, shares))
    if pad:
        extensions += bytes.fromhex("0015") + vec(2, bytes(pad))
    body = bytes.fromhex("0303") + bytes(32) + vec(1, session) + vec(2, bytes.fromhex(suites)) + b"\x01\0" + vec(2, extensions)
    return b"\x01" + vec(3, body)


def record(kind, body, version=b"\x03\x03"):
    return bytes([kind]) + version + vec(2, body)


def sign_hello(message, key, when, version=b"\x03\x01"):
    """Returns the random of the message, and the message with it."""
    digest = hmac.new(key, record(0x16, message, version), hashlib.sha256).digest()
    last = struct.unpack("<I", digest[28:])[0] ^ when
    random = digest[:28] + struct.pack("<I", last)
    return random, message[:6] + random + message[38:]


def split_records(message, sizes, version=b"\x03\x01"):
    out = b""
    for n in sizes:
        out += record(0x16, message[:n], version)
        message = message[n:]
    return out + record(0x16, message, version)


def flight_of(key, random, parts, at=11):
    whole = b"".join(parts)
    assert whole[at : at + 32] == bytes(32)
    digest = hmac.new(key, random + whole, hashlib.sha256).digest()
    return whole[:at] + digest + whole[at + 32 :]


def server_hello(session=bytes([0x11]) * 32):
    body = bytes.fromhex("0303") + bytes(32) + vec(1, session) + bytes.fromhex("130100002e00330024001d0020") + pattern(32, 0x21)
    return record(0x16, b"\x02" + vec(3, body + bytes.fromhex("002b00020304")))


CCS = bytes.fromhex("140303000101")


def data(b):
    return record(0x17, b)


def fake_tls():
    row = "faketls/"

    def hello(name, about, wire, *result, keys=(KEY,), clock=CLOCK, domain=None, spec=RFC8446):
        fields = [("key", k) for k in keys] + [("clock", clock)]
        if domain:
            fields.append(("domain", domain))
        case(row + name, about, spec, "client-hello", *fields, ("wire", wire), *result)

    def good(message, wire=None, when=CLOCK, index=0, name="example.com", suite="1301", mlkem="yes", again="yes", version=b"\x03\x01"):
        random, signed = sign_hello(message, KEY, when, version)
        wire = record(0x16, signed, version) if wire is None else wire
        return wire, ("key-index", index), ("time", when), ("sni", name), ("suite", suite), ("mlkem", mlkem), ("random", random), \
            ("session-id", message[39:71]), ("length", len(wire)), ("encode", again)

    message = client_hello()
    random, signed = sign_hello(message, KEY, CLOCK)
    wire = record(0x16, signed)
    hello("hello-mlkem", "A hello of more than one TCP segment, with a post-quantum key share.", *good(message), domain="example.com")
    hello("hello-second-key", "A server with two secrets finds the one that fits.", *good(message, index=1), keys=(OTHER, KEY))
    short = client_hello(mlkem=False)
    short = client_hello(mlkem=False, pad=517 - 5 - len(short) - 4)
    hello("hello-517", "The length of all clients until 2025.", *good(short, mlkem="no"))
    assert len(record(0x16, short)) == 517
    hello("hello-without-sni", "Some versions for iOS name no host.", *good(client_hello(domain=None, mlkem=False), name="", mlkem="no"),
          domain="example.com")
    hello("hello-without-tls13-suite", "A hello may offer suites of older versions only.",
          *good(client_hello(mlkem=False, suites="8a8ac02bc02f"), suite="0000", mlkem="no"))
    hello("hello-record-version-0303", "A few clients write 03 03 in the record header, and sign that.",
          *good(client_hello(mlkem=False), mlkem="no", version=b"\x03\x03"))
    hello("hello-clock-behind", "119 seconds behind the server is inside a window of 120.", *good(short, when=CLOCK - 119, mlkem="no"))
    hello("hello-clock-ahead", "120 seconds ahead is the end of the window.", *good(short, when=CLOCK + 120, mlkem="no"))
    for name, sizes in (("two", [100]), ("one-byte-first", [1]), ("ten", [10] * 9)):
        hello(f"hello-records-{name}", "A hello in several records is signed as if it were in one.",
              *good(short, wire=split_records(sign_hello(short, KEY, CLOCK)[1], sizes), mlkem="no", again="no"))

    trailing = good(short, mlkem="no")
    hello("hello-and-more", "What follows the record is no part of the hello.", trailing[0] + CCS, *trailing[1:-1], ("free", "517-523"), ("encode", "no"))

    refuse = lambda name, about, wire, why, **k: hello(name, about, wire, ("error", why), **k)
    plain = record(0x16, sign_hello(short, KEY, CLOCK)[1], b"\x03\x01")
    refuse("hello-wrong-key", "Signed with a key that the server does not have.", plain, "no-match", keys=(OTHER,))
    refuse("hello-unsigned", "A browser's hello, with a random of its own.", record(0x16, short, b"\x03\x01"), "no-match")
    refuse("hello-resigned-record", "The HMAC covers the record's header: 03 03 in place of 03 01 is another hello.",
           record(0x16, sign_hello(short, KEY, CLOCK)[1], b"\x03\x03"), "no-match")
    for name, by in (("behind", -121), ("ahead", 121)):
        refuse(f"hello-stale-{name}", f"The client's clock is {abs(by)} seconds {name}, where 120 are allowed.",
               record(0x16, sign_hello(short, KEY, CLOCK + by)[1], b"\x03\x01"), "stale-clock")
    refuse("hello-wrong-sni", "Signed, in time, and for another host.", plain, "wrong-sni", domain="example.org")
    refuse("hello-cut", "One byte is missing.", plain[:-1], "incomplete")
    refuse("hello-eleven-records", "A hello is in at most ten records.",
           split_records(sign_hello(short, KEY, CLOCK)[1], [10] * 10), "malformed")

    def damage(name, about, at, value):
        bad = bytearray(plain)
        bad[at : at + len(value)] = value
        refuse(f"hello-malformed-{name}", about, bytes(bad[: max(76, at + len(value))]), "malformed")

    damage("type", "The record is no handshake.", 0, b"\x17")
    damage("version", "No record has version 03 02.", 2, b"\x02")
    damage("record-empty", "The record is empty.", 3, b"\0\0")
    damage("record-long", "A record has at most 16384 bytes.", 3, b"\x40\x01")
    damage("message-type", "The message is a ServerHello.", 5, b"\x02")
    damage("message-long", "The message is longer than any hello.", 6, b"\x01")
    damage("message-short", "The message has no room for what every hello has.", 7, b"\0\x20")
    damage("message-and-record", "The record goes on behind the end of the message.", 7, b"\x01\0")
    damage("hello-version", "Every hello says 03 03.", 9, b"\x03\x04")
    damage("session-id", "The session id has 32 bytes.", 43, b"\x10")

    digest = f"{PAGE}#transport-obfuscation"

    def flight(name, about, wire, *result, key=KEY):
        case(row + name, about, digest, "server-flight", ("key", key), ("random", random), ("wire", wire), *result)

    parts = [server_hello(), CCS, data(pattern(600, 0x33))]
    whole = flight_of(KEY, random, parts)
    flight("flight", "ServerHello, ChangeCipherSpec, one record of data.", whole, ("length", len(whole)))
    flight("flight-and-more", "The flight ends with its first record of data, and so does the digest.", whole + data(b"\x5a" * 9),
           ("length", len(whole)), ("free", f"{len(whole)}-{len(whole) + 14}"))
    tickets = [server_hello(), record(0x16, pattern(90, 0x44)), CCS, data(pattern(40, 0x33))]
    flight("flight-two-handshake-records", "More handshake records are tolerated before the ChangeCipherSpec.",
           flight_of(KEY, random, tickets), ("length", sum(map(len, tickets))))
    flight("flight-cut", "One byte is missing.", whole[:-1], ("error", "incomplete"))
    flight("flight-wrong-key", "The answer of a server that has another key.", flight_of(OTHER, random, parts), ("error", "no-match"))
    flight("flight-to-another-hello", "The answer to another hello.", flight_of(KEY, bytes(32), parts), ("error", "no-match"))
    flight("flight-two-data-records", "A digest over a second record of data is one that no client accepts.",
           flight_of(KEY, random, parts + [data(pattern(50))]), ("error", "no-match"))
    flight("flight-without-ccs", "No ChangeCipherSpec.", flight_of(KEY, random, [parts[0], parts[2]]), ("error", "malformed"))
    flight("flight-alert", "An alert in place of the hello.", bytes.fromhex("15030300020270"), ("error", "malformed"))
    flight("flight-http", "A web server that expected no TLS.", b"HTTP/1.1 400 Bad Request\r\n", ("error", "malformed"))
    flight("flight-short-hello", "A ServerHello with no room for its random.", record(0x16, bytes(37)), ("error", "malformed"))

    def records(name, about, side, wire, stream, *rest):
        case(row + name, about, "https://www.rfc-editor.org/rfc/rfc8446#section-5.1", "records", ("from", side), ("wire", wire),
             ("stream", stream), *rest)

    body = pattern(300)
    records("records-from-client", "A client begins with a ChangeCipherSpec. It has no meaning, and neither has its body.", "client",
            CCS + data(body), body, ("free", "5-6"), ("encode", "yes"))
    records("records-from-server", "A server writes records and nothing else.", "server", data(body), body, ("encode", "yes"))
    long = pattern(2878 + 100)
    records("records-client-cuts-at-2878", "Clients write at most 2878 bytes a record.", "client",
            CCS + data(long[:2878]) + data(long[2878:]), long, ("free", "5-6"), ("encode", "yes"))
    records("records-joined-and-empty", "Borders mean nothing, and an empty record is no end.", "server",
            data(body[:1]) + data(b"") + data(body[1:70]) + CCS + data(body[70:]), body, ("free", "90-91"), ("encode", "no"))
    records("records-alert", "An alert ends the stream; what came before it counts.", "client", CCS + data(body) + record(0x15, b"\x02\x70"),
            body, ("error", "malformed"))
    records("records-handshake", "No handshake record follows the hello.", "client", CCS + record(0x16, body), b"", ("error", "malformed"))
    records("records-version", "The version is 03 03.", "server", record(0x17, body, b"\x03\x01"), b"", ("error", "malformed"))
    records("records-long-ccs", "A ChangeCipherSpec has one byte.", "client", record(0x14, b"\x01\x01"), b"", ("error", "malformed"))
    beyond = bytes(i * 7 & 0xff for i in range(16641))
    records("records-from-client-16641", "A record may be longer than TLS 1.3 allows: some clients send one for each write.", "client",
            CCS + data(beyond), beyond, ("free", "5-6"), ("encode", "no"))
    records("records-cut", "The end inside a record is not an end.", "server", data(body)[:-1], body[:-1], ("error", "incomplete"))


def unencrypted_messages():
    row, spec = "unencrypted/", "https://core.telegram.org/mtproto/description#unencrypted-message"

    def message(name, about, wire, *fields):
        case(row + name, about, spec, "message", ("wire", wire), *fields)

    def request(name, about, function, msg_id, tail=b"", nonce=NONCE):
        body = bytes.fromhex({"req_pq": "78974660", "req_pq_multi": "f18e7ebe"}[function]) + nonce + tail
        message(name, about, unencrypted(body, msg_id), ("message-id", msg_id), ("length", len(body)), ("function", function),
                ("nonce", nonce), *([("tail", tail)] if tail else []))

    usual = 0x6770000012345678
    request("req-pq", "The older request; Telegram Desktop and some proxies still send it.", "req_pq", usual)
    request("req-pq-multi-message-id-1", "TDLib pings with message id 1, which is not even divisible by four.", "req_pq_multi", 1)
    for n in (4, 108, 252):
        request(f"req-pq-multi-tail-{n:03}", f"{n} random bytes behind the request, inside its length: a reader has to ignore them.",
                "req_pq_multi", usual, pattern(n, 0x77))
    request("req-pq-tail-128", "A proxy's own ping: req_pq and a tail of 128 bytes.", "req_pq", usual, pattern(128, 0x78))

    def res(name, about, prints, pq):
        body = RES_PQ[:36] + pq + b"\x15\xc4\xb5\x1c" + struct.pack("<I", len(prints)) + b"".join(struct.pack("<Q", p) for p in prints)
        msg_id = 0x6770000100000001
        message(name, about, unencrypted(body, msg_id), ("message-id", msg_id), ("length", len(body)), ("function", "resPQ"),
                ("nonce", NONCE), ("server-nonce", RES_PQ[20:36]), ("pq", pq[1:9]), *[("fingerprint", f"{p:016x}") for p in prints])

    res("res-pq", "The answer with one fingerprint: 84 bytes.", [0xD09D1D85DE64FD85], RES_PQ[36:48])
    res("res-pq-two-fingerprints", "The answer with two.", [0xD09D1D85DE64FD85, 0xB25898DF208D2603], RES_PQ[36:48])

    tailed = unencrypted(REQ_PQ_MULTI + pattern(44, 0x77), 1)
    for protocol, short in SHORT.items():
        padding = pattern(11, 0x5A) if short == "padded" else b""
        frames(f"{row}ping-{short}", "Two pings in a row, as TDLib sends them, the second with a tail.", ANCHOR[protocol], protocol,
               "client", [payload(unencrypted(REQ_PQ_MULTI, 1), padding), payload(tailed, padding)])
        frames(f"{row}answer-{short}", "The answer is longer than 56 bytes, so that no client takes it for an error.", ANCHOR[protocol],
               protocol, "server", [payload(RES, padding[:3])])


# Whole connections, from the first byte that a server receives.


def connections():
    row = "connection/"

    def conn(name, about, wire, packets=(), *, secrets=(), flags=(), clock=None, head=(), layers=None, dc=0, index=-1, sni_name=None,
             replies=(), reply_wire=None, err=None, free=None, spec=PAGE):
        fields = [("secret", s) for s in secrets] + [(f, "yes") for f in flags]
        if clock:
            fields.append(("clock", clock))
        fields += [("head", h) for h in head] + [("wire", wire)]
        if layers:
            fields += [("layers", layers), ("dc", dc), ("secret-index", index)]
        if sni_name:
            fields.append(("server-name", sni_name))
        fields += [("packet", packet_line(p)) for p in packets]
        fields += [("reply", packet_line(p)) for p in replies]
        if reply_wire is not None:
            fields.append(("reply-wire", reply_wire))
        if err:
            fields.append(("error", err))
        if free:
            fields.append(("free", free))
        case(row + name, about, spec, "connection", *fields)

    two = [payload(REQ), payload(encrypted(3))]
    header = {"abridged": b"\xef", "intermediate": b"\xee" * 4, "padded-intermediate": b"\xdd" * 4, "full": b""}
    back = lambda p: [payload(RES, b"\x5a" if p == "padded-intermediate" else b""), error(404)]
    for p, short in SHORT.items():
        packets = [payload(b, pattern(9, 0x5A) if short == "padded" else b"") for _, b, _, _ in two]
        conn(f"tcp-{short}", "A connection in clear.", header[p] + encode(p, packets), packets, layers=f"tcp, {p}",
             replies=back(p), reply_wire=encode(p, back(p)), spec=f"{PAGE}#{ANCHOR[p]}")

    def hidden(name, about, p, dc, secret, *, secrets=None, index=None, flags=(), free="0-8 62-64"):
        packets = [payload(b, pattern(9, 0x5A) if p == "padded-intermediate" else b"") for _, b, _, _ in two]
        o = Obfuscated(p, dc, key_of(secret) if secret else b"", start=pattern(56, 0x31))
        secrets = ([secret] if secret else []) if secrets is None else secrets
        index = (0 if secret else -1) if index is None else index
        wire = o.wire + o.send(encode(p, packets))
        conn(name, about, wire, packets, secrets=secrets, flags=flags, layers=f"tcp, obfuscated, {p}", dc=dc, index=index,
             replies=back(p), reply_wire=o.answer(encode(p, back(p))), free=free, spec=OBFUSCATION)

    hidden("obfuscated-abridged", "As most clients reach a data centre.", "abridged", 2, None)
    hidden("obfuscated-intermediate-secret", "Through an MTProxy with a plain secret.", "intermediate", -4, PLAIN)
    hidden("obfuscated-padded-dd", "Through an MTProxy with a dd secret.", "padded-intermediate", 10002, PADDED)
    hidden("obfuscated-second-secret", "A server tries its secrets in order.", "padded-intermediate", 5, PADDED,
           secrets=["dd" + OTHER.hex(), PADDED], index=1)
    hidden("obfuscated-beside-secrets", "A server may serve clients without a secret too.", "intermediate", 1, None, secrets=[PLAIN],
           flags=["allow-no-secret"])
    hidden("obfuscated-full", "Full inside obfuscation, by explicit choice on both sides.", "full", 3, None, flags=["obfuscated-full"],
           free="0-8 56-60 62-64")
    hidden("obfuscated-full-secret", "The same with a secret.", "full", 3, PLAIN, flags=["obfuscated-full"], free="0-8 56-60 62-64")

    def fake(name, about, message, sizes=(), when=CLOCK, secrets=(FAKE,), index=0, sni_name="example.com"):
        packets = [payload(b, pattern(9, 0x5A)) for _, b, _, _ in two]
        p = "padded-intermediate"
        o = Obfuscated(p, -10002, KEY, start=pattern(56, 0x31))
        _, signed = sign_hello(message, KEY, when)
        hello = split_records(signed, sizes)
        first = o.wire + o.send(encode(p, packets[:1]))
        wire = hello + CCS + data(first) + data(o.send(encode(p, packets[1:])))
        at = len(hello) + 6
        free = f"{at - 1}-{at} {at + 5}-{at + 13} {at + 67}-{at + 69}"
        inner = o.answer(encode(p, back(p)))
        cut = len(encode(p, back(p)[:1]))
        # At the end of the window: one more second is an error.
        conn(name, about, wire, packets, secrets=secrets, clock=when - 120, layers=f"tcp, faketls, obfuscated, {p}", dc=-10002, index=index,
             sni_name=sni_name, replies=back(p), reply_wire=data(inner[:cut]) + data(inner[cut:]), free=free, spec=OBFUSCATION)

    small = client_hello(mlkem=False)
    fake("faketls", "Hello, flight, records, and inside them the same obfuscation as without.", small)
    fake("faketls-mlkem", "A hello of 1.5 kilobytes.", client_hello())
    fake("faketls-fragmented", "A hello cut into three records.", small, sizes=[1, 40])
    fake("faketls-without-sni", "A hello that names no host.", client_hello(domain=None, mlkem=False), sni_name=None)
    fake("faketls-second-secret", "The digest finds the secret, and the init payload must fit the same.", small,
         secrets=("ee" + OTHER.hex() + b"example.com".hex(), FAKE), index=1)

    unknown = lambda name, about, wire, **k: conn(name, about, wire, err="unknown", **k)
    o = Obfuscated("intermediate", 2, OTHER)
    unknown("unknown-wrong-secret", "A wrong secret gets silence.", o.wire + o.send(encode("intermediate", two)), secrets=[PLAIN])
    o = Obfuscated("intermediate", 2)
    unknown("unknown-no-secret", "So does no secret.", o.wire + o.send(encode("intermediate", two)), secrets=[PLAIN])
    unknown("unknown-clear-at-proxy", "So does a framing in clear, where a secret is required.", b"\xef" + encode("abridged", two),
            secrets=[PLAIN])
    unknown("unknown-cut-init", "63 bytes are no init payload.", o.wire[:63])
    unknown("unknown-zeros", "Zeros are no first frame of Full.", bytes(64), secrets=[PLAIN])
    unknown("unknown-full-not-allowed", "Full inside obfuscation is refused unless asked for.",
            (lambda o: o.wire + o.send(encode("full", two)))(Obfuscated("full", 3, KEY)), secrets=[PLAIN])
    signed = sign_hello(small, KEY, CLOCK - 3600)[1]
    unknown("unknown-stale-clock", "A hello of an hour ago.", record(0x16, signed, b"\x03\x01"), secrets=[FAKE], clock=CLOCK)
    signed = sign_hello(small, OTHER, CLOCK)[1]
    unknown("unknown-wrong-hello", "A hello made with another key.", record(0x16, signed, b"\x03\x01"), secrets=[FAKE], clock=CLOCK)
    signed = sign_hello(client_hello(domain=b"example.org", mlkem=False), KEY, CLOCK)[1]
    unknown("unknown-wrong-sni", "A hello for another host than the secret's.", record(0x16, signed, b"\x03\x01"), secrets=[FAKE], clock=CLOCK)

    # An init payload can begin like a TLS record whose length is not valid.
    start = bytes.fromhex("160301ffff") + pattern(51, 0x31)
    o = Obfuscated("intermediate", 2, KEY, start=start)
    conn("obfuscated-that-begins-like-tls", "16 03 01 is refused only by newer clients; what follows cannot be a hello.",
         o.wire + o.send(encode("intermediate", two)), two, secrets=[PLAIN], layers="tcp, obfuscated, intermediate", dc=2, index=0,
         free="0-8 62-64", spec=OBFUSCATION)

    post = ["POST /api HTTP/1.1", "Host:", "Connection: keep-alive", f"Content-Length: {len(REQ)}"]
    conn("http", "A POST with the empty Host of TDLib. Its body is the message, with no framing.", REQ, [payload(REQ)], head=post,
         layers="http", spec="https://core.telegram.org/mtproto/transports#http")

    upgrade = ["GET /apiws HTTP/1.1", "Host: venus.web.telegram.org", "Connection: Upgrade", "Upgrade: websocket",
               "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: binary"]

    def masked(b, mask=b"\x37\xfa\x21\x3d"):
        length = bytes([0x80 | len(b)]) if len(b) < 126 else b"\xfe" + struct.pack(">H", len(b))
        return b"\x82" + length + mask + bytes(c ^ mask[i % 4] for i, c in enumerate(b))

    def message(b):
        return b"\x82" + (bytes([len(b)]) if len(b) < 126 else b"\x7e" + struct.pack(">H", len(b))) + b

    for short, cuts in (("one-message", []), ("many-messages", [12, 64, 70, 120])):
        p = "intermediate"
        o = Obfuscated(p, 2, start=pattern(56, 0x31))
        stream = o.wire + o.send(encode(p, two))
        cuts = [0] + cuts + [len(stream)]
        wire, free = b"", []
        for a, b in zip(cuts, cuts[1:]):
            wire += masked(stream[a:b])
            at = len(wire) - b
            free += [f"{at + max(a, x)}-{at + min(b, y)}" for x, y in ((0, 8), (62, 64)) if a < y and x < b]
        answers = [payload(RES), error(404)]
        inner = [o.answer(encode(p, [a])) for a in answers]
        close = bytes.fromhex("880c03e8") + b"%10d" % 404
        conn(f"websocket-{short}", "Borders of messages mean nothing. An error is told in the stream and in the close frame.", wire, two,
             head=upgrade, layers=f"websocket, obfuscated, {p}", dc=2, replies=answers,
             reply_wire=message(inner[0]) + message(inner[1]) + close, free=" ".join(free),
             spec="https://core.telegram.org/mtproto/transports#websocket")


for make in (framing, quick_acks, transport_errors, obfuscation, fake_tls, unencrypted_messages, connections):
    make()

check, stale = "--check" in sys.argv[1:], []
for path in sorted(DATA.glob("*/*.txt")):
    name = str(path.relative_to(DATA))[:-4]
    if "\nsource: computed\n" in path.read_text() and name not in files:
        stale.append(name)
        check or path.unlink()
for name, text in files.items():
    path = DATA / (name + ".txt")
    if path.exists() and "\nsource: computed\n" not in path.read_text():
        sys.exit(f"{name} was not computed and is not overwritten")
    if not path.exists() or path.read_text() != text:
        stale.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, newline="\n")
print(f"{len(files)} cases, {len(stale)} {'differ' if check else 'written or removed'}")
if check and stale:
    sys.exit("\n".join(stale))
