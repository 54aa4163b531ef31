#!/bin/sh
# Let npm reach the registry that it is set to, and nobody else: not more than a megabyte up, and first contacts told.
set -eu

project=$(mktemp -d)
if [ "$(id -u)" -eq 0 ]; then settings=/etc/clawjail; else settings=$HOME/.config/clawjail; fi
trap 'rm -rf "$project" "$settings/profiles/registry-only.toml" "$settings/policies/egress/npm-example.toml"' EXIT
mkdir -p "$settings/profiles" "$settings/policies/egress"
# No registry is known to clawjail: the client says which it is set to, mirrors included.
clawjail policy from-client npm >"$settings/policies/egress/npm-example.toml"
cat >"$settings/profiles/registry-only.toml" <<'PROFILE'
summary = "npm, and the registry that it is set to."
extends = "untrusted"

[egress]
allow = ["@npm-example"]
first_contact = "flag"
budget = { sent = "1M", connections = 100 }
PROFILE
chmod 644 "$settings/profiles/registry-only.toml" "$settings/policies/egress/npm-example.toml"

clawjail profile explain registry-only --host example.org || true
cd "$project"
# The first of these is told no at once, and why; the second is reached if this machine reaches it.
clawjail run --profile registry-only -- sh -c 'curl -sS -m 5 http://example.org/ || true; npm ping --fetch-retries=0 --fetch-timeout=5000 || true'
