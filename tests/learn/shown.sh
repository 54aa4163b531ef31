#!/bin/sh
# Writes what docs/evidence-shown.md holds: what clawjail says of a package that reads keys and calls home, and what `learn` makes of a
# Python project's tests and of a Node build. As root, with git, Node, npm and pip, and a network to fetch the projects by.
# Usage: sh tests/learn/shown.sh CLAWJAIL > docs/evidence-shown.md
set -eu
TREE=$(cd "$(dirname "$0")/../.." && pwd)
if [ "${2:-}" != inside ]; then
    unshare --mount --propagation private sh "$0" "$1" inside
    exit
fi
D=$(mktemp --directory /tmp/clawjail-shown.XXXXXX)
trap 'rm -rf "$D"' EXIT
chmod 755 "$D"
mkdir "$D/bin" "$D/home" "$D/fetched"
ln -s "$(realpath "$1")" "$D/bin/clawjail"

# Fetched as whoever runs this is set to, then shown with a home that holds nothing but the name of the same registry.
registry=$(npm config get registry)
(cd "$D/fetched" && python3 -m pip download --quiet --no-deps --no-binary :all: Markdown==3.7 2>/dev/null && tar -xf markdown-3.7.tar.gz)
cp -r "$TREE/integration/openclaw" "$D/fetched/plugin"
rm -rf "$D/fetched/plugin/node_modules" "$D/fetched/plugin/dist"
(cd "$D/fetched/plugin" && npm install --silent --no-audit --no-fund)
echo "registry=$registry" >"$D/home/.npmrc"
export HOME="$D/home" PATH="$D/bin:$PATH" TMPDIR="$D"
# What somebody has added to this machine's Python is no project's.
mount -t tmpfs tmpfs /usr/local/lib

host=$(echo "$registry" | sed 's,^[a-z]*://,,; s,[/:].*,,')
plain() {
    sed -e "s,$D/home,/home/agent,g" -e "s,$D/tmp\\.[A-Za-z0-9]*,/tmp/shown,g" -e "s,$D,/tmp/shown,g" -e "s,$host,REGISTRY,g" \
        -e 's/&quot;/"/g' -e 's/ *$//'
}
# Prints each line of a script before it is run, and what it prints.
show() {
    printf '```console\n'
    while read -r line; do
        printf '$ %s\n' "$line"
        sh -c "$line" 2>&1 || true
    done | plain
    printf '```\n'
}

cat <<END
# Evidence, shown

What \`sh tests/learn/shown.sh target/*/release/clawjail > docs/evidence-shown.md\` printed, as root on Linux $(uname -r | grep -oE '^[0-9]+\.[0-9]+').
\`REGISTRY\` stands for the host that this npm is set to, \`/home/agent\` for the home, which holds that setting and nothing else.

## A package that reads keys and calls home

[examples/package-that-calls-home.sh](../examples/package-that-calls-home.sh) makes it: a post-install script looks for keys in
\`~/.ssh\`, leaves a git hook and sends what it found to \`collector.example.net\`. First what the user sees, then what \`why\` tells, then
the words of the page.

\`\`\`text
END
sh "$TREE/examples/package-that-calls-home.sh" 2>&1 | plain
printf '```\n'

cat <<'END'

## The tests of a Python project

`Markdown` 3.7.

END
cd "$D/fetched/markdown-3.7"
show <<'END'
clawjail learn --out ../markdown.toml -- /usr/bin/python3 -m unittest -q
cat ../markdown.toml
clawjail profile lint ../markdown.toml
END

cat <<'END'

## A Node build

This repository's plugin for OpenClaw, with npm and the compiler of TypeScript in `node_modules`.

END
cd "$D/fetched/plugin"
show <<'END'
clawjail learn --out ../build.toml -- npm run --silent build
cat ../build.toml
clawjail profile lint ../build.toml
END
