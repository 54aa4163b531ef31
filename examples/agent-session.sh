#!/bin/sh
# A service of one's own, and a session with it as an agent has one: files, a server in the background, what is denied.
set -eu

examples=$(cd "$(dirname "$0")" && pwd)
top=$(mktemp -d)
trap 'kill "$service" 2>/dev/null && wait "$service"; rm -rf "$top"' EXIT
chmod 755 "$top"
mkdir "$top/config" "$top/work"

# Started as root, the half that speaks with clients becomes somebody else. `clawjail setup` makes a user for that.
if [ "$(id -u)" -eq 0 ]; then echo 'user = "nobody"' >"$top/config/clawjail.toml"; else : >"$top/config/clawjail.toml"; fi
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
