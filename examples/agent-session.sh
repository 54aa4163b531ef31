#!/bin/sh
# A service of one's own, and a session with it as an agent has one: files, a server in the background, what is denied.
set -eu
# A configuration that others can write is not used.
umask 022

examples=$(cd "$(dirname "$0")" && pwd)
top=$(mktemp -d)
trap 'kill "$service" 2>/dev/null && wait "$service"; rm -rf "$top"' EXIT
chmod 755 "$top"
mkdir "$top/config" "$top/work"

# Every run is recorded. The path is taken as it is: no link on the way is followed.
printf '[ledger]\npath = "%s/ledger"\n' "$(realpath "$top")" >"$top/config/clawjail.toml"
# Started as root, the half that speaks with clients becomes somebody else. `clawjail setup` makes a user for that.
if [ "$(id -u)" -eq 0 ]; then sed -i '1i user = "nobody"' "$top/config/clawjail.toml"; fi
clawjail serve --config "$top/config/clawjail.toml" --socket "$top/socket" &
service=$!
until clawjail ps --socket "$top/socket" >/dev/null 2>&1; do kill -0 "$service"; sleep 0.1; done

echo "== python"
PYTHONDONTWRITEBYTECODE=1 python3 "$examples/clients/python/session.py" "$top/socket" "$top/work"
if command -v node >/dev/null; then
    echo "== node"
    node "$examples/clients/node/session.mjs" "$top/socket" "$top/work"
fi
clawjail jail list --socket "$top/socket"

echo "== the record"
clawjail log --ledger "$top/ledger" --denied
clawjail ledger verify --ledger "$top/ledger"
