// Started by scripts/bench.mjs. What a tool call has taken is between the two lines that OpenClaw's own log has of it.

import { readFileSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { join } from "node:path";

import { OPENCLAW } from "../scripts/lib/toolchain.mjs";
import { Place } from "../test/place.mjs";

const CALLS = Number(process.env.CALLS ?? 20);
const TURNS = Number(process.env.TURNS ?? 3);
const TOOLS = ["exec", "write", "read", "edit", "ls"];

// The backend as it is, but without a bridge of its own: OpenClaw then does files by commands. Where `BWRAP` is told to, each of them is a
// process that the Gateway spawns, as with OpenClaw's own backends; bubblewrap is about the least that this can cost.
const SHELL = `import plugin from "./index.js";
import { spawn } from "node:child_process";
const bwrap = (workspace) => ({ script, args = [], stdin, allowFailure }) => new Promise((done, failed) => {
  const view = ["--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev"];
  const child = spawn("bwrap", [...view, "--bind", workspace, "/workspace", "--chdir", "/workspace", "/bin/sh", "-c", script, "openclaw-sandbox-fs", ...args]);
  const [out, err] = [[], []];
  child.stdout.on("data", (part) => out.push(part));
  child.stderr.on("data", (part) => err.push(part));
  child.on("error", failed);
  child.on("close", (code) => {
    const [stdout, stderr] = [Buffer.concat(out), Buffer.concat(err)];
    if (code === 0 || allowFailure) done({ stdout, stderr, code });
    else failed(Object.assign(new Error(stderr.toString()), { stdout, stderr, code }));
  });
  child.stdin.end(stdin ?? "");
});
export default { ...plugin, register(api) {
  plugin.register(api);
  const entry = globalThis[Symbol.for("openclaw.sandboxBackendFactories")]?.get("clawjail");
  if (!entry) return;
  const { factory, ...rest } = entry.registration;
  entry.registration = { ...rest, factory: async (params) => {
    const { createFsBridge, ...handle } = await factory(params);
    return BWRAP ? { ...handle, runShellCommand: bwrap(params.workspaceDir) } : handle;
  } };
} };
`;

function steps(tag) {
  const each = (make) => Array.from({ length: CALLS }, (_, n) => make(n));
  return [
    ...each((n) => ({ tool: "exec", args: { command: `: bench ${tag} ${n}` } })),
    ...each((n) => ({ tool: "write", args: { path: `files/${tag}-${n}.txt`, content: `one ${n}\ntwo\n` } })),
    ...each((n) => ({ tool: "read", args: { path: `files/${tag}-${n}.txt` } })),
    ...each((n) => ({ tool: "edit", args: { path: `files/${tag}-${n}.txt`, edits: [{ oldText: "two", newText: `three ${n}` }] } })),
    ...each((n) => ({ tool: "ls", args: { path: n % 2 ? "files" : "." } })),
  ];
}

async function prepare(way) {
  const sandbox = way === "off" ? { mode: "off" } : { mode: "all" };
  const place = await Place.make({ sandbox });
  if (way === "shell" || way === "bwrap") {
    writeFileSync(join(place.top, "plugin/dist/shell.js"), SHELL.replace("BWRAP ?", `${way === "bwrap"} ?`));
    const path = join(place.top, "plugin/package.json");
    writeFileSync(path, readFileSync(path, "utf8").replace('"./dist/index.js"]', '"./dist/shell.js"]'));
  }
  const path = join(place.top, "openclaw.json");
  const config = JSON.parse(readFileSync(path, "utf8"));
  config.tools.exec = { mode: "full" };
  writeFileSync(path, JSON.stringify(config));
  return place;
}

function callsIn(log) {
  const begun = new Map();
  const calls = [];
  for (const line of log.split("\n")) {
    const [, word, run, tool, call] = /embedded run tool (start|end): runId=(\S+) tool=(\w+) toolCallId=([\w-]+)/.exec(line) ?? [];
    const at = Date.parse(/"time":"([^"]+)"/.exec(line)?.[1] ?? "");
    if (word === "start") begun.set(run + call, at);
    if (word === "end" && begun.has(run + call)) calls.push({ tool, ms: at - begun.get(run + call) });
  }
  return calls;
}

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];

async function measure(way, took, loops, firsts) {
  const place = await prepare(way);
  try {
    await place.startGateway();
    // Modules are loaded by the first call of a process.
    await place.exec([{ tool: "exec", args: { command: ": warm" } }, { tool: "write", args: { path: "warm", content: "x" } }, { tool: "read", args: { path: "warm" } }, { tool: "ls", args: { path: "." } }], { how: "gateway", session: "warm" });
    for (let session = 0; session < 3; session += 1) {
      const { requests } = await place.exec([{ tool: "exec", args: { command: `: first ${session}` } }], { how: "gateway", session: `first${session}` });
      if (requests.length >= 2) firsts.push(requests[1].at - requests[0].at);
    }
    const { requests, results } = await place.exec(steps("a"), { how: "gateway", session: "bench", timeout: 600 });
    if (results.length !== TOOLS.length * CALLS) throw new Error(`${way}: ${results.length} results: ${results.at(-1)}`);
    const calls = callsIn(place.log()).slice(-TOOLS.length * CALLS);
    for (const { tool, ms } of calls) took[tool].push(ms);
    for (let n = 0; n < CALLS; n += 1) loops.push(requests[n + 1].at - requests[n].at);
  } finally {
    await place.remove();
  }
}

const ways = ["off", "clawjail", "shell", "bwrap"];
const all = Object.fromEntries(ways.map((way) => [way, { took: Object.fromEntries(TOOLS.map((tool) => [tool, []])), loops: [], firsts: [] }]));
for (let turn = 0; turn < TURNS; turn += 1) {
  for (const way of ways) await measure(way, all[way].took, all[way].loops, all[way].firsts);
}
const load = loadavg().map((number) => number.toFixed(1)).join(" ");
console.log(`OpenClaw ${OPENCLAW}, Node ${process.version}, medians of ${CALLS * TURNS} calls, Gateway mode, load ${load}\n`);
console.log("| milliseconds | sandbox off | clawjail | of off | default bridge, commands in clawjail | of clawjail | default bridge, commands spawned (bubblewrap) | of clawjail |\n|---|---|---|---|---|---|---|---|");
const row = (name, pick, files) => {
  const [off, ours, ...bridges] = ways.map((way) => median(pick(all[way])));
  const others = bridges.map((shell) => (files ? `${shell.toFixed(1)} | ${(shell / ours).toFixed(1)} times` : " | "));
  console.log(`| ${name} | ${off.toFixed(1)} | ${ours.toFixed(1)} | ${(ours / off).toFixed(2)} | ${others.join(" | ")} |`);
};
for (const tool of TOOLS) row(`\`${tool}\``, ({ took }) => took[tool], tool !== "exec");
row("`exec`, from the model's word to its next", ({ loops }) => loops, false);
row("the first `exec` of a session, the same", ({ firsts }) => firsts, false);
