// Which releases of OpenClaw the plugin works with: runs the short end of the tests (test/modes.test.mjs) with each of the last
// stable ones, and prints the table for the README. `npm run compat -- 2` for the last two; versions can be named instead.

import { execFileSync, spawnSync } from "node:child_process";

import { HERE } from "./lib/toolchain.mjs";

const given = process.argv.slice(2);
const named = given.filter((word) => word.includes("."));
const count = Number(given.find((word) => /^\d+$/.test(word)) ?? 4);
const known = () => JSON.parse(execFileSync("npm", ["view", "openclaw", "versions", "--json"], { encoding: "utf8" }));
const versions = named.length > 0 ? named : known().filter((version) => /^\d+\.\d+\.\d+$/.test(version)).slice(-count);

let failed = 0;
console.log("| OpenClaw | |\n|---|---|");
for (const version of versions) {
  const { status, stdout } = spawnSync(process.execPath, ["scripts/test.mjs", "modes"], { cwd: HERE, encoding: "utf8", env: { ...process.env, OPENCLAW_VERSION: version } });
  const [, passed = "0"] = /^. pass (\d+)/m.exec(stdout) ?? [];
  const [, wrong = "?"] = /^. fail (\d+)/m.exec(stdout) ?? [];
  if (status !== 0) failed += 1;
  console.log(`| ${version} | ${status === 0 ? `works (${passed} tests)` : `${wrong} tests fail`} |`);
}
process.exit(failed > 0 ? 1 : 0);
