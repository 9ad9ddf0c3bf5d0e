#!/usr/bin/env python3
"""Known answers for the MODP groups of 2048, 3072 and 4096 bits (RFC 3526).

An independent computation: the primes from the formula that the RFC gives,
p = 2^n - 2^(n-64) - 1 + 2^64 * ([2^(n-130) pi] + k), and Python's pow.
Writes modp.json beside itself.
"""

import hashlib
import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent


def pi_times_two_to(bits):
    """floor(2^bits * pi) by Machin's formula."""
    guard = 64
    one = 1 << (bits + guard)

    def arctan_of_one_over(x):
        power, total, n, sign = one // x, 0, 1, 1
        while power:
            total += sign * (power // n)
            power //= x * x
            n, sign = n + 2, -sign
        return total

    return 4 * (4 * arctan_of_one_over(5) - arctan_of_one_over(239)) >> guard


def prime(bits, k):
    return 2**bits - 2 ** (bits - 64) - 1 + 2**64 * (pi_times_two_to(bits - 130) + k)


def exponent(label, length):
    """Any fixed octets will do; these are easy to make again."""
    return hashlib.shake_256(label).digest(length)


def vector(p, mine, theirs):
    length = p.bit_length() // 8
    x, y = int.from_bytes(mine, "big"), int.from_bytes(theirs, "big")
    public, peer_public = pow(2, x, p), pow(2, y, p)
    shared = pow(peer_public, x, p)
    assert shared == pow(public, y, p)
    return {
        "private": mine.hex(),
        "public": public.to_bytes(length, "big").hex(),
        "peer_public": peer_public.to_bytes(length, "big").hex(),
        "shared": shared.to_bytes(length, "big").hex(),
    }


def padded_vector(p, exponent_len):
    """One whose shared secret begins with a zero octet, which must be kept."""
    mine = exponent(b"padded", exponent_len)
    x = int.from_bytes(mine, "big")
    for count in range(10000):
        theirs = exponent(b"peer %d" % count, exponent_len)
        shared = pow(pow(2, int.from_bytes(theirs, "big"), p), x, p)
        if shared < 1 << (p.bit_length() - 8):
            return vector(p, mine, theirs)
    raise AssertionError("unlucky")


def group(bits, k, exponent_len):
    p = prime(bits, k)
    initiator, responder = exponent(b"initiator", exponent_len), exponent(b"responder", exponent_len)
    small = (3).to_bytes(exponent_len, "big")
    largest = b"\xff" * exponent_len
    return {
        "bits": bits,
        "prime": p.to_bytes(bits // 8, "big").hex(),
        "vectors": [
            vector(p, initiator, responder),
            vector(p, small, responder),
            vector(p, largest, initiator),
            padded_vector(p, exponent_len),
        ],
    }


def main():
    groups = [group(2048, 124476, 40), group(3072, 1690314, 56), group(4096, 240904, 64)]
    (HERE / "modp.json").write_text(json.dumps(groups, indent=1) + "\n")


if __name__ == "__main__":
    main()
