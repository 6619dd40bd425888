"""Runs the house checks: `ok NAME` or `not ok NAME` for each, with what is wrong below it."""

import sys

import docs
import hazards
import keys
import layers
import layout
import mutations
import sizes
import strings


def main():
    is_good = True
    for check in (layers, sizes, strings, layout, hazards, keys, docs, mutations):
        found = list(check.problems())
        print("not ok" if found else "ok", check.__name__)
        for line in found:
            print("   ", line)
        is_good = is_good and not found
    sys.exit(not is_good)


main()
