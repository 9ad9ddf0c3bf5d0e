#!/usr/bin/env python3
"""Known answers for the 2048-bit MODP group (RFC 3526 section 3).

An independent computation: the prime from the formula that the RFC gives,
p = 2^2048 - 2^1984 - 1 + 2^64 * ([2^1918 pi] + 124476), and Python's pow.
Writes modp2048.json beside itself.
"""

import hashlib
import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
EXPONENT_LEN, LEN = 40, 256


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


PRIME = 2**2048 - 2**1984 - 1 + 2**64 * (pi_times_two_to(1918) + 124476)


def exponent(label):
    """Any fixed octets will do; these are easy to make again."""
    return hashlib.shake_256(label).digest(EXPONENT_LEN)


def vector(mine, theirs):
    x, y = int.from_bytes(mine, "big"), int.from_bytes(theirs, "big")
    public, peer_public = pow(2, x, PRIME), pow(2, y, PRIME)
    shared = pow(peer_public, x, PRIME)
    assert shared == pow(public, y, PRIME)
    return {
        "private": mine.hex(),
        "public": public.to_bytes(LEN, "big").hex(),
        "peer_public": peer_public.to_bytes(LEN, "big").hex(),
        "shared": shared.to_bytes(LEN, "big").hex(),
    }


def padded_vector():
    """One whose shared secret begins with a zero octet, which must be kept."""
    mine = exponent(b"padded")
    x = int.from_bytes(mine, "big")
    for count in range(10000):
        theirs = exponent(b"peer %d" % count)
        shared = pow(pow(2, int.from_bytes(theirs, "big"), PRIME), x, PRIME)
        if shared < 1 << 8 * (LEN - 1):
            return vector(mine, theirs)
    raise AssertionError("unlucky")


def main():
    small = (3).to_bytes(EXPONENT_LEN, "big")
    largest = b"\xff" * EXPONENT_LEN
    out = {
        "prime": PRIME.to_bytes(LEN, "big").hex(),
        "vectors": [
            vector(exponent(b"initiator"), exponent(b"responder")),
            vector(small, exponent(b"responder")),
            vector(largest, exponent(b"initiator")),
            padded_vector(),
        ],
    }
    (HERE / "modp2048.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
