// How long a tool call takes: sandbox off, in clawjail, and through OpenClaw's default bridge for files, in one run on one machine.
// bench/tools.mjs says by which clocks.
//
//     npm run bench              needs a release build: cargo build --release
//     BRIDGE_CALLS=0 npm run bench    without the bridges, which take most of the time

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

import { HERE, TOP, build, node, openclaw } from "./lib/toolchain.mjs";

const binary = process.env.CLAWJAIL_BINARY ?? join(TOP, "target/x86_64-unknown-linux-gnu/release/clawjail");
if (!existsSync(binary)) {
  console.error("no release build: `cargo build --release` first, or name one by CLAWJAIL_BINARY");
  process.exit(1);
}
build();
openclaw();
const { status } = spawnSync(node(), [join(HERE, "bench/tools.mjs")], { stdio: "inherit", cwd: HERE, env: { ...process.env, CLAWJAIL_BINARY: binary } });
process.exit(status ?? 1);
