#!/bin/sh
# Use a profile of your own: an ordinary user keeps them in ~/.config/clawjail/profiles, root in /etc/clawjail/profiles.
set -eu

examples=$(cd "$(dirname "$0")" && pwd)
project=$(mktemp -d)
if [ "$(id -u)" -eq 0 ]; then profiles=/etc/clawjail/profiles; else profiles=$HOME/.config/clawjail/profiles; fi
trap 'rm -rf "$project" "$profiles/node-tests.toml"' EXIT
mkdir -p "$profiles"
# Only the owner may be able to write it, or it is refused.
install -m 644 "$examples/node-tests.toml" "$profiles/node-tests.toml"

cd "$project"
mkdir config
echo '{"password": "hunter2"}' >config/staging.json
clawjail run --profile node-tests -- sh -c 'echo "NODE_ENV is $NODE_ENV"; cat config/staging.json || echo "as it should be"'
