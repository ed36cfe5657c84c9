#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs the table of cases.py against a relay: every cipher, TLS 1.3 and 1.2, while two bystanders exchange packets.

negative.py [PATTERN...] runs the cases whose names match. Lines are those of `go test -v`."""
import base64, fnmatch, json, sys

from cases import ALIVE, CASES, CUT, IN_ORDER, NO_REKEY, RESET
from client import ALERT, CLOSE_NOTIFY, Client, Ended
from derp import Bystanders
from relay import Relay, fail, record_kind, until

CIPHERS = ((4, "aes128gcm"), (4, "aes256gcm"), (4, "chacha20-poly1305"), (3, "aes128gcm"), (3, "chacha20-poly1305"))


def close_reasons(want):
    """What the relay may count for it. One that is alive is closed by us, in order."""
    if want.endswith(ALIVE) or want in (CUT, IN_ORDER):
        return ("eof",)
    return {NO_REKEY: ("ktls_rekey",), RESET: ("eof", "reset")}.get(want, ("tls_error",))


def play(relay, case, minor, cipher, secrets):
    """Returns the outcome; adds to secrets."""
    c = Client(relay.addr, minor, cipher)
    try:
        secrets.update({f"{name} of {case.name}": value for name, value in c.secrets().items()})
        c.derp.login()
        try:
            case.run(c)
            c.send(c.ping())
        except (ConnectionError, EOFError, Ended):
            pass
        got = c.outcome()
        if got.endswith(ALIVE):
            c.ends.clear()
            c.send(c.seal(ALERT, CLOSE_NOTIFY))
            end = c.outcome()
            assert end == IN_ORDER, f"{end} when it closed"
        return got
    finally:
        c.close()


def closed_since(relay, before):
    return until("the relay to count the end", lambda: relay.closes() - before)


def run(relay, case, want, minor, cipher, secrets):
    """Returns None, or what is wrong."""
    before = relay.closes()
    try:
        got = play(relay, case, minor, cipher, secrets)
        counted = dict(closed_since(relay, before))
    except AssertionError as e:
        return str(e)
    if got not in want.strip().split("|"):
        return f"{got}, not {want}"
    if counted not in [{reason: 1} for reason in close_reasons(want)]:
        return f"counted {counted}, not {' or '.join(close_reasons(want))}"


def check_log(relay, secrets):
    """No sanitizer spoke, and nothing in it helps anybody to decrypt."""
    text = relay.log_text()
    for word in ("Sanitizer", "runtime error:", "Assertion"):
        assert word not in text, f"the log has {word!r}"
    assert "tls_error" in text, "nothing was logged at level debug"
    with open(f"{relay.dir}/key") as f:
        secrets["DERP key"] = bytes.fromhex(json.load(f)["PrivateKey"].removeprefix("privkey:"))
    for name, secret in secrets.items():
        for form in (secret.hex(), secret.hex(" "), secret.hex(":"), base64.b64encode(secret).decode()[:-3]):
            assert form.lower() not in text.lower(), f"{name} is in the log"


def report(name, fault):
    print(f"--- {'FAIL' if fault else 'PASS'}: {name}{': ' + fault if fault else ''}", flush=True)
    return bool(fault)


def afterwards(name, check, *args):
    try:
        check(*args)
    except AssertionError as e:
        return report(name, str(e))
    return report(name, None)


def rows(patterns, kind):
    for minor, cipher in CIPHERS:
        for case in CASES:
            name = f"{case.name} [TLS 1.{minor - 1} {cipher}]"
            want = case.want(kind if minor == 4 else "tls12")
            if want is not None and any(fnmatch.fnmatch(name, p) for p in patterns):
                yield name, case, want, minor, cipher


def main():
    relay, bad, secrets = Relay("-log-level=debug"), 0, {}
    try:
        bystanders = Bystanders(relay)
        descriptors = relay.descriptors()
        for name, case, want, minor, cipher in rows(sys.argv[1:] or ["*"], record_kind()):
            seen = bystanders.count
            bad += report(name, run(relay, case, want, minor, cipher, secrets))
            until("packets of bystanders", lambda: bystanders.error or bystanders.count > seen)
        bad += afterwards("bystanders lost nothing", bystanders.stop)
        print(f"{bystanders.count} packets of bystanders, {len(secrets)} secrets")
        bad += afterwards("descriptors", until, f"descriptors to be {descriptors} less two again",
                          lambda: relay.descriptors() == descriptors - 2)
        bad += afterwards("exit status", lambda: relay.stop() and fail("not 0"))
        bad += afterwards("log", check_log, relay, secrets)
    finally:
        relay.remove()
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
