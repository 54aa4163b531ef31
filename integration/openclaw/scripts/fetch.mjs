// Fetches what tests and benches need into the cache, once: a compiler, a Node that OpenClaw wants, OpenClaw itself; with the word
// `earlier`, the releases before it too.

import { EARLIER, node, openclaw, tools } from "./lib/toolchain.mjs";

tools();
node();
openclaw();
if (process.argv.includes("earlier")) EARLIER.forEach((version) => openclaw(version));
