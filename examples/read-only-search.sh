#!/bin/sh
# Let a command look through a directory that it cannot change.
set -eu

project=$(mktemp -d)
trap 'rm -rf "$project"' EXIT
cd "$project"
echo '# TODO: say why' >notes.txt

clawjail run --profile readonly -- grep -rn TODO .

# The same command cannot write, whatever it tries.
if clawjail run --profile readonly -- sh -c 'echo changed >notes.txt' 2>/dev/null; then
    echo "it should not have been able to write" >&2
    exit 1
fi
cat notes.txt
