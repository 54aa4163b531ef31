// Started by scripts/bench.mjs. Two clocks, and both are printed:
//
//   from word to word   from the model's word (a tool call) to its next request, which holds the result; microseconds, on the model's
//                       side. All that a person waits for, whoever spends it.
//   tool call           between the two lines that OpenClaw's own log has of a call. Whole milliseconds, so a median of them says little:
//                       the mean of the middle half.
//
// Sandbox off is OpenClaw without the plugin. It and clawjail have a Gateway each, both there all the time, and take turns of a few
// calls: whatever changes on the machine meanwhile, it changes for both.

import { readFileSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { join } from "node:path";

import { OPENCLAW } from "../scripts/lib/toolchain.mjs";
import { Place } from "../test/place.mjs";

// Of each tool, each way.
const CALLS = Number(process.env.CALLS ?? 60);
const BRIDGE_CALLS = Number(process.env.BRIDGE_CALLS ?? 10);
const FIRSTS = Number(process.env.FIRSTS ?? 30);
// Of each tool, until it is the other's turn.
const TURN = 10;
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

function steps(tag, calls) {
  const each = (make) => Array.from({ length: calls }, (_, n) => make(n));
  return [
    ...each((n) => ({ tool: "exec", args: { command: `: bench ${tag} ${n}` } })),
    ...each((n) => ({ tool: "write", args: { path: `files/${tag}-${n}.txt`, content: `one ${n}\ntwo\n` } })),
    ...each((n) => ({ tool: "read", args: { path: `files/${tag}-${n}.txt` } })),
    ...each((n) => ({ tool: "edit", args: { path: `files/${tag}-${n}.txt`, edits: [{ oldText: "two", newText: `three ${n}` }] } })),
    ...each((n) => ({ tool: "ls", args: { path: n % 2 ? "files" : "." } })),
  ];
}

// A Gateway that runs, with every module loaded that a first call loads.
async function begin(way) {
  const place = await Place.make({ sandbox: { mode: way === "off" ? "off" : "all" } });
  if (way === "shell" || way === "bwrap") {
    writeFileSync(join(place.top, "plugin/dist/shell.js"), SHELL.replace("BWRAP ?", `${way === "bwrap"} ?`));
    const path = join(place.top, "plugin/package.json");
    writeFileSync(path, readFileSync(path, "utf8").replace('"./dist/index.js"]', '"./dist/shell.js"]'));
  }
  const path = join(place.top, "openclaw.json");
  const config = JSON.parse(readFileSync(path, "utf8"));
  config.tools.exec = { mode: "full" };
  if (way === "off") delete config.plugins;
  writeFileSync(path, JSON.stringify(config));
  await place.startGateway();
  const taken = { way, place, spans: Object.fromEntries(TOOLS.map((tool) => [tool, []])), firsts: [] };
  await work(taken, steps("warm", 3), "warm");
  for (const tool of TOOLS) taken.spans[tool] = [];
  taken.skipped = callsIn(place.log()).length;
  return taken;
}

async function work({ way, place, spans }, asked, session) {
  const { requests, results } = await place.exec(asked, { how: "gateway", session, timeout: 600 });
  if (results.length !== asked.length) throw new Error(`${way}: ${results.length} results: ${results.at(-1)}`);
  asked.forEach(({ tool }, n) => spans[tool].push(requests[n + 1].at - requests[n].at));
}

async function first({ place, firsts }, n) {
  const { requests } = await place.exec([{ tool: "exec", args: { command: `: first ${n}` } }], { how: "gateway", session: `first${n}` });
  if (requests.length >= 2) firsts.push(requests[1].at - requests[0].at);
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

function readLog(taken) {
  const calls = callsIn(taken.place.log()).slice(taken.skipped);
  taken.logged = Object.fromEntries(TOOLS.map((tool) => [tool, calls.filter((call) => call.tool === tool).map(({ ms }) => ms)]));
}

const sorted = (numbers) => numbers.toSorted((a, b) => a - b);
const at = (numbers, share) => sorted(numbers)[Math.floor(numbers.length * share)];
const middle = (numbers) => {
  const half = sorted(numbers).slice(Math.floor(numbers.length / 4), Math.ceil((numbers.length * 3) / 4));
  return half.reduce((sum, number) => sum + number, 0) / half.length;
};

async function sideBySide() {
  const both = [await begin("off"), await begin("clawjail")];
  try {
    for (let turn = 0; turn * TURN < CALLS; turn += 1) {
      // Who goes first changes too.
      for (const taken of turn % 2 ? both.toReversed() : both) await work(taken, steps(`t${turn}`, TURN), "bench");
    }
    both.forEach(readLog);
    for (let n = 0; n < FIRSTS; n += 1) for (const taken of n % 2 ? both.toReversed() : both) await first(taken, n);
  } finally {
    for (const { place } of both) await place.remove();
  }
  return both;
}

async function bridge(way) {
  const taken = await begin(way);
  await work(taken, steps("bridge", BRIDGE_CALLS).filter(({ tool }) => tool !== "exec"), "bench");
  readLog(taken);
  await taken.place.remove();
  return taken;
}

const [off, ours] = await sideBySide();
const bridges = BRIDGE_CALLS > 0 ? [await bridge("shell"), await bridge("bwrap")] : [];
const load = loadavg().map((number) => number.toFixed(1)).join(" ");
console.log(`OpenClaw ${OPENCLAW}, Node ${process.version}, ${CALLS} calls of each tool each way, Gateway mode, load ${load}; milliseconds\n`);

const spread = (numbers) => `${at(numbers, 0.5).toFixed(2)} (${at(numbers, 0.25).toFixed(2)} to ${at(numbers, 0.75).toFixed(2)})`;
const ratio = (of, measure) => (measure(of(ours)) / measure(of(off))).toFixed(2);
const median = (numbers) => at(numbers, 0.5);
console.log("| | from word to word: sandbox off | clawjail | of off | tool call by the log: sandbox off | clawjail | of off |\n|---|---|---|---|---|---|---|");
for (const tool of TOOLS) {
  const [spans, logged] = [({ spans }) => spans[tool], ({ logged }) => logged[tool]];
  const log = [off, ours].map((taken) => middle(logged(taken)).toFixed(2)).join(" | ");
  console.log(`| \`${tool}\` | ${spread(spans(off))} | ${spread(spans(ours))} | ${ratio(spans, median)} | ${log} | ${ratio(logged, middle)} |`);
}
const [firstOff, firstOurs] = [off.firsts, ours.firsts];
const more = median(firstOurs) - median(firstOff);
console.log(`| the first \`exec\` of a session | ${spread(firstOff)} | ${spread(firstOurs)} | ${more >= 0 ? "+" : ""}${more.toFixed(2)} ms | | | |`);

if (bridges.length > 0) {
  console.log("\n| tool call by the log | clawjail | default bridge, commands in clawjail | of clawjail | default bridge, commands spawned (bubblewrap) | of clawjail |\n|---|---|---|---|---|---|");
  for (const tool of TOOLS.filter((tool) => tool !== "exec")) {
    const mine = middle(ours.logged[tool]);
    const others = bridges.map(({ logged }) => `${middle(logged[tool]).toFixed(1)} | ${(middle(logged[tool]) / mine).toFixed(1)} times`);
    console.log(`| \`${tool}\` | ${mine.toFixed(2)} | ${others.join(" | ")} |`);
  }
}
