// Fetches what tests and benches need into the cache, once: a compiler, a Node that OpenClaw wants, OpenClaw itself.

import { node, openclaw, tools } from "./lib/toolchain.mjs";

tools();
node();
openclaw();
