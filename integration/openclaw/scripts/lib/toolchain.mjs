// What tests and benches need and the package does not: a compiler, a Node that OpenClaw wants, OpenClaw itself. All of it is
// installed once into a cache outside of the repository.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const HERE = join(dirname(fileURLToPath(import.meta.url)), "../..");
export const TOP = join(HERE, "../..");
export const CACHE = process.env.CLAWJAIL_OPENCLAW_CACHE ?? join(homedir(), ".cache/clawjail-openclaw");
// All tests run with this one, the short end of them with those before it too. Pinned: what others release makes no test fail here.
const PINNED = "2026.9.6";
export const EARLIER = ["2026.9.5", "2026.9.4", "2026.9.3"];
export const OPENCLAW = process.env.OPENCLAW_VERSION ?? PINNED;
const NODE = "24";

function npm(args, cwd, first) {
  // Packages look at the Node that they find.
  const env = { ...process.env, ...(first && { PATH: `${first}:${process.env.PATH}` }) };
  execFileSync("npm", [...args, "--no-audit", "--no-fund", "--loglevel=error"], { cwd, env, stdio: ["ignore", "inherit", "inherit"] });
}

// Installs `wanted` into a directory of the cache, once. A mark at the end tells an installation that was cut short.
function installed(name, wanted, first) {
  const directory = join(CACHE, name);
  const mark = join(directory, ".complete");
  if (existsSync(mark)) return directory;
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "package.json"), '{ "private": true }\n');
  npm(["install", ...wanted], directory, first);
  writeFileSync(mark, "");
  return directory;
}

// Where the compiler is that package.json pins.
export function tools() {
  if (existsSync(join(HERE, "node_modules/typescript"))) return HERE;
  const { devDependencies } = JSON.parse(readFileSync(join(HERE, "package.json"), "utf8"));
  const wanted = Object.entries(devDependencies).map(([name, version]) => `${name}@${version}`);
  return installed(`tools-${devDependencies.typescript}`, wanted);
}

export function build() {
  const place = tools();
  const [dist, made] = [join(HERE, "dist"), join(HERE, `dist.${process.pid}`)];
  const types = join(place, "node_modules/@types");
  execFileSync(process.execPath, [join(place, "node_modules/typescript/bin/tsc"), "-p", HERE, "--typeRoots", types, "--outDir", made], { stdio: "inherit" });
  // Whoever uses it meanwhile has all of the old one or all of the new one, but for a moment.
  rmSync(dist, { recursive: true, force: true });
  renameSync(made, dist);
}

// A Node that OpenClaw runs on.
export function node() {
  return join(installed(`node-${NODE}`, [`node@${NODE}`]), "node_modules/node/bin/node");
}

// OpenClaw as anybody gets it.
export function openclaw(version = OPENCLAW) {
  return join(installed(`openclaw-${version}`, [`openclaw@${version}`], dirname(node())), "node_modules/openclaw");
}
