// Compiles src/ to dist/, with the compiler that package.json pins; installs that first if need be.

import { build } from "./lib/toolchain.mjs";

build();
