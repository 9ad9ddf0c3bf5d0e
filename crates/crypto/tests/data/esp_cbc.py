#!/usr/bin/env python3
"""ESP packets with AES-CBC and HMAC, computed without cygnet (RFC 3602, RFC 4868, RFC 4303 section 2.2.1).

Prints tests/data/esp_cbc.json. Needs python3-cryptography.
"""

import hmac
import json

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

SPI = bytes.fromhex("c0ffee01")
NUMBER = 0x0000000700000009
TEXT = bytes(range(0x45, 0x45 + 28)) + bytes([1, 2, 2, 4])


def packet(key_len, hash_name, key_out, icv_len, extended):
    keymat = bytes((7 * n + key_len) % 256 for n in range(key_len + key_out))
    encryption, authentication = keymat[:key_len], keymat[key_len:]
    iv = bytes(range(0xA0, 0xB0))
    encryptor = Cipher(algorithms.AES(encryption), modes.CBC(iv)).encryptor()
    text = encryptor.update(TEXT) + encryptor.finalize()
    low, high = NUMBER & 0xFFFFFFFF, NUMBER >> 32
    covered = SPI + low.to_bytes(4, "big") + iv + text
    tail = high.to_bytes(4, "big") if extended else b""
    icv = hmac.new(authentication, covered + tail, hash_name).digest()[:icv_len]
    return {
        "key_bits": key_len * 8,
        "hash": hash_name,
        "extended": extended,
        "high": high,
        "keymat": keymat.hex(),
        "packet": (covered + icv).hex(),
        "text": TEXT.hex(),
    }


CASES = [
    packet(key_len, *integrity, extended)
    for key_len in (16, 24, 32)
    for integrity in (("sha256", 32, 16), ("sha384", 48, 24), ("sha512", 64, 32))
    for extended in (False, True)
]
print(json.dumps(CASES, indent=1))
