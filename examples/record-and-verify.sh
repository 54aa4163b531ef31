#!/bin/sh
# Keep a record of runs that cannot be changed unnoticed, and look at it.
set -eu

project=$(mktemp -d)
trap 'rm -rf "$project"' EXIT
mkdir "$project/work"
cd "$project/work"
# The path is taken as it is: no link on the way is followed.
ledger=$(realpath "$project")/ledger

clawjail run --ledger "$ledger" -- sh -c 'echo hello >greeting'
clawjail run --ledger "$ledger" -- touch SOUL.md || echo "denied, as it should be"
clawjail log --ledger "$ledger"
clawjail ledger verify --ledger "$ledger"
head=$(clawjail ledger head --ledger "$ledger")

# Somebody takes the denial out of the record.
sed -i '$d' "$ledger/00000001.jsonl"
clawjail ledger verify --ledger "$ledger" --expect "$head" || echo "found, as it should be"
