#!/usr/bin/env python3
"""AUTH of a resumed SA in the form of RFC 5723 section 4.3.3 (RFC 7296 section
2.15 without the key pad), for the exchange in libreswan-5.2-resume.json.

An independent computation: Python's hmac, and ID payloads taken from the
decrypted IKE_AUTH messages of the capture. Run it beside the JSON file; it
writes resume_auth_rfc.json.
"""

import hashlib
import hmac
import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
ID_INITIATOR, ID_RESPONDER = 35, 36


def prf(key, data):
    return hmac.new(key, data, hashlib.sha512).digest()


def payload_body(first, plain, wanted):
    """The body of the first payload of type `wanted` in a chain of payloads."""
    kind, rest = first, plain
    while rest:
        length = int.from_bytes(rest[2:4], "big")
        if kind == wanted:
            return rest[4:length]
        kind, rest = rest[0], rest[length:]
    raise ValueError(f"no payload of type {wanted}")


def main():
    capture = json.loads((HERE / "libreswan-5.2-resume.json").read_text())

    def octets(name):
        return bytes.fromhex(capture[name])

    def first_payload(message):
        """Next Payload of the SK payload, behind the IKE header."""
        return octets(message)[28]

    ends = {
        "initiator": ("resume_request", "nr", "SK_pi", "ike_auth_request", ID_INITIATOR),
        "responder": ("resume_response", "ni", "SK_pr", "ike_auth_response", ID_RESPONDER),
    }
    out = {}
    for end, (message, peer_nonce, key, auth_message, id_type) in ends.items():
        identity = payload_body(first_payload(auth_message), octets(auth_message + "_plain"), id_type)
        maced_id = prf(octets(key), identity)
        signed = octets(message) + octets(peer_nonce) + maced_id
        out[end] = {
            "id_body": identity.hex(),
            "maced_id": maced_id.hex(),
            "auth": prf(octets(key), signed).hex(),
        }
    (HERE / "resume_auth_rfc.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
