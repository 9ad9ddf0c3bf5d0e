#!/usr/bin/env python3
"""Writes the seeds of the targets of `ike` and `sim` into corpus/: the messages of
a real session, their payloads, and hand-made ones for what that session lacks.

Inputs are named by their contents, so that running it again changes nothing.
"""
import hashlib
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
CAPTURE = HERE / "../crates/ike/tests/data/libreswan-5.2-resume.json"

SA, KE, IDI, IDR, CERT, CERTREQ, AUTH, NONCE, N, D, V, TSI, TSR, SK, CP, EAP, SKF = (
    *range(33, 49), 53)
NOTIFY_DELETE = [N, D, V]
IDENTITY_AUTH = [IDI, IDR, CERT, CERTREQ, AUTH, EAP, KE, NONCE]


def seed(target, octets):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha1(octets).hexdigest()[:16]).write_bytes(octets)


def payloads(first, chain):
    while first:
        following, _, length = struct.unpack(">BBH", chain[:4])
        yield first, chain[4:length]
        first, chain = (0 if first in (SK, SKF) else following), chain[length:]


def payload(following, body):
    return struct.pack(">BBH", following, 0, 4 + len(body)) + body


def seed_payload(kind, body):
    if kind == SA:
        seed("sa", body)
    if kind in (TSI, TSR):
        seed("ts", body)
    if kind == CP:
        seed("config", body)
        seed("configuration", body)
    if kind in NOTIFY_DELETE:
        seed("notify_delete", bytes([NOTIFY_DELETE.index(kind)]) + body)
    if kind in IDENTITY_AUTH:
        seed("identity_auth", bytes([IDENTITY_AUTH.index(kind)]) + body)


def real_messages(capture):
    for message in capture["all_messages"]:
        raw = bytes.fromhex(message["raw"])
        seed("message", raw)
        seed("encrypted", raw[16:17] + raw[28:])
        for kind, body in payloads(raw[16], raw[28:]):
            seed_payload(kind, body)
    for name in ("ike_auth_request", "ike_auth_response"):
        sealed = bytes.fromhex(capture[name])
        # As if opened: the plaintext, without Pad Length, in the place of the
        # sealed body.
        first, plain = sealed[28], bytes.fromhex(capture[name + "_plain"])[:-1]
        seed("encrypted", bytes([SK]) + payload(first, plain))
        half = len(plain) // 2
        for number, part in ((1, plain[:half]), (2, plain[half:])):
            numbers = struct.pack(">HH", number, 2)
            seed("encrypted", bytes([SKF]) + payload(first if number == 1 else 0, numbers + part))
        for kind, body in payloads(first, plain):
            seed_payload(kind, body)


def selector(kind, protocol, ports, *addresses):
    rest = struct.pack(">HH", *ports) + b"".join(addresses)
    return struct.pack(">BBH", kind, protocol, 4 + len(rest)) + rest


def attribute(kind, value):
    return struct.pack(">HH", kind, len(value)) + value


def transform(last, kind, number, attributes=b""):
    return struct.pack(">BBHBBH", last, 0, 8 + len(attributes), kind, 0, number) + attributes


def proposal(last, number, protocol, spi, transforms):
    rest = spi + b"".join(transforms)
    head = struct.pack(">BBHBBBB", last, 0, 8 + len(rest), number, protocol, len(spi), len(transforms))
    return head + rest


def eap(code, identifier, data):
    return struct.pack(">BBH", code, identifier, 4 + len(data)) + data


def hand_made():
    ipv6 = [bytes([0x20, 1, 0xd, 0xb8] + [fill] * 12) for fill in (0, 255)]
    ranges = [
        selector(7, 17, (53, 53), b"\x0a\0\0\0", b"\x0a\0\0\xff"),
        selector(7, 1, (0x0800, 0x08ff), b"\0" * 4, b"\xff" * 4),
        selector(7, 6, (65535, 0), b"\x0a\0\0\1", b"\x0a\0\0\1"),
        selector(8, 0, (0, 65535), *ipv6),
        struct.pack(">BBH", 10, 0, 12) + b"label_t\0",
    ]
    seed_payload(TSI, struct.pack(">BBBB", len(ranges), 0, 0, 0) + b"".join(ranges))

    seed_payload(CP, bytes([1, 0, 0, 0]) + b"".join(
        attribute(kind, b"") for kind in (1, 2, 3, 8, 10, 14, 25)))
    seed_payload(CP, bytes([2, 0, 0, 0]) + attribute(1, b"\x0a\0\0\5")
                 + attribute(2, b"\xff\xff\xff\0") + attribute(3, b"\x0a\0\0\1")
                 + attribute(8, ipv6[0] + b"\x40") + attribute(13, b"\x0a\1\0\0\xff\xff\0\0")
                 + attribute(15, ipv6[0] + b"\x20") + attribute(7, b"gateway 1.0")
                 + attribute(0x8000 | 25, b"example.com"))

    seed_payload(D, bytes([1, 0, 0, 0]))
    seed_payload(D, struct.pack(">BBH", 3, 4, 2) + b"\1\2\3\4\5\6\7\x08")
    seed_payload(N, bytes([3, 4]) + struct.pack(">H", 16393) + b"\1\2\3\4")
    seed_payload(N, bytes([0, 0]) + struct.pack(">H", 16407) + b"\1\4\xc0\0\2\1" + bytes(range(32)))
    seed_payload(N, bytes([0, 0]) + struct.pack(">H", 16407) + b"\3\x0fgw2.example.org")
    seed_payload(N, bytes([0, 0]) + struct.pack(">H", 16408) + b"\2\x10" + ipv6[0])
    seed_payload(N, bytes([0, 0]) + struct.pack(">H", 16431) + b"\0\2\0\3\0\4\0\5")
    seed_payload(V, b"a vendor")

    seed_payload(IDI, bytes([1, 0, 0, 0]) + b"\xc0\0\2\1")
    seed_payload(IDR, bytes([5, 0, 0, 0]) + ipv6[0])
    seed_payload(IDI, bytes([3, 0, 0, 0]) + b"user@example.com")
    seed_payload(CERT, bytes([4]) + b"0\x82\1\0")
    seed_payload(CERTREQ, bytes([4]) + bytes(range(40)))
    seed_payload(AUTH, bytes([14, 0, 0, 0, 12]) + b"0\x0a\6\x08*\x86H\xce=\4\3\2" + b"signature")
    seed_payload(EAP, eap(1, 1, b"\1"))
    seed_payload(EAP, eap(2, 1, b"\1user"))
    seed_payload(EAP, eap(3, 2, b""))

    bits = struct.pack(">HH", 0x8000 | 14, 256)
    seed_payload(SA, proposal(2, 1, 3, b"\1\2\3\4", [
        transform(3, 1, 20, bits), transform(3, 1, 28), transform(0, 5, 0)])
        + proposal(0, 2, 3, b"\1\2\3\4", [
            transform(3, 1, 12, bits), transform(3, 3, 12),
            transform(3, 4, 36), transform(0, 5, 1, struct.pack(">HH", 17, 3) + b"abc")]))
    seed_payload(SA, proposal(0, 1, 1, bytes(8), [
        transform(3, 1, 20, bits), transform(3, 2, 7), transform(3, 4, 31), transform(0, 6, 36)]))

    inner = payload(D, bytes([0, 0]) + struct.pack(">H", 16384)) + payload(0, bytes([1, 0, 0, 0]))
    seed("encrypted", bytes([N]) + payload(SK, bytes([0, 0]) + struct.pack(">H", 16430))
         + payload(N, inner))


def name(text):
    return struct.pack(">BH", 2, len(text)) + text


def tickets():
    """Session records, and what a ticket seals."""
    for cipher, prf, sk_d in ((0x12, 2, 48), (0x10, 1, 32), (0x42, 3, 64)):
        for other in (b"", name(b"someone@example.org")):
            head = bytes([cipher, prf, 1, 1, bool(other)]) + struct.pack(">Q", 1_800_000_000)
            record = head + bytes(range(sk_d)) + name(b"client.example") + name(b"gateway") + other
            seed("ticket", record)
            plain = struct.pack(">QQ", 1_800_003_600, 0x0123456789abcdef) + record
            seed("ticket", plain + bytes(-len(plain) % 64))


def endpoints(capture):
    """Real messages and bare notifies, dressed up for the pair's SPIs."""
    header = bytes(16) + bytes([N, 0x20])
    messages = [bytes.fromhex(message["raw"]) for message in capture["all_messages"]]
    for exchange in (34, 38, 35, 37):
        for kind in (16412, 16390, 17, 14, 24, 7):
            notify = payload(0, struct.pack(">BBH", 0, 0, kind) + b"\0\x13")
            messages.append(header + bytes([exchange, 0x20]) + bytes(8) + notify)
    for message in messages:
        for how in (14, 15):
            datagram = struct.pack(">BH", how, len(message)) + message
            for stage in range(3):
                seed("endpoint", bytes([stage]) + datagram)


def framed(message):
    return struct.pack(">H", 2 + len(message)) + message


def streams():
    """IKE, ESP, keepalives and mistakes in TCP, cut in several ways."""
    good = (framed(bytes(4) + bytes(range(28))) + framed(b"\xff") + framed(b"")
            + framed(bytes(range(1, 41))) * 3 + framed(bytes(range(1, 31))))
    for how in (0x00, 0x06, 0x7f):
        seed("stream", bytes([how]) + b"IKETCP" + good)
        seed("stream", bytes([how | 0x80]) + good)
    for bad in (b"IKETCX", b"IKETCP\0\0", b"IKETCP" + good + b"\0\1", b"IKETCP\xff\xff" + good):
        seed("stream", bytes([0x10]) + bad)


if __name__ == "__main__":
    real_messages(json.loads(CAPTURE.read_text()))
    hand_made()
    tickets()
    endpoints(json.loads(CAPTURE.read_text()))
    streams()
