"""junit.py FILE: prints "passed failed skipped" of a JUnit report. A skip that does not name what the machine
lacks ("machine: …") is a test that did not run although it could have, and counts as failed."""

import sys
import xml.etree.ElementTree as xml


def outcome(case):
    if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
        return "failed"
    skip = case.find("skipped")
    if skip is None:
        return "passed"
    reason = skip.get("message") or ""
    print(f"skipped: {case.get('classname')}::{case.get('name')}: {reason}", file=sys.stderr)
    return "skipped" if reason.startswith("machine:") else "failed"


def main(path):
    found = [outcome(case) for case in xml.parse(path).getroot().iter("testcase")]
    if not found:
        sys.exit(f"{path} reports no test")
    print(*(found.count(kind) for kind in ("passed", "failed", "skipped")))


main(sys.argv[1])
