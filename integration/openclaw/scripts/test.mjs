// All tests: builds the plugin, finds clawjail, Node and OpenClaw, and runs test/*.test.mjs with them.

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { HERE, TOP, build, node, openclaw } from "./lib/toolchain.mjs";

// Whichever was built last.
const built = ["release", "debug"].map((kind) => join(TOP, `target/x86_64-unknown-linux-gnu/${kind}/clawjail`)).filter(existsSync);
const binary = process.env.CLAWJAIL_BINARY ?? built.sort((one, other) => statSync(other).mtimeMs - statSync(one).mtimeMs)[0];
if (!binary) {
  console.error("no clawjail: `cargo build --release` first, or name one by CLAWJAIL_BINARY");
  process.exit(1);
}
build();
const wanted = process.argv.slice(2);
const all = readdirSync(join(HERE, "test")).filter((name) => name.endsWith(".test.mjs") && (wanted.length === 0 || wanted.some((word) => name.includes(word))));
if (all.some((name) => !name.startsWith("unit"))) openclaw();
const files = all.map((name) => join(HERE, "test", name));
// Side by side: each has a place of its own, and mostly waits for OpenClaw to start.
const summary = join(mkdtempSync(join(tmpdir(), "clawjail-openclaw-test.")), "summary");
const reporters = ["--test-reporter=spec", "--test-reporter-destination=stdout", "--test-reporter=tap", `--test-reporter-destination=${summary}`];
const options = ["--test", "--test-concurrency=3", ...reporters, ...(process.env.ONLY ? [`--test-name-pattern=${process.env.ONLY}`] : []), ...files];
const { status } = spawnSync(node(), options, { stdio: "inherit", cwd: HERE, env: { ...process.env, CLAWJAIL_BINARY: binary } });
const tap = readFileSync(summary, "utf8");
rmSync(dirname(summary), { recursive: true });
const count = (word) => Number(new RegExp(`^# ${word} (\\d+)$`, "m").exec(tap)?.[1] ?? 0);
console.log(`${count("pass")} passed, ${count("fail") + count("cancelled")} failed, ${count("skipped") + count("todo")} skipped`);
process.exit(status ?? 1);
