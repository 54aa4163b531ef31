// Parts of the plugin by themselves, some of them with a real service.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";

import { Bridge } from "../dist/bridge.js";
import { Client } from "../dist/client.js";
import { findRegister } from "../dist/host.js";
import { evaluate } from "../dist/policy.js";
import { Runtime, runtimeId } from "../dist/runtime.js";
import { bytes, fits, specify, translate } from "../dist/settings.js";
import { BINARY, Place } from "./place.mjs";

describe("settings", () => {
  it("sizes are those of docker", () => {
    const sizes = { "512m": 2 ** 29, "1g": 2 ** 30, "1.5GiB": 1.5 * 2 ** 30, "10k": 10240, 77: 77, "2GB": 2 ** 31 };
    for (const [text, number] of Object.entries(sizes)) assert.equal(bytes(text), number, text);
    for (const wrong of ["", "many", "-1", "1x", 0, -5]) assert.equal(bytes(wrong), undefined, String(wrong));
  });

  it("without any, there is no network, and a profile that was chosen decides only where nothing is written", () => {
    assert.equal(translate({ network: "none" }, "as-configured", "default").narrow.network, "none");
    assert.equal(translate({ network: "none" }, "by-profile", "default").narrow.network, undefined);
    const params = { sessionKey: "agent:a:x", scopeKey: "s", workspaceDir: "/w", agentWorkspaceDir: "/w", cfg: { workspaceAccess: "none", docker: { network: "none" } } };
    assert.equal(specify(params, {}, {}).narrow.network, "none");
    assert.equal(specify(params, { agents: { a: { profile: "mine" } } }, {}).narrow.network, undefined);
    const written = { agents: { entries: { a: { sandbox: { docker: { network: "none" } } } } } };
    assert.equal(specify(params, { agents: { a: { profile: "mine" } } }, written).narrow.network, "none");
    const bridge = { ...params, cfg: { ...params.cfg, docker: { network: "bridge" } } };
    assert.equal(specify(bridge, {}, {}).narrow.network, undefined, "the profile has none, which is what counts");
  });

  it("each that cannot be kept has a line, and none is dropped in silence", () => {
    const docker = { binds: ["/a:/b", "name:/c:ro"], tmpfs: ["/scratch"], gpus: "all", dns: ["1.1.1.1"], extraHosts: ["a:1.2.3.4"], apparmorProfile: "mine", seccompProfile: "mine", ulimits: { stack: 1 }, network: "container:x", memory: "much" };
    const { refused } = translate(docker, "as-configured", "configured");
    assert.equal(refused.length, 11, refused.join("\n"));
    const tighter = translate({ image: "other", user: "0:0", readOnlyRoot: false, network: "host", seccompProfile: "unconfined", capDrop: ["ALL"] }, "as-configured", "default");
    assert.deepEqual(tighter.refused, []);
    assert.equal(tighter.noted.length, 4);
  });

  it("what only OpenClaw's own backends can do is refused", () => {
    const params = { sessionKey: "agent:a:x", scopeKey: "s", workspaceDir: "/w", agentWorkspaceDir: "/w", workspaceSource: "managed-worktree", cfg: { workspaceAccess: "rw", docker: {} } };
    assert.throws(() => specify(params, {}, {}), /managed work tree/);
    assert.ok(specify({ ...params, workspaceSource: undefined }, {}, {}), "positive control");
  });

  it("patterns have one sign", () => {
    assert.ok(fits("rm *", "rm -rf /") && fits("*", "") && fits("a.b*c", "a.bXXc") && fits("*\n*", "a\nb"));
    assert.ok(!fits("rm *", "xrm -rf") && !fits("a.b", "aXb") && !fits("[a]", "a"));
  });
});

describe("the manifest", () => {
  it("has the backend's name, loads at start, and names what is registered", async () => {
    const manifest = JSON.parse(readFileSync(new URL("../openclaw.plugin.json", import.meta.url), "utf8"));
    // How a backend is registered is looked for when the plugin is loaded.
    globalThis[Symbol.for("openclaw.sandboxBackendFactories")] ??= new Map();
    const { default: plugin } = await import("../dist/index.js");
    // `openclaw sandbox` finds a backend's manager by the plugin of that name.
    assert.deepEqual([manifest.id, plugin.id], ["clawjail", "clawjail"]);
    assert.deepEqual(manifest.activation, { onStartup: true });
    assert.deepEqual(manifest.contracts.trustedToolPolicies, ["clawjail"]);
    assert.equal(manifest.categories, undefined, "up to 2026.9.4 a category that OpenClaw does not know makes it refuse the whole plugin");
    const { dependencies = {}, files } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
    assert.deepEqual(dependencies, {}, "nothing comes along with it");
    assert.ok(files.includes("dist") && files.includes("openclaw.plugin.json"));
  });
});

describe("OpenClaw's interface", () => {
  const registry = Symbol.for("openclaw.sandboxBackendFactories");

  it("is its module, else its registry, else an error that names the versions that were tried", () => {
    const calls = [];
    findRegister(() => ({ registerSandboxBackend: (...given) => calls.push(given) }))("id", {});
    assert.equal(calls.length, 1);
    const absent = () => {
      throw new Error("no such module");
    };
    const before = globalThis[registry];
    delete globalThis[registry];
    assert.throws(() => findRegister(absent)("id", {}), /no way to register.*Tried with OpenClaw 2026\.\d+\.\d+/);
    globalThis[registry] = new Map();
    const first = { factory: 1 };
    const leave = findRegister(absent)("id", first);
    assert.equal(globalThis[registry].get("id").registration, first);
    const leaveSecond = findRegister(absent)("id", { factory: 2 });
    leave();
    leaveSecond();
    assert.equal(globalThis[registry].has("id"), false);
    globalThis[registry] = before;
  });

  it("gets an audit of ours that says what is refused, whether there is a service, and what the doctor finds", async () => {
    globalThis[registry] ??= new Map();
    const { default: plugin } = await import("../dist/index.js");
    let collector;
    const api = { registrationMode: "full", config: {}, pluginConfig: { socket: "/nonexistent", binary: BINARY }, logger: console, registerSecurityAuditCollector: (given) => (collector = given) };
    plugin.register(api);
    const docker = { binds: ["/a:/b"], image: "other" };
    const stateDir = mkdtempSync("/tmp/clawjail-openclaw-audit.");
    const configPath = join(stateDir, "openclaw.json");
    const config = { gateway: { mode: "local", bind: "lan" }, agents: { defaults: { sandbox: { backend: "clawjail", mode: "all", docker } } } };
    writeFileSync(configPath, JSON.stringify(config), { mode: 0o600 });
    const context = { config, stateDir, configPath, env: { PATH: process.env.PATH, HOME: stateDir, LD_PRELOAD: "/nonexistent.so" } };
    const findings = await collector(context);
    const ids = findings.map(({ checkId, severity }) => `${checkId} ${severity}`);
    assert.deepEqual(ids.slice(0, 3), ["clawjail.service critical", "clawjail.refused.main.0 critical", "clawjail.otherwise.main.0 info"]);
    for (const id of ["clawjail.gateway.bind", "clawjail.skills.no-install-policy"]) assert.ok(ids.some((found) => found.startsWith(id)), `${id}: ${ids.join(", ")}`);
    assert.ok(findings.every((one) => Object.keys(one).every((key) => ["checkId", "severity", "title", "detail", "remediation"].includes(key))));
    // As earlier versions had it.
    const list = await collector({ ...context, config: { agents: { defaults: {}, list: [{ id: "old", sandbox: config.agents.defaults.sandbox }] } } });
    assert.ok(list.some(({ checkId }) => checkId === "clawjail.refused.old.0"));
    const [unused] = await collector({ ...context, config: {} });
    assert.equal(unused.checkId, "clawjail.unused");
    const [, missing] = await collector({ ...context, config: {}, configPath: join(stateDir, "none"), stateDir: join(stateDir, "none"), env: {} });
    assert.deepEqual([missing.checkId, missing.severity], ["clawjail.doctor", "warn"], "what cannot be looked at is said");
    rmSync(stateDir, { recursive: true });
  });
});

describe("rules", () => {
  const backend = { serves: () => false };
  const decide = (rules, event) => evaluate({ rules, agents: { a: { rules: [{ tools: ["exec"], command: "ok *", decide: "allow" }] } } }, backend, event, { agentId: "a" });

  it("count in their order, the agent's first", () => {
    const rules = [{ command: "ok *", decide: "deny" }, { tools: ["write"], path: "*/secret*", decide: "deny", why: "no" }, { command: "ask *", decide: "ask" }];
    assert.equal(decide(rules, { toolName: "exec", params: { command: "ok go" } }), undefined);
    assert.match(decide(rules, { toolName: "write", params: { path: "a/secret.txt" } }).blockReason, /denied by policy: no\./);
    assert.equal(decide(rules, { toolName: "read", params: { path: "a/secret.txt" } }), undefined);
    const { requireApproval } = decide(rules, { toolName: "exec", params: { command: `ask ${"x".repeat(2000)}` } });
    assert.ok(requireApproval.title.length <= 80 && requireApproval.description.length <= 512);
    assert.deepEqual(requireApproval.allowedDecisions, ["allow-once", "deny"]);
  });
});

describe("with a service", () => {
  let place;
  let runtime;
  let bridge;
  let client;

  before(async () => {
    place = await Place.make();
    client = new Client(place.socket);
    const params = { sessionKey: "agent:main:x", scopeKey: "agent:main:x", workspaceDir: place.workspace, agentWorkspaceDir: place.workspace, cfg: { workspaceAccess: "rw", docker: {} } };
    const spec = specify(params, {}, {});
    runtime = new Runtime(client, runtimeId("agent:main:x"), spec);
    bridge = new Bridge(runtime, spec.mappings, { workspaceDir: place.workspace, containerWorkdir: "/workspace" });
  }, { timeout: 60_000 });

  after(async () => {
    client.close();
    await place.remove();
  });

  it("a file that no request holds is written whole, and read in parts", async () => {
    const data = Buffer.alloc(11_000_000, "0123456789abcdef\0\xff", "latin1");
    await bridge.writeFile({ filePath: "large/of/bytes", data });
    assert.ok(readFileSync(join(place.workspace, "large/of/bytes")).equals(data));
    assert.ok((await bridge.readFile({ filePath: "large/of/bytes" })).equals(data));
    await assert.rejects(bridge.readFile({ filePath: "large/of/bytes", maxBytes: 1000 }), /more than 1000/);
    assert.equal(await bridge.createFileExclusive({ filePath: "large/of/bytes", data }), "exists");
  });

  it("does what OpenClaw's bridge does: stat, copy, rename, remove, list", async () => {
    await bridge.writeFile({ filePath: "/workspace/d/one", data: "é1", encoding: "utf8" });
    await bridge.copyFile({ sourcePath: "d/one", destinationPath: "e/two" });
    await bridge.rename({ from: "e/two", to: "e/three" });
    assert.deepEqual(await bridge.readDirectory({ filePath: "e" }), [{ name: "three", isDirectory: false }]);
    const { type, size } = await bridge.stat({ filePath: join(place.workspace, "e/three") });
    assert.deepEqual([type, size], ["file", 3]);
    await assert.rejects(bridge.remove({ filePath: "e" }), { code: /^denied\./ });
    await bridge.remove({ filePath: "e", recursive: true });
    assert.equal(await bridge.stat({ filePath: "e" }), null);
    await bridge.remove({ filePath: "e", force: true });
    await assert.rejects(bridge.readFile({ filePath: "e" }), /ENOENT: cannot read \/workspace\/e: there is no such file/);
    assert.throws(() => bridge.resolvePath({ filePath: "../../etc/passwd" }), /escapes sandbox root/);
    assert.equal(bridge.resolvePath({ filePath: "x", cwd: join(place.workspace, "d") }).containerPath, "/workspace/d/x");
  });

  it("looks ahead once, and never past a change of its own or a command", async () => {
    const file = { filePath: "looked-at" };
    await bridge.writeFile({ ...file, data: "one" });
    await bridge.stat(file);
    await bridge.writeFile({ ...file, data: "two" });
    assert.equal((await bridge.readFile(file)).toString(), "two");
    await bridge.stat(file);
    assert.equal((await bridge.readFile(file)).toString(), "two");
    writeFileSync(join(place.workspace, "looked-at"), "three");
    assert.equal((await bridge.readFile(file)).toString(), "three", "a second look is a new one");
    await bridge.stat(file);
    await assert.rejects(bridge.readFile({ ...file, maxBytes: 2 }), /more than 2/);
    await bridge.writeFile({ ...file, data: "four" });
    await runtime.shell({ script: "echo five >looked-at" });
    assert.equal((await bridge.readFile(file)).toString(), "five\n");
    await bridge.stat(file);
    await bridge.remove(file);
    await assert.rejects(bridge.readFile(file), /ENOENT/);
    await bridge.mkdirp({ filePath: "known/below" });
    await bridge.writeFile({ filePath: "known/below/a", data: "x" });
    await bridge.remove({ filePath: "known", recursive: true });
    await bridge.mkdirp({ filePath: "known/below" });
    assert.equal((await bridge.stat({ filePath: "known/below" })).type, "directory");
  });

  it("keeps a process alive while a script runs that it waits for, and no longer", async () => {
    const script = `import { Client } from ${JSON.stringify(new URL("../dist/client.js", import.meta.url).href)};
      import { Runtime } from ${JSON.stringify(new URL("../dist/runtime.js", import.meta.url).href)};
      const runtime = new Runtime(new Client(${JSON.stringify(place.socket)}), "alone", ${JSON.stringify(runtime.spec)});
      const { stdout } = await runtime.shell({ script: "sleep 0.3; echo waited for" });
      process.stdout.write(stdout);`;
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", script], { timeout: 20_000 });
    assert.equal(stdout, "waited for\n");
  });

  it("keeps the mode of what it writes", async () => {
    writeFileSync(join(place.workspace, "tool"), "x", { mode: 0o750 });
    await bridge.writeFile({ filePath: "tool", data: "y" });
    assert.equal(statSync(join(place.workspace, "tool")).mode & 0o777, 0o750);
  });

  it("runs scripts with arguments and input, and gives them up", async () => {
    const { stdout, code } = await runtime.shell({ script: 'cat; echo "$1 $2"; exit 4', args: ["a b", "$(id)"], stdin: "in\n", allowFailure: true });
    assert.deepEqual([stdout.toString(), code], ["in\na b $(id)\n", 4]);
    await assert.rejects(runtime.shell({ script: "echo why >&2; exit 1" }), /why/);
    await assert.rejects(runtime.shell({ script: "sleep 7776", signal: AbortSignal.timeout(300) }), { name: "TimeoutError" });
    assert.equal(place.running("sleep 7776").length, 0);
  });

  it("a jail that was closed, and a service that was restarted, are found again by the next call", async () => {
    await runtime.shell({ script: "echo kept >/tmp/file" });
    const { jails } = await client.call("jail.list", {});
    await client.call("jail.close", { jail: jails[0].jail });
    assert.equal((await runtime.shell({ script: "cat /tmp/file", allowFailure: true })).code, 1, "a new one");
    const under = runtime.shell({ script: "sleep 1000" });
    const failed = assert.rejects(under, { code: "gone" });
    await new Promise((later) => setTimeout(later, 500));
    await place.stopService("SIGKILL");
    await failed;
    await place.startService();
    assert.equal((await runtime.shell({ script: "echo on" })).stdout.toString(), "on\n");
    await bridge.writeFile({ filePath: "after", data: "x" });
  });
});
