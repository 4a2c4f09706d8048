"""The wire of HVNCP, as docs/protocol.md says it: packets, derived keys, trailers."""

import hashlib
import hmac
import uuid

# --- Packets: section 2 -------------------------------------------------------------------------------------------

FLAGS = {"ACKR": 0x80, "ACK": 0x40, "BEG": 0x20, "END": 0x10, "PRI": 0x08, "SYN": 0x04, "HEL": 0x02, "AUTH": 0x01}
HEADER = 8
TRAILER = 24


def flags_byte(names):
    return sum(FLAGS[name] for name in names.split("|") if name)


def checksum(data):
    """P-3; byte 7 of what is given is 0."""
    return sum(data) % 256


def with_checksum(data):
    data = bytearray(data)
    data[7] = 0
    data[7] = checksum(data)
    return bytes(data)


def header(flags, number, length, version, key_id=0):
    """P-1, with 0 in place of the checksum."""
    return bytes([*version, number, flags]) + length.to_bytes(2, "big") + bytes([key_id, 0])


def packet(flags, number, payload=b"", version=(2, 1)):
    payload = payload.encode() if isinstance(payload, str) else payload
    return with_checksum(header(flags_byte(flags), number, len(payload), version) + payload)


# --- Who talks: the same in all files -------------------------------------------------------------------------------

VM = "61be20f0-09a8-4753-b5e5-564f8a545ed5"
HM = "5ac3e0dc-13fc-4221-9617-8ef61c4cdd83"
VMM_MAC = "02:00:00:00:01:01"
HM_MAC = "02:00:00:00:00:01"
EVERYBODY = "ff:ff:ff:ff:ff:ff"
IDENTIFIER = "1556303548.719328000.38"
VMM_SYN = f"uuid={VM}:ostype=Linux:verVmmLower=2.0:verVmmUpper=2.1:n=0000002a"
HM_SYN = f"uuid={HM}:verHmRunning=2.1:n=00c0ffee:re=0000002a"
HM_CONFLICT = f"uuid={HM}:versionConflict=true:verHmLower=2.0:verHmUpper=2.1"
SYN = (2, 0)
TAG = "-3026381694404356594"


# --- Authentication: section 9 ----------------------------------------------------------------------------------------

def hkdf_extract(salt, key):
    return hmac.new(salt, key, hashlib.sha256).digest()


def hkdf_expand(prk, info, length):
    block, out, count = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([count]), hashlib.sha256).digest()
        out, count = out + block, count + 1
    return out[:length]


def check_hkdf():
    """Test case 1 of RFC 5869: what follows is worth nothing if this is wrong."""
    prk = hkdf_extract(bytes(range(13)), b"\x0b" * 22)
    okm = hkdf_expand(prk, bytes(range(0xF0, 0xFA)), 42)
    assert prk.hex() == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
    assert okm.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


def derived(key, vmm_nonce, hm_nonce, vmm_syn, hm_syn, vmm_mac=VMM_MAC, hm_mac=HM_MAC):
    """X-8. Keys by direction, and what comes in between."""
    prk = hkdf_extract(bytes.fromhex(vmm_nonce + hm_nonce), key)
    digest = hashlib.sha256(vmm_syn.encode() + hm_syn.encode()).digest()
    names = mac_bytes(vmm_mac) + mac_bytes(hm_mac) + uuid.UUID(VM).bytes + uuid.UUID(HM).bytes
    keys = {direction: hkdf_expand(prk, b"hvncp " + direction.encode() + names + digest, 32)
            for direction in ("vmm>hm", "hm>vmm")}
    return prk, digest, keys


def sealed(key, key_id, counter, flags, number, payload=b"", version=(2, 1)):
    """X-9, X-10: a packet with its trailer."""
    payload = payload.encode() if isinstance(payload, str) else payload
    head = header(flags_byte(flags + "|AUTH"), number, len(payload), version, key_id)
    count = counter.to_bytes(8, "big")
    tag = hmac.new(key, head + payload + count, hashlib.sha256).digest()[:16]
    return with_checksum(head + payload + count + tag)
