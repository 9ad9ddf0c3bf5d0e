#!/usr/bin/env python3
"""Known answers for the key schedule of RFC 7296 sections 2.13 to 2.18, for AUTH
with a shared secret, for SK payloads (RFC 7296 section 3.14, RFC 5282, RFC 7634),
for additional key exchanges (RFC 9370), IntAuth (RFC 9242) and PPK (RFC 8784).

An independent computation with Python's hmac and the `cryptography` package.
Writes schedule.json beside itself.
"""

import hashlib
import hmac
import json
import pathlib

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

HERE = pathlib.Path(__file__).resolve().parent
HASHES = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}


def octets(label, length):
    """Any fixed octets will do; these are easy to make again."""
    return hashlib.shake_256(label.encode()).digest(length)


def prf(name, key, data):
    return hmac.new(key, data, HASHES[name]).digest()


def prf_plus(name, key, seed, length):
    out, block, count = b"", b"", 0
    while len(out) < length:
        count += 1
        block = prf(name, key, block + seed + bytes([count]))
        out += block
    return out[:length]


def ike_keys(prf_name, skeyseed, cipher, key_bits, integrity, ni, nr, spi_i, spi_r):
    prf_len = HASHES[prf_name]().digest_size
    sk_a = HASHES[integrity]().digest_size if integrity else 0
    sk_e = key_bits // 8 + (0 if cipher == "cbc" else 4)
    lengths = [
        ("sk_d", prf_len), ("sk_ai", sk_a), ("sk_ar", sk_a), ("sk_ei", sk_e),
        ("sk_er", sk_e), ("sk_pi", prf_len), ("sk_pr", prf_len),
    ]
    keymat = prf_plus(prf_name, skeyseed, ni + nr + spi_i + spi_r, sum(n for _, n in lengths))
    keys = {}
    for name, length in lengths:
        keys[name], keymat = keymat[:length], keymat[length:]
    return keys


def seal(cipher, integrity, sk_e, sk_a, iv, header, inner):
    """header | IV | ciphertext | ICV"""
    if cipher != "cbc":
        aead = {"gcm": AESGCM, "chacha": ChaCha20Poly1305}[cipher]
        key, salt = sk_e[:-4], sk_e[-4:]
        return header + iv + aead(key).encrypt(salt + iv, inner + b"\0", header)
    pad = -(len(inner) + 1) % 16
    padded = inner + bytes(pad) + bytes([pad])
    encryptor = Cipher(algorithms.AES(sk_e), modes.CBC(iv)).encryptor()
    covered = header + iv + encryptor.update(padded) + encryptor.finalize()
    icv = prf(integrity, sk_a, covered)
    return covered + icv[: len(icv) // 2]


def case(prf_name, cipher, key_bits, integrity, shared_len, nonce_len):
    label = f"{prf_name} {cipher} {key_bits} {integrity}"
    ni, nr = octets(label + " ni", nonce_len), octets(label + " nr", nonce_len + 1)
    spi_i, spi_r = octets(label + " spi_i", 8), octets(label + " spi_r", 8)
    shared, shared_new = octets(label + " shared", shared_len), octets(label + " new", shared_len)
    skeyseed = prf(prf_name, ni + nr, shared)
    keys = ike_keys(prf_name, skeyseed, cipher, key_bits, integrity, ni, nr, spi_i, spi_r)
    sk_d = keys["sk_d"]

    # The prf of the old SA makes SKEYSEED, that of the new SA expands it.
    rekey_prf = {"sha256": "sha512", "sha384": "sha256", "sha512": "sha384"}[prf_name]
    rekeyed = prf(prf_name, sk_d, shared_new + ni + nr)
    rekeyed_keys = ike_keys(rekey_prf, rekeyed, cipher, key_bits, integrity, ni, nr, spi_i, spi_r)

    # Two additional key exchanges in the set-up, each with its own keys and messages.
    second = ike_keys(prf_name, prf(prf_name, sk_d, shared_new + ni + nr), cipher, key_bits, integrity, ni, nr, spi_i, spi_r)
    requests = [octets(f"{label} request {n}", 200 + n) for n in range(2)]
    responses = [octets(f"{label} response {n}", 100 + n) for n in range(2)]
    int_i = prf(prf_name, keys["sk_pi"], requests[0])
    int_r = prf(prf_name, keys["sk_pr"], responses[0])
    int_auth = [int_i + int_r + (2).to_bytes(4, "big")]
    int_i = prf(prf_name, second["sk_pi"], int_i + requests[1])
    int_r = prf(prf_name, second["sk_pr"], int_r + responses[1])
    int_auth.append(int_i + int_r + (3).to_bytes(4, "big"))

    # The same in a rekey: SK(0), then two more.
    more = [octets(f"{label} more {n}", 32) for n in range(2)]
    seed = shared_new + ni + nr + more[0] + more[1]
    ppk = octets(label + " ppk", 32)

    psk, message, id_body = octets(label + " psk", 20), octets(label + " message", 300), octets(label + " id", 12)
    maced_id = prf(prf_name, keys["sk_pi"], id_body)
    auth = prf(prf_name, prf(prf_name, psk, b"Key Pad for IKEv2"), message + nr + maced_id)

    header, inner = octets(label + " header", 32), octets(label + " inner", 77)
    iv = octets(label + " iv", 16 if cipher == "cbc" else 8)
    sealed = seal(cipher, integrity, keys["sk_ei"], keys["sk_ai"], iv, header, inner)
    values = {
        "ni": ni, "nr": nr, "spi_i": spi_i, "spi_r": spi_r, "shared": shared, "skeyseed": skeyseed,
        **keys,
        "shared_new": shared_new, "skeyseed_rekey": rekeyed, "sk_d_rekey": rekeyed_keys["sk_d"],
        "sk_pr_rekey": rekeyed_keys["sk_pr"],
        "skeyseed_resume": prf(prf_name, sk_d, b"Resumption" + ni + nr),
        "child": prf_plus(prf_name, sk_d, ni + nr, 72),
        "child_pfs": prf_plus(prf_name, sk_d, shared_new + ni + nr, 72),
        "sk_d_additional": second["sk_d"],
        "request_1": requests[0], "response_1": responses[0], "int_auth_1": int_auth[0],
        "request_2": requests[1], "response_2": responses[1], "int_auth_2": int_auth[1],
        "more_1": more[0], "more_2": more[1], "skeyseed_rekey_more": prf(prf_name, sk_d, seed),
        "child_more": prf_plus(prf_name, sk_d, seed, 72),
        "ppk": ppk,
        **{f"{name}_ppk": prf_plus(prf_name, ppk, keys[name], len(keys[name])) for name in ("sk_d", "sk_pi", "sk_pr")},
        "auth_intermediate": prf(
            prf_name, prf(prf_name, psk, b"Key Pad for IKEv2"), message + nr + maced_id + int_auth[0]),
        "psk": psk, "message": message, "id_body": id_body, "auth": auth,
        "header": header, "inner": inner, "sealed": sealed,
    }
    return {
        "prf": prf_name, "cipher": cipher, "key_bits": key_bits, "integrity": integrity,
        "rekey_prf": rekey_prf,
        **{name: value.hex() for name, value in values.items()},
    }


def main():
    cases = [
        case("sha256", "gcm", 128, None, 32, 16),
        case("sha384", "gcm", 192, None, 48, 32),
        case("sha512", "gcm", 256, None, 96, 255),
        case("sha256", "chacha", 256, None, 32, 32),
    ]
    for key_bits in (128, 192, 256):
        for integrity in HASHES:
            cases.append(case(integrity, "cbc", key_bits, integrity, 256, 32))
    (HERE / "schedule.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
