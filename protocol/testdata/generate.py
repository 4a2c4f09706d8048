#!/usr/bin/env python3
"""Writes the test vectors of HVNCP, from docs/protocol.md and from nothing else.

    generate.py          writes the files beside this script
    generate.py --check  compares them with what it would write; exit code 1 if they differ

Needs Python 3.8 or later and its standard library. README.md says what the files hold.
"""

import json
import pathlib
import sys

sys.dont_write_bytecode = True

from hvncp import (  # noqa: E402 - after the line above, so that no cache is left beside the files
    EVERYBODY, FLAGS, HEADER, HM, HM_CONFLICT, HM_MAC, HM_SYN, IDENTIFIER, SYN, TAG, TRAILER, VM, VMM_MAC, VMM_SYN, check_hkdf,
    derived, header, packet, sealed, with_checksum)

HERE = pathlib.Path(__file__).resolve().parent


# --- Packets: section 2 -------------------------------------------------------------------------------------------------

def text_of(payload):
    """The payload as text, where it can be read."""
    return payload.decode() if all(0x20 <= byte < 0x7F for byte in payload) else None


def described(name, rules, data, canonical=True, **more):
    """A packet and what its fields are. Not canonical: nobody should send it so, everybody must take it."""
    length = int.from_bytes(data[4:6], "big")
    payload = data[HEADER:HEADER + length]
    fields = {
        "name": name,
        "rules": rules,
        "version": f"{data[0]}.{data[1]}",
        "number": data[2],
        "flags": [flag for flag, bit in FLAGS.items() if data[3] & bit],
        "payload": payload.hex(),
    }
    if payload and text_of(payload) is not None:
        fields["text"] = text_of(payload)
    fields.update(more)
    fields.update({"canonical": canonical, "hex": data.hex()})
    return fields


def packets():
    hello = packet("HEL", 0, IDENTIFIER, SYN)
    odd_hello = with_checksum(bytes([9, 9, 77, 0xFF]) + hello[4:6] + bytes([5, 0]) + hello[HEADER:])
    heartbeat = packet("BEG|END|PRI", 0x2A, "HB:", (2, 0))
    reserved = bytearray(heartbeat)
    reserved[6] = 0x99
    report = "PMSG_RSP:7:" + "<applications/>" * 99
    whole = "ACKR|BEG|END"
    yield described("heartbeat of version 2.0, as in the text", ["P-1", "P-2", "P-3", "N-3"], heartbeat)
    yield described("heartbeat of version 2.1", ["P-6", "N-3"], packet("BEG|END|PRI", 0, "HB:"))
    yield described("heartbeat of the guardian", ["M-1"], packet("BEG|END|PRI", 255, "HB:G"))
    yield described("heartbeat in the shortest frame", ["C-2"], heartbeat + bytes(46 - len(heartbeat)), False)
    yield described("heartbeat before padding that is not zero", ["C-2"], heartbeat + b"\xaa" * 35, False)
    yield described("heartbeat with a reserved byte that is not zero", ["P-1"], with_checksum(reserved), False)
    yield described("heartbeat of a later minor version", ["P-5"], packet("BEG|END|PRI", 3, "HB:", (2, 9)))
    yield described("Hello", ["H-2", "P-6"], hello)
    yield described("Hello with other fields than length and checksum set", ["P-7"], odd_hello, False)
    yield described("asking for a Hello", ["H-6"], packet("HEL", 0, b"", SYN))
    yield described("SYN of a VMM", ["S-1", "S-3"], packet("SYN|ACKR|BEG", 200, VMM_SYN, SYN))
    yield described("acknowledgement of a SYN", ["A-1", "P-6"], packet("SYN|ACK", 200, b"", SYN))
    yield described("SYN of an HM", ["S-1", "S-4"], packet("SYN|ACKR|END", 17, HM_SYN, SYN))
    yield described("version conflict", ["S-10"], packet("SYN|ACKR|END", 17, HM_CONFLICT, SYN))
    yield described("acknowledgement", ["A-1"], packet("ACK", 17))
    yield described("acknowledgement of an urgent packet", ["A-1"], packet("ACK|PRI", 17))
    yield described("acknowledgement with a payload", ["P-2"], packet("ACK", 17, "x"), False)
    for number, text in enumerate(["START_HB", "START_HB:interval=100", "STOP_HB", f"PMSG_REQ:{TAG}:apps",
                                   f"GMSG:{TAG}", "QUIET_OK:60000"]):
        yield described(f"HM: {text}", ["M-1", "N-2", "N-4"], packet(whole, 250 + number, text))
    for number, text in enumerate(["SUSPEND", "RESUME", "DBELL:0x22", f"PMSG_RSP:{TAG}:<a/>", f"CLEAR_DB:{TAG}"]):
        yield described(f"VMM: {text}", ["M-1", "N-2", "N-4"], packet(whole, number, text))
    for number, text in enumerate(["SHDN:DAEMON", "SHDN:OS", "QUIET:60000:fsfreeze of /srv"]):
        yield described(f"VMM: {text}", ["M-1", "N-2", "N-5"], packet(whole + "|PRI", number, text))
    yield described("first packet of a message", ["N-4"], packet("ACKR|BEG", 254, report[:100]))
    yield described("packet of a message", ["N-4"], packet("ACKR", 255, report[100:200]))
    yield described("last packet of a message", ["N-4", "N-1"], packet("ACKR|END", 0, report[200:]))
    yield described("a packet without payload", ["N-4"], packet(whole, 9))
    yield described("the largest payload at an MTU of 1500", ["C-7"], packet(whole, 9, bytes(range(256)) * 5 + bytes(212)))


def malformed():
    heartbeat = packet("BEG|END|PRI", 0x2A, "HB:", (2, 0))

    def vector(name, data, reason):
        return {"name": name, "rules": ["P-4"], "hex": bytes(data).hex(), "reason": reason}

    def changed(at, value):
        data = bytearray(heartbeat)
        data[at] = value
        return data

    def other(version):
        return packet("ACKR|BEG|END", 1, "START_HB", version)

    yield vector("nothing", b"", "short")
    yield vector("seven bytes", heartbeat[:7], "short")
    yield vector("a header whose payload is missing", heartbeat[:8], "length")
    yield vector("a payload that lacks its last byte", heartbeat[:10], "length")
    yield vector("a length one too large", with_checksum(changed(5, 4)), "length")
    yield vector("the largest length", with_checksum(header(0xB0, 1, 65535, (2, 0)) + bytes(38)), "length")
    yield vector("only ones", b"\xff" * 46, "length")
    yield vector("a Hello whose length is wrong", with_checksum(header(0x02, 0, 40, (2, 0)) + bytes(38)), "length")
    for at in range(len(heartbeat)):
        if at not in (4, 5):
            yield vector(f"byte {at} changed", changed(at, heartbeat[at] ^ 0x10), "checksum")
    yield vector("a length too short for its checksum", changed(5, 2), "checksum")
    yield vector("a Hello whose checksum is wrong", changed(3, 0x02), "checksum")
    yield vector("another major version, and a wrong checksum", changed(0, 3), "checksum")
    yield vector("only zeros", bytes(46), "major")
    yield vector("major version 1", other((1, 9)), "major")
    yield vector("major version 3", other((3, 0)), "major")


def frames():
    """C-1 to C-5: what stands on the wire."""
    def frame(to, source, data, tag=None, ethertype=0x88B5):
        mac = bytes.fromhex((to + source).replace(":", ""))
        vlan = b"" if tag is None else bytes.fromhex("8100") + tag.to_bytes(2, "big")
        whole = mac + vlan + ethertype.to_bytes(2, "big") + data
        return whole + bytes(max(0, 60 - len(whole)))

    heartbeat, hello = packet("BEG|END|PRI", 0x2A, "HB:"), packet("HEL", 0, IDENTIFIER, SYN)
    syn = packet("SYN|ACKR|BEG", 200, VMM_SYN, SYN)
    for name, to, source, data, tag, ethertype in [
        ("heartbeat", HM_MAC, VMM_MAC, heartbeat, None, 0x88B5),
        ("heartbeat with a tag: priority 5, VLAN 100", HM_MAC, VMM_MAC, heartbeat, 0xA064, 0x88B5),
        ("broadcast Hello", EVERYBODY, HM_MAC, hello, None, 0x88B5),
        ("SYN of another EtherType", HM_MAC, VMM_MAC, syn, None, 0x88B6),
    ]:
        yield {"name": name, "rules": ["C-1", "C-2", "C-3"], "destination": to, "source": source, "tci": tag,
               "ethertype": ethertype, "packet": data.hex(), "hex": frame(to, source, data, tag, ethertype).hex()}


# --- Payloads: sections 3, 4 and 7 ----------------------------------------------------------------------------------

def messages():
    def understood(text, sender, kind, urgent=False, canonical=True, **arguments):
        return {"rules": ["M-1"], "text": text, "from": sender, "kind": kind, "arguments": arguments, "urgent": urgent,
                "canonical": canonical}

    yield understood("HB:", "vmm", "heartbeat", True, guardian=False)
    yield understood("HB:G", "vmm", "heartbeat", True, guardian=True)
    yield understood("START_HB", "hm", "start", interval_ms=10000)
    for interval in (100, 9999, 10001, 60000):
        yield understood(f"START_HB:interval={interval}", "hm", "start", interval_ms=interval)
    yield understood("START_HB:interval=10000", "hm", "start", canonical=False, interval_ms=10000)
    yield understood("START_HB:interval=0250", "hm", "start", canonical=False, interval_ms=250)
    yield understood("START_HB:later=x:interval=250", "hm", "start", canonical=False, interval_ms=250)
    yield understood("START_HB:later=x", "hm", "start", canonical=False, interval_ms=10000)
    yield understood("STOP_HB", "hm", "stop")
    yield understood("SHDN:DAEMON", "vmm", "shutdown", True, what="daemon")
    yield understood("SHDN:OS", "vmm", "shutdown", True, what="os")
    yield understood("SUSPEND", "vmm", "suspend")
    yield understood("RESUME", "vmm", "resume")
    for reason in ("the root disk does not answer", "a: b", "x" * 128):
        yield understood(f"DYING:{reason}", "vmm", "dying", reason=reason)
    for bits in (0x02, 0x22, 0x7E, 0x80000000, 0xFFFFFFFF):
        yield understood(f"DBELL:0x{bits:x}", "vmm", "doorbell", bits=bits)
    yield understood("DBELL:0x0000007E", "vmm", "doorbell", canonical=False, bits=0x7E)
    for tag in (0, 7, -1, int(TAG), 2**63 - 1, -(2**63)):
        yield understood(f"PMSG_REQ:{tag}:apps", "hm", "report_request", tag=str(tag), what="apps")
        yield understood(f"GMSG:{tag}", "hm", "report_taken", tag=str(tag))
        yield understood(f"CLEAR_DB:{tag}", "vmm", "report_clear", tag=str(tag))
    yield understood("PMSG_RSP:7:<a:b c='d'/>", "vmm", "report", tag="7", xml="<a:b c='d'/>")
    yield understood("PMSG_RSP:7:", "vmm", "report", tag="7", xml="")
    for text in ["", ":", "HB", "hb:", "HB:X", "HB::", "HB:\0", "START_HB:", "START_HB:interval", "START_HB:interval=",
                 "START_HB:interval=99", "START_HB:interval=60001", "START_HB:interval=+100", "START_HB:interval=1e3",
                 "START_HB:interval=99999999999", "START_HB:interval=100:interval=200", "STOP_HB:", "SHDN", "SHDN:",
                 "SHDN:os", "SUSPEND:", "DYING", "DYING:", "DYING:a\tb", "DYING:" + "x" * 129, "DBELL", "DBELL:", "DBELL:28", "DBELL:0x", "DBELL:0X2", "DBELL:0x+1",
                 "DBELL:0x100000000", "GMSG:", "GMSG:+1", "GMSG:1:2", "GMSG:9223372036854775808", "GMSG: 1",
                 "PMSG_REQ:1", "PMSG_REQ:x:apps", "PMSG_RSP:1", "CLEAR_DB", "WHAT", "WHAT:1"]:
        yield {"rules": ["M-2"], "text": text, "kind": None}


def quiet():
    for text, milliseconds, reason in [
        ("QUIET:60000:fsfreeze of /srv", 60000, "fsfreeze of /srv"),
        ("QUIET:1:at 03:00: backup", 1, "at 03:00: backup"),
        ("QUIET:0", 0, ""),
        ("QUIET:4294967295", 4294967295, ""),
        ("QUIET:5:" + "x" * 128, 5, "x" * 128),
    ]:
        yield {"rules": ["Q-1"], "text": text, "kind": "quiet", "ms": milliseconds, "reason": reason, "canonical": True}
    yield {"rules": ["Q-1"], "text": "QUIET:5:", "kind": "quiet", "ms": 5, "reason": "", "canonical": False}
    for milliseconds in (0, 60000):
        yield {"rules": ["Q-4"], "text": f"QUIET_OK:{milliseconds}", "kind": "quiet_ok", "ms": milliseconds, "canonical": True}
    for text in ["QUIET", "QUIET:", "QUIET::why", "QUIET:+1:why", "QUIET:-1:why", "QUIET:4294967296:why",
                 "QUIET:1:a\ttab", "QUIET:1:" + "x" * 129, "QUIET_OK", "QUIET_OK:", "QUIET_OK:1:", "QUIET_OK:x"]:
        yield {"rules": ["M-2", "Q-1"], "text": text, "kind": None}


def hellos():
    for text in [IDENTIFIER, "0.0.000000", "1" * 40, "..........", "1234567890"]:
        yield {"rules": ["H-2"], "text": text, "valid": True}
    for text in ["", "123456789", "1" * 41, "1556303548.719328000.x", "1556303548 719328000", "-556303548.719328000.38"]:
        yield {"rules": ["H-2"], "text": text, "valid": False}


NONCE_VMM = "000102030405060708090a0b0c0d0e0f"
NONCE_HM = "f0e1d2c3b4a5968778695a4b3c2d1e0f"


def syns():
    base = f"uuid={VM}:ostype=Linux:verVmmLower=2.0:verVmmUpper=2.1"
    offer = f"nonce={NONCE_VMM}:auth=hmac-sha256:kid=7"

    def vmm(text, canonical=True, rules=("S-2", "S-3"), offer=None, **more):
        fields = {"uuid": VM, "ostype": "Linux", "lower": "2.0", "upper": "2.1", "n": None, **more}
        return {"rules": list(rules), "from": "vmm", "text": text, "canonical": canonical, "offer": offer, **fields}

    def hm(text, canonical=True, rules=("S-2", "S-4"), offer=None, **more):
        fields = {"uuid": HM, "running": "2.1", "n": None, "conflict": None, **more}
        return {"rules": list(rules), "from": "hm", "text": text, "canonical": canonical, "offer": offer, **fields}

    def wrong(sender, text, *rules):
        return {"rules": list(rules) or ["S-2"], "from": sender, "text": text, "malformed": True}

    given = {"nonce": NONCE_VMM, "kid": 7, "authtx": False}
    yield vmm(base)
    yield vmm(base + ":n=0000002a", n="0000002a")
    yield vmm(base + ":n=0000002A", False, n="0000002a")
    yield vmm(base + ":n=deadbeef:future=1", False, n="deadbeef")
    yield vmm("verVmmUpper=2.1:verVmmLower=2.0", False, uuid="", ostype="")
    yield vmm("uuid=:ostype=:verVmmLower=2.0:verVmmUpper=2.10", uuid="", ostype="", upper="2.10")
    yield vmm("uuid=x y:ostype=z/OS:verVmmLower=2.00:verVmmUpper=02.1", False, uuid="x y", ostype="z/OS")
    longest = base + ":n=0000002a:pad="
    yield vmm(longest + "x" * (512 - len(longest)), False, n="0000002a")
    yield vmm(f"{base}:n=0000002a:{offer}", True, ("X-3", "X-4"), given, n="0000002a")
    yield vmm(f"{base}:n=0000002a:{offer}:authtx=1", True, ("X-3", "X-4"), {**given, "authtx": True}, n="0000002a")
    yield vmm(f"{base}:n=0000002a:{offer}:authtx=0", False, ("X-3", "X-4"), given, n="0000002a")
    yield vmm(f"{base}:authtx=1:kid=7:auth=hmac-sha256:nonce={NONCE_VMM.upper()}", False, ("X-3", "X-4"),
              {**given, "authtx": True})
    yield vmm(f"{base}:nonce=aa:kid=0:auth=rot13:authtx=7", False, ("X-4",))
    yield vmm(f"{base}:nonce={NONCE_VMM}:kid=7:authtx=1", False, ("X-4",))
    yield hm(f"uuid={HM}:verHmRunning=2.1")
    yield hm(f"uuid={HM}:verHmRunning=2.0:n=00c0ffee", running="2.0", n="00c0ffee")
    yield hm(f"uuid={HM.upper()}:verHmRunning=2.1:future=", False, ("S-7",))
    yield hm(f"uuid={HM}:verHmRunning=2.1:nonce={NONCE_HM}:auth=hmac-sha256:kid=255:authtx=1", True, ("X-3",),
             {"nonce": NONCE_HM, "kid": 255, "authtx": True})
    yield hm(HM_CONFLICT, True, ("S-10",), running=None, conflict=["2.0", "2.1"])
    yield hm(HM_CONFLICT.replace("=true", "=false") + ":verHmRunning=2.1", False, ("S-10",))
    for text in ["", "uuid", "=x", ":", base + ":", ":" + base, base + ":uuid=x", base + "=", base + ":a=b=c", base + ":\x7f=1",
                 base + ":a=\t", base + ":a=" + "x" * 500, "verVmmLower=2.0", "verVmmLower=2.0:verVmmUpper=2",
                 "verVmmLower=2.0:verVmmUpper=2.x", "verVmmLower=2.0:verVmmUpper=2.256", "verVmmLower=2.0:verVmmUpper=2.1.0",
                 base + ":n=", base + ":n=2a", base + ":n=0000002g", base + ":n=+000002a"]:
        yield wrong("vmm", text)
    for text in [f"{base}:auth=hmac-sha256", f"{base}:nonce={NONCE_VMM}:auth=hmac-sha256", f"{base}:auth=hmac-sha256:kid=7",
                 *(f"{base}:nonce={NONCE_VMM}:auth=hmac-sha256:kid={kid}" for kid in ("", "0", "256", "+7", "x")),
                 *(f"{base}:nonce={nonce}:auth=hmac-sha256:kid=7" for nonce in ("", NONCE_VMM[1:], NONCE_VMM + "00", "g" * 32)),
                 f"{base}:{offer}:authtx=2", f"{base}:{offer}:authtx="]:
        yield wrong("vmm", text, "X-4")
    for text in ["", "verHmRunning=2.1", f"uuid={HM}", "uuid=x:verHmRunning=2.1", f"uuid={{{HM}}}:verHmRunning=2.1",
                 "uuid=00000000-0000-0000-0000-000000000000:verHmRunning=2.1", f"uuid={HM.replace('-', '')}:verHmRunning=2.1",
                 f"uuid={HM}:versionConflict=true:verHmLower=2.0", f"uuid={HM}:verHmRunning=2.1:n=1"]:
        yield wrong("hm", text, "S-2", "S-4")


def versions():
    for vmm, hm, running in [
        (("2.0", "2.1"), ("2.0", "2.1"), "2.1"),
        (("2.0", "2.0"), ("2.0", "2.1"), "2.0"),
        (("2.0", "2.1"), ("2.0", "2.0"), "2.0"),
        (("2.1", "2.10"), ("2.0", "2.9"), "2.9"),
        (("2.1", "2.1"), ("2.0", "2.0"), None),
        (("2.2", "2.3"), ("2.0", "2.1"), None),
        (("2.0", "2.1"), ("2.10", "2.11"), None),
        (("1.0", "3.5"), ("2.0", "2.1"), "2.1"),
    ]:
        yield {"rules": ["S-8", "S-9", "S-10"], "vmm": vmm, "hm": hm, "running": running}


# --- Conversations: sections 4 to 6 -----------------------------------------------------------------------------------

def handshakes():
    """Whole conversations, frame by frame. `to` is the destination address of the frame."""
    def step(sender, data, says, to=None):
        to = to or (HM_MAC if sender == "vmm" else VMM_MAC)
        return described(says, [], data, **{"from": sender, "to": to})

    def opening(syn, answer):
        return [
            step("vmm", packet("HEL", 0, b"", SYN), "asks for a Hello", EVERYBODY),
            step("hm", packet("HEL", 0, IDENTIFIER, SYN), "says Hello to it alone"),
            step("vmm", packet("SYN|ACKR|BEG", 200, syn, SYN), "SYN"),
            step("hm", packet("SYN|ACK", 200, b"", SYN), "acknowledges"),
            step("hm", packet("SYN|ACKR|END", 254, answer, SYN), "its own SYN"),
            step("vmm", packet("SYN|ACK", 254, b"", SYN), "acknowledges"),
        ]

    whole = "ACKR|BEG|END"
    yield {"name": "2.1, first messages, shutdown", "rules": ["H-6", "H-7", "S-1", "S-17", "N-1", "A-1", "M-6", "M-11"],
           "running": "2.1", "steps": opening(VMM_SYN, HM_SYN) + [
               step("hm", packet(whole, 254, "START_HB:interval=1000"), "the first normal packet has the number of the SYN"),
               step("vmm", packet("ACK", 254), "acknowledges"),
               step("vmm", packet("BEG|END|PRI", 0, "HB:"), "beats at once; the urgent sequence begins with 0"),
               step("vmm", packet("BEG|END|PRI", 1, "HB:"), "1 s later"),
               step("vmm", packet("BEG|END|PRI", 2, "HB:"), "2 s later"),
               step("vmm", packet("BEG|END|PRI", 3, "HB:"), "3 s later"),
               step("vmm", packet(whole, 200, "DBELL:0x2"), "the doorbell follows the fourth heartbeat"),
               step("hm", packet("ACK", 200), "acknowledges when it is committed"),
               step("hm", packet(whole, 255, f"PMSG_REQ:{TAG}:apps"), "asks for the report"),
               step("vmm", packet("ACK", 255), "acknowledges"),
               step("vmm", packet(whole, 201, f"PMSG_RSP:{TAG}:<apps/>"), "the report"),
               step("hm", packet("ACK", 201), "acknowledges when it is committed"),
               step("hm", packet(whole, 0, f"GMSG:{TAG}"), "the controller has it; 0 follows 255"),
               step("vmm", packet("ACK", 0), "acknowledges"),
               step("vmm", packet(whole, 202, f"CLEAR_DB:{TAG}"), "it can be cleared"),
               step("hm", packet("ACK", 202), "acknowledges when it is committed"),
               step("vmm", packet(whole + "|PRI", 4, "SHDN:DAEMON"), "is being stopped; urgent, after four heartbeats"),
               step("hm", packet("ACK|PRI", 4), "acknowledges when it is committed"),
           ]}
    old = VMM_SYN.replace("verVmmUpper=2.1:n=0000002a", "verVmmUpper=2.0")
    yield {"name": "a VMM of version 2.0, without n", "rules": ["S-5", "S-9", "P-6", "M-4"], "running": "2.0",
           "steps": opening(old, f"uuid={HM}:verHmRunning=2.0:n=00c0ffee") + [
               step("hm", packet(whole, 254, "START_HB", (2, 0)), "never with an interval"),
               step("vmm", packet("ACK", 254, b"", (2, 0)), "acknowledges"),
               step("vmm", packet("BEG|END|PRI", 0, "HB:", (2, 0)), "beats"),
           ]}
    new = VMM_SYN.replace("verVmmLower=2.0:verVmmUpper=2.1", "verVmmLower=2.2:verVmmUpper=2.3")
    yield {"name": "no common version", "rules": ["S-10"], "running": None, "steps": opening(new, HM_CONFLICT)}


def fragments():
    """Messages in packets, and packets that arrive in some order (by their index) and what then happens to each."""
    def cut(message, capacity, first, flags):
        pieces = [message[at:at + capacity] for at in range(0, len(message), capacity)] or [b""]
        last = len(pieces) - 1
        for index, piece in enumerate(pieces):
            marks = flags + ("|BEG" if index == 0 else "") + ("|END" if index == last else "")
            yield packet(marks, (first + index) % 256, piece)

    def vector(name, rules, length, mtu, first, arrivals):
        message = b"PMSG_RSP:7:" + bytes(0x20 + at % 95 for at in range(length - 11))
        data = [piece.hex() for piece in cut(message, mtu - HEADER, first, "ACKR")]
        results = []
        for order in arrivals:
            seen = set()
            for index in order:
                new = index not in seen
                seen.add(index)
                whole = new and len(seen) == len(data)
                results.append({"packet": index, "result": "deliver" if whole else "acknowledge"})
        return {"name": name, "rules": rules, "message": message.hex(), "mtu": mtu, "first_number": first,
                "packets": data, "arrivals": results}

    yield vector("one packet", ["N-4"], 92, 100, 5, [[0]])
    yield vector("one byte more", ["N-4", "A-2"], 93, 100, 5, [[0, 1]])
    yield vector("the numbers wrap", ["N-1", "N-4"], 5 * 92, 100, 254, [[0, 1, 2, 3, 4]])
    yield vector("late ones and repeated ones", ["A-8", "A-9"], 5 * 92, 100, 254, [[0, 3, 3, 0, 2, 4, 2, 1]])
    yield vector("the last one first, after the first", ["A-9"], 3 * 92, 100, 1, [[0, 2, 1]])
    yield vector("a window of 32, backwards", ["A-9", "N-6"], 33 * 92, 100, 240, [[0, *range(32, 0, -1)]])
    yield vector("more packets than numbers", ["N-1", "N-6"], 300 * 20 - 3, 28, 7, [list(range(300))])
    yield vector("at an MTU of 1500", ["C-7"], 4000, 1500, 100, [[0, 1, 2]])


def receiving():
    """At an HM with an open channel: packets, and what happens to each. `first`: the number that the VMM's SYN named.

    result: `acknowledge`, `deliver` (acknowledged when the owner accepts), `alive` (a heartbeat), `taken` (acknowledges
    something), or the reason for which it is dropped. owner: what it does with what was delivered.
    """
    def step(milliseconds, data, result, owner="accept"):
        fields = {"at_ms": milliseconds, "hex": data.hex(), "result": result}
        if result == "deliver":
            fields["owner"] = owner
        return fields

    def vector(name, rules, first, *steps):
        return {"name": name, "rules": rules, "first": first, "steps": list(steps)}

    def whole(number, text="DBELL:0x2"):
        return packet("ACKR|BEG|END", number, text)

    def part(number):
        return packet("ACKR", number, "x") if number else packet("ACKR|BEG", number, "PMSG_RSP:1:a")

    shutdown, urgent = "SHDN:OS", "ACKR|BEG|END|PRI"
    yield vector("a repetition is acknowledged again", ["A-8", "A-2"], 10,
                 step(0, whole(10), "deliver"), step(500, whole(10), "acknowledge"), step(19999, whole(10), "acknowledge"))
    yield vector("not while the owner has not decided", ["A-2", "A-8"], 10,
                 step(0, whole(10), "deliver", "wait"), step(500, whole(10), "duplicate"), step(1500, whole(10), "duplicate"))
    yield vector("what was refused comes again", ["A-3"], 10,
                 step(0, whole(10), "deliver", "refuse"), step(500, whole(10), "deliver", "refuse"),
                 step(1500, whole(10), "deliver"), step(3500, whole(10), "acknowledge"))
    yield vector("after 20 s a number may come again", ["A-8"], 10,
                 step(0, whole(10), "deliver"), step(20000, whole(10), "deliver"))
    yield vector("48 packets are remembered", ["A-8"], 0,
                 *(step(number, part(number), "acknowledge") for number in range(48)),
                 step(100, part(0), "acknowledge"), step(101, part(48), "acknowledge"), step(102, part(0), "duplicate"),
                 step(103, part(17), "acknowledge"))
    yield vector("a sender that was set back", ["A-11"], 10,
                 step(0, whole(10, "SUSPEND"), "deliver"), step(1, whole(10, "SUSPEND"), "acknowledge"),
                 step(2, whole(10, "RESUME"), "duplicate"), step(3, whole(10, "SUSPEND"), "duplicate"),
                 step(4, whole(11, "SUSPEND"), "deliver"), step(5, whole(12, "RESUME"), "deliver"),
                 step(6, whole(11, "SUSPEND"), "duplicate"), step(7, whole(12, "RESUME"), "acknowledge"),
                 step(8, packet("ACKR|BEG", 12, "RESUME"), "duplicate"), step(20004, whole(11, "SUSPEND"), "deliver"))
    yield vector("the gate", ["N-7"], 250,
                 step(0, whole(249), "duplicate"), step(1, whole(26), "duplicate"), step(2, whole(120), "duplicate"),
                 step(3, packet(urgent, 120, shutdown), "deliver"),
                 step(4, whole(25), "deliver"), step(5, whole(249), "duplicate"), step(6, whole(250), "deliver"),
                 step(7, whole(90), "duplicate"), step(8, whole(89), "deliver"))
    yield vector("no message under way", ["A-9"], 10,
                 step(0, packet("ACKR", 10, "x"), "orphan"), step(1, packet("ACKR|END", 11, "x"), "orphan"),
                 step(2, packet("ACKR|BEG", 10, "PMSG_RSP:1:a"), "acknowledge"), step(3, packet("ACKR", 43, "x"), "orphan"),
                 step(4, packet("ACKR", 42, "x"), "acknowledge"))
    yield vector("a message that was given up takes nothing of the next", ["A-9", "N-6"], 10,
                 step(0, packet("ACKR|BEG", 10, "PMSG_RSP:1:a"), "acknowledge"), step(1, packet("ACKR", 12, "c"), "acknowledge"),
                 step(2, packet("ACKR", 46, "y"), "orphan"), step(3, packet("ACKR|BEG", 45, "PMSG_RSP:2:x"), "acknowledge"),
                 step(4, packet("ACKR", 11, "b"), "duplicate"), step(5, packet("ACKR", 46, "y"), "acknowledge"),
                 step(6, packet("ACKR|END", 47, "z"), "deliver"))
    yield vector("the two sequences know nothing of each other", ["N-1", "N-6"], 10,
                 step(0, packet("ACKR|BEG", 10, "PMSG_RSP:1:a"), "acknowledge"),
                 step(1, packet(urgent, 10, shutdown), "deliver"), step(2, packet(urgent, 11, shutdown), "deliver"),
                 step(3, packet("ACKR|END", 11, "b"), "deliver"), step(4, packet(urgent, 11, shutdown), "acknowledge"))
    yield vector("heartbeats are not judged by their number", ["N-3"], 10,
                 *(step(at, packet("BEG|END|PRI", number, "HB:"), "alive") for at, number in enumerate([7, 7, 200, 6])),
                 step(9, packet("BEG|END|PRI", 8, "HB:G"), "alive"))
    yield vector("what is no heartbeat", ["N-3"], 10,
                 step(0, packet("BEG|END", 1, "HB:"), "flags"), step(1, packet("BEG|PRI", 1, "HB:"), "flags"),
                 step(2, packet("", 1, "HB:"), "flags"), step(3, packet("BEG|END|PRI", 1, "HB"), "message"),
                 step(4, packet("BEG|END|PRI", 1, "SUSPEND"), "message"))
    yield vector("an urgent message has one packet", ["N-5"], 10,
                 step(0, packet("ACKR|BEG|PRI", 0, shutdown), "flags"), step(1, packet("ACKR|PRI", 0, shutdown), "flags"),
                 step(2, packet(urgent, 0, shutdown), "deliver"))
    yield vector("acknowledgements of nothing", ["A-4", "S-15", "S-14"], 10,
                 step(0, packet("ACK", 10), "acknowledgement"), step(1, packet("ACK|PRI", 0), "acknowledgement"),
                 step(2, packet("SYN|ACK", 10, b"", SYN), "acknowledgement"),
                 step(3, packet("SYN|ACKR|END", 10, HM_SYN, SYN), "flags"))
    yield vector("four messages wait for the owner", ["B-3"], 10,
                 *(step(0, whole(number), "deliver", "wait") for number in range(10, 14)),
                 step(1, whole(14), "bound"), step(2, packet("ACKR|BEG", 14, "PMSG_RSP:1:a"), "bound"),
                 step(3, packet("ACKR|END", 15, "b"), "bound"))


def repetition():
    """When a packet that nobody acknowledges is sent, in milliseconds after the first sending (A-5)."""
    waits, times = [500, 1000, 2000, 4000, 4000, 4000], [0]
    for wait in waits:
        times.append(times[-1] + wait)
    yield {"rules": ["A-5"], "sent_at_ms": times[:-1], "unanswered_at_ms": times[-1]}


# --- Authentication: section 9 ----------------------------------------------------------------------------------------

def sealed_described(name, rules, data):
    count, tag = data[-TRAILER:-16], data[-16:]
    return described(name, rules, data, key_id=data[6], counter=int.from_bytes(count, "big"), tag=tag.hex())


def authentication():
    key, key_id = bytes(range(32)), 7
    offer = f"auth=hmac-sha256:kid={key_id}:authtx=1"
    vmm_syn, hm_syn = f"{VMM_SYN}:nonce={NONCE_VMM}:{offer}", f"{HM_SYN}:nonce={NONCE_HM}:{offer}"
    prk, digest, keys = derived(key, NONCE_VMM, NONCE_HM, vmm_syn, hm_syn)
    up, down = keys["vmm>hm"], keys["hm>vmm"]
    whole = "ACKR|BEG|END"

    def from_hm(name, rules, *arguments, **more):
        return {**sealed_described(name, rules, sealed(down, key_id, *arguments, **more)), "from": "hm"}

    def from_vmm(name, rules, *arguments, **more):
        return {**sealed_described(name, rules, sealed(up, key_id, *arguments, **more)), "from": "vmm"}

    def plain(name, sender, data):
        return {**described(name, ["X-9"], data), "from": sender}

    conversation = [
        plain("SYN of the VMM, never with a trailer", "vmm", packet("SYN|ACKR|BEG", 200, vmm_syn, SYN)),
        from_hm("the HM acknowledges; may arrive before its SYN", ["X-9", "X-18"], 1, "SYN|ACK", 200, version=SYN),
        plain("SYN of the HM, never with a trailer", "hm", packet("SYN|ACKR|END", 254, hm_syn, SYN)),
        from_vmm("the VMM acknowledges", ["X-9", "X-18"], 1, "SYN|ACK", 254, version=SYN),
        from_hm("START_HB", ["X-12"], 2, whole, 254, "START_HB:interval=1000"),
        from_vmm("the VMM acknowledges", ["X-9"], 2, "ACK", 254),
        from_vmm("a heartbeat", ["X-10"], 3, "BEG|END|PRI", 0, "HB:"),
        from_vmm("a doorbell", ["X-12"], 4, whole, 200, "DBELL:0x2"),
        from_vmm("the doorbell again: same number, next counter", ["X-12"], 5, whole, 200, "DBELL:0x2"),
        from_hm("the HM acknowledges", ["X-9"], 3, "ACK", 200),
        from_vmm("a heartbeat with a large counter", ["X-12"], 2**56 + 1, "BEG|END|PRI", 1, "HB:"),
        from_vmm("a heartbeat with the largest counter", ["X-12"], 2**64 - 1, "BEG|END|PRI", 2, "HB:"),
    ]
    yield {
        "name": "both directions on", "rules": ["X-3", "X-8", "X-9", "X-10"],
        "key": key.hex(), "kid": key_id, "vmm_mac": VMM_MAC, "hm_mac": HM_MAC, "vm": VM, "hm": HM,
        "vmm_nonce": NONCE_VMM, "hm_nonce": NONCE_HM, "vmm_syn": vmm_syn, "hm_syn": hm_syn,
        "syns_sha256": digest.hex(), "prk": prk.hex(), "vmm_to_hm": up.hex(), "hm_to_vmm": down.hex(),
        "packets": conversation, "receiving": list(verdicts(keys, key, key_id, vmm_syn, hm_syn)),
    }


def verdicts(keys, key, key_id, vmm_syn, hm_syn):
    """What the HM's check of the direction vmm>hm says to packets, one after the other."""
    up, beat = keys["vmm>hm"], ("BEG|END|PRI", 0, "HB:")

    def step(name, data, verdict):
        return {"name": name, "rules": ["X-13", "X-14"], "hex": bytes(data).hex(), "verdict": verdict}

    def changed(data, at, value=None):
        data = bytearray(data)
        data[at] = (data[at] ^ 1) if value is None else value
        return with_checksum(data)

    good = sealed(up, key_id, 10, *beat)
    yield step("the first may have any counter but 0", sealed(up, key_id, 0, *beat), "replayed")
    yield step("greater", good, "ok")
    yield step("the same again", good, "replayed")
    yield step("overtaken", sealed(up, key_id, 9, *beat), "replayed")
    for name, at in [("another minor version", 1), ("another number", 2), ("another flag", 3), ("another key id", 6),
                     ("another payload", 8), ("another counter", 18), ("another tag, first byte", 19),
                     ("another tag, last byte", 34)]:
        yield step(name, changed(sealed(up, key_id, 11, *beat), at, 0xB9 if at == 3 else None), "forged")
    shorter = bytearray(sealed(up, key_id, 11, *beat))
    shorter[5] = 2
    yield step("a shorter payload", with_checksum(shorter[:-1]), "forged")
    yield step("a wrong checksum", bytes([*sealed(up, key_id, 11, *beat)[:7], 0, *sealed(up, key_id, 11, *beat)[8:]]), "checksum")
    yield step("a trailer that lacks a byte", sealed(up, key_id, 11, *beat)[:-1], "length")
    yield step("no trailer", packet(*beat), "unauthenticated")
    yield step("the key of the other direction", sealed(keys["hm>vmm"], key_id, 11, *beat), "forged")
    yield step("the key of the VM itself", sealed(key, key_id, 11, *beat), "forged")
    for name, other in [
        ("another key of the VM", derived(bytes(32), NONCE_VMM, NONCE_HM, vmm_syn, hm_syn)),
        ("another nonce", derived(key, NONCE_HM, NONCE_HM, vmm_syn, hm_syn)),
        ("the two nonces exchanged", derived(key, NONCE_HM, NONCE_VMM, vmm_syn, hm_syn)),
        ("another address", derived(key, NONCE_VMM, NONCE_HM, vmm_syn, hm_syn, vmm_mac="02:00:00:00:01:02")),
        ("a SYN of which `authtx=1` was stripped", derived(key, NONCE_VMM, NONCE_HM, vmm_syn, hm_syn[:-9])),
    ]:
        yield step(name, sealed(other[2]["vmm>hm"], key_id, 11, *beat), "forged")
    yield step("after all that the next right one is taken", sealed(up, key_id, 11, *beat), "ok")
    yield step("padding does not matter", sealed(up, key_id, 12, *beat) + b"\xee" * 11, "ok")
    yield step("gaps do not matter", sealed(up, key_id, 2**64 - 1, *beat), "ok")
    yield step("there is none behind the largest", sealed(up, key_id, 0, *beat), "replayed")


# --- Files --------------------------------------------------------------------------------------------------------------

FILES = {
    "packets": ("Packets and their fields.", packets),
    "malformed": ("What is dropped before anything else is looked at, and why.", malformed),
    "frames": ("Whole Ethernet frames, without frame check sequence.", frames),
    "messages": ("Payloads of messages, and what they say.", messages),
    "quiet": ("Payloads of the messages of section 8.", quiet),
    "hello": ("Identifiers in a Hello.", hellos),
    "syn": ("Payloads of SYNs.", syns),
    "versions": ("Ranges of versions, and the running version.", versions),
    "handshake": ("Whole conversations.", handshakes),
    "fragments": ("Messages of several packets.", fragments),
    "receiving": ("What an HM does with packets, one after the other.", receiving),
    "repetition": ("When a packet is sent again.", repetition),
    "authentication": ("Keys, authenticated packets, and what a receiver says to them.", authentication),
}


def files():
    for name, (about, vectors) in FILES.items():
        document = {"about": about, "vectors": list(vectors())}
        yield HERE / f"{name}.json", json.dumps(document, indent=1) + "\n"


def main(arguments):
    if arguments in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    check_hkdf()
    stale = []
    for path, text in files():
        data = text.encode()
        if arguments:
            if not path.exists() or path.read_bytes() != data:
                stale.append(path.name)
        else:
            path.write_bytes(data)
    if stale:
        print(f"not what generate.py writes: {', '.join(stale)}; run it without --check", file=sys.stderr)
        return 1
    print(f"{len(FILES)} files {'are as they should be' if arguments else 'written'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
