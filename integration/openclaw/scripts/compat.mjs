// Which releases of OpenClaw the plugin works with: runs the short end of the tests (test/modes.test.mjs) with each, and prints the table
// for the README, which must have a line for each that is pinned.
//
//     npm run compat                    the pinned ones, as CI does
//     npm run compat -- 4               the last four stable ones that there are
//     npm run compat -- 2026.9.2        this one

import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { EARLIER, HERE } from "./lib/toolchain.mjs";

const given = process.argv.slice(2);
const named = given.filter((word) => word.includes("."));
const count = Number(given.find((word) => /^\d+$/.test(word)) ?? 0);

function choose() {
  if (named.length > 0) return named;
  if (count === 0) return EARLIER;
  const known = JSON.parse(execFileSync("npm", ["view", "openclaw", "versions", "--json"], { encoding: "utf8" }));
  return known.filter((version) => /^\d+\.\d+\.\d+$/.test(version)).slice(-count);
}

// How many tests passed, failed and were skipped with `version`.
function tried(version) {
  const env = { ...process.env, OPENCLAW_VERSION: version };
  const { status, stdout, stderr } = spawnSync(process.execPath, ["scripts/test.mjs", "modes"], { cwd: HERE, encoding: "utf8", env });
  const said = /^(\d+) passed, (\d+) failed, (\d+) skipped$/m.exec(stdout);
  if (status !== 0 || !said) console.error(stdout + stderr);
  const [passed = 0, failed = 0, skipped = 0] = (said ?? []).slice(1).map(Number);
  // Whatever ended without a word has failed.
  return { passed, failed: status === 0 ? failed : Math.max(failed, 1), skipped };
}

const readme = readFileSync(join(HERE, "README.md"), "utf8");
const all = { passed: 0, failed: 0, skipped: 0 };
console.log("| OpenClaw | |\n|---|---|");
for (const version of choose()) {
  const one = tried(version);
  for (const word of Object.keys(all)) all[word] += one[word];
  console.log(`| ${version} | ${one.failed === 0 ? `works (${one.passed} tests)` : `${one.failed} tests fail`} |`);
  if (EARLIER.includes(version) && !readme.includes(`| ${version} | works`)) {
    console.error(`README.md says nothing of ${version}`);
    all.failed += 1;
  }
}
console.log(`${all.passed} passed, ${all.failed} failed, ${all.skipped} skipped`);
process.exit(all.failed > 0 ? 1 : 0);
