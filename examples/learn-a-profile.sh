#!/bin/sh
# Write a profile by watching: what a test suite needs and nothing else, then what a build needs besides, then what lint says of it.
set -eu

place=$(realpath "$(mktemp -d)")
trap 'rm -rf "$place"' EXIT
mkdir -p "$place/project/src" "$place/project/tests"
cd "$place/project"
echo 'def double(number): return 2 * number' >src/numbers_of_ours.py
cat >tests/test_numbers.py <<'END'
import unittest
from src.numbers_of_ours import double

class Numbers(unittest.TestCase):
    def test_two_times_two(self):
        self.assertEqual(double(2), 4)
END
cat >build.mjs <<'END'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
mkdirSync("dist", { recursive: true });
for (const name of readdirSync("src")) writeFileSync(`dist/${name}`, readFileSync(`src/${name}`, "utf8").toUpperCase());
END

clawjail learn --out "$place/ours.toml" -- /usr/bin/python3 -B -m unittest -q tests.test_numbers
! [ -e dist ]
if command -v node >/dev/null; then
    # Another example widens it, and says by what.
    clawjail learn --out "$place/ours.toml" -- node build.mjs
fi
cat "$place/ours.toml"
clawjail profile lint "$place/ours.toml" || echo "for a person to decide"

# Used: the tests pass under it, and a program that was not seen does not start.
mkdir -p "$place/shelf/profiles"
cp "$place/ours.toml" "$place/shelf/profiles/ours.toml"
chmod -R go-w "$place/shelf"
ours() { clawjail run --direct --profiles "$place/shelf" --profile ours -- "$@"; }
ours /usr/bin/python3 -B -m unittest -q tests.test_numbers
! ours /usr/bin/env true
