// A place of the test's own: a service of clawjail's, a model, a workspace, and OpenClaw with its state in it.

import { execFile, spawn } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";

import { CACHE, HERE, TOP, node, openclaw } from "../scripts/lib/toolchain.mjs";
import { Model } from "./model.mjs";
import { Person } from "./person.mjs";

const TOKEN = "a-token-of-this-test";

export const BINARY = process.env.CLAWJAIL_BINARY ?? ["release", "debug"].map((kind) => join(TOP, `target/x86_64-unknown-linux-gnu/${kind}/clawjail`)).find(existsSync);
const PACKAGE = openclaw();
const NODE = node();

export async function until(what, holds, most = 90_000) {
  const late = Date.now() + most;
  for (;;) {
    const held = await holds();
    if (held) return held;
    if (Date.now() > late) throw new Error(`not within ${most} ms: ${what}`);
    await sleep(20);
  }
}

const freePort = () =>
  new Promise((found) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => found(port));
    });
  });

export class Place {
  #n = 0;
  #person;

  static async make({ sandbox = {}, plugin = {}, config = {}, service = "", backend = "clawjail" } = {}) {
    const place = new Place();
    place.top = mkdtempSync("/tmp/clawjail-openclaw.");
    chmodSync(place.top, 0o755);
    for (const name of ["home", "state", "ws", "config", "plugin"]) mkdirSync(join(place.top, name));
    place.workspace = join(realpathSync(place.top), "ws");
    writeFileSync(join(place.workspace, "README.md"), "a workspace\n");
    place.socket = join(place.top, "socket");
    place.model = await Model.start();
    place.settings = { sandbox, plugin, config, backend };
    place.installPlugin();
    place.port = await freePort();
    place.configure();
    await place.startService(service);
    return place;
  }

  // As a person would install it: the package's published files, in a directory that OpenClaw is told of.
  installPlugin() {
    for (const name of ["dist", "package.json", "openclaw.plugin.json"]) cpSync(join(HERE, name), join(this.top, "plugin", name), { recursive: true });
  }

  configure(change = {}) {
    Object.assign(this.settings, change);
    const { sandbox, plugin, config, backend } = this.settings;
    const cost = { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 };
    const model = { id: "fake-1", name: "Fake", reasoning: false, input: ["text"], cost, contextWindow: 128_000, maxTokens: 4096 };
    const { agents = {}, tools = {}, ...more } = config;
    const written = {
      update: { checkOnStart: false },
      logging: { file: join(this.top, "openclaw.log"), level: "debug" },
      gateway: { mode: "local", bind: "loopback", port: this.port, auth: { mode: "token", token: TOKEN } },
      models: { mode: "replace", catalogRefresh: { enabled: false }, providers: { fake: { baseUrl: this.model.url, apiKey: "x", api: "openai-completions", models: [model] } } },
      agents: {
        ...agents,
        defaults: { model: { primary: "fake/fake-1" }, workspace: this.workspace, skipBootstrap: true, sandbox: { mode: "all", backend, scope: "session", workspaceAccess: "rw", ...sandbox }, ...agents.defaults },
      },
      // All tools are named to the model: it looks for none.
      tools: { profile: "coding", toolSearch: false, ...tools },
      plugins: { load: { paths: [join(this.top, "plugin")] }, entries: { clawjail: { enabled: true, config: { socket: this.socket, binary: BINARY, ...plugin } } } },
      ...more,
    };
    writeFileSync(join(this.top, "openclaw.json"), JSON.stringify(written, null, 2));
  }

  get env() {
    const { PATH, LANG = "C.UTF-8" } = process.env;
    return {
      PATH: `${join(NODE, "..")}:${PATH}`,
      LANG,
      HOME: join(this.top, "home"),
      OPENCLAW_HOME: join(this.top, "home"),
      OPENCLAW_STATE_DIR: join(this.top, "state"),
      OPENCLAW_CONFIG_PATH: join(this.top, "openclaw.json"),
      OPENCLAW_NO_AUTO_UPDATE: "1",
      OPENCLAW_OFFLINE: "1",
      OPENCLAW_SKIP_CHANNELS: "1",
      OPENCLAW_DISABLE_BONJOUR: "1",
      DO_NOT_TRACK: "1",
      CI: "1",
      NODE_COMPILE_CACHE: join(CACHE, "compiled"),
    };
  }

  async startService(more = "") {
    const root = process.getuid() === 0;
    const config = join(this.top, "config/clawjail.toml");
    if (more || !existsSync(config)) {
      writeFileSync(config, `${root ? 'user = "nobody"\n' : ""}${more}\n[ledger]\npath = "${realpathSync(this.top)}/ledger"\n`, { mode: 0o644 });
    }
    this.service = spawn(BINARY, ["serve", "--config", config, "--socket", this.socket], { stdio: ["ignore", "ignore", "pipe"], env: { PATH: process.env.PATH, HOME: join(this.top, "home") } });
    this.said = "";
    this.service.stderr.on("data", (chunk) => (this.said += chunk));
    await until("a service", () => {
      if (this.service.exitCode !== null) throw new Error(`the service ended: ${this.said}`);
      return this.#listens(this.socket);
    });
  }

  #listens(where) {
    return new Promise((answer) => {
      const socket = createConnection(where, () => answer(socket.destroy() && true)).on("error", () => answer(false));
    });
  }

  async stopService(signal = "SIGTERM") {
    const gone = new Promise((ended) => this.service.once("exit", ended));
    this.service.kill(signal);
    await gone;
  }

  clawjail(...args) {
    return new Promise((done) => execFile(BINARY, args, (error, stdout, stderr) => done({ code: error?.code ?? 0, stdout, stderr })));
  }

  async jails() {
    const { stdout } = await this.clawjail("jail", "list", "--socket", this.socket, "--json");
    return stdout.trim() ? JSON.parse(stdout) : [];
  }

  script(steps) {
    const path = join(this.top, `script-${++this.#n}.json`);
    writeFileSync(path, JSON.stringify(steps));
    return path;
  }

  openclaw(args, { timeout = 120_000 } = {}) {
    return new Promise((done) => {
      const options = { env: this.env, cwd: this.workspace, timeout, maxBuffer: 64 << 20 };
      execFile(NODE, [join(PACKAGE, "openclaw.mjs"), ...args], options, (error, stdout, stderr) => done({ code: error?.code ?? 0, stdout, stderr }));
    });
  }

  // Has the model do `steps`, and gives what the tools answered, by step. `gateway` is a person who chats, which starts no process;
  // `cli` is `openclaw agent` by way of the Gateway.
  async exec(steps, { how = "exec", agent = "main", session = "main", timeout = 120, attachments, abortAfter } = {}) {
    const path = this.script(steps);
    const message = `SCRIPT:${path} go`;
    const key = `agent:${agent}:${session}`;
    if (how === "gateway") {
      const end = await this.#chat(key, message, timeout * 1000, { ...(attachments && { attachments }) }, abortAfter);
      const requests = this.model.requests.filter((request) => request.path === path);
      return { code: 0, stdout: "", stderr: JSON.stringify(end), end, requests, results: requests.at(-1)?.results ?? [] };
    }
    const args = {
      exec: ["agent", "exec", "--config", join(this.top, "openclaw.json"), "--cwd", this.workspace, "--json", "--timeout", `${timeout}`, message],
      local: ["agent", "--local", "--session-key", key, "--json", "--timeout", `${timeout}`, "-m", message],
      cli: ["agent", "--session-key", key, "--json", "--timeout", `${timeout}`, "-m", message],
    }[how];
    for (let attempt = 1; ; attempt += 1) {
      const ran = await this.openclaw(args, { timeout: (timeout + 60) * 1000 });
      const requests = this.model.requests.filter((request) => request.path === path);
      // OpenClaw's own upkeep of its database gives a turn up now and then on a slow machine, before the model is asked.
      const upkeep = requests.length === 0 && /database|sqlite/i.test(ran.stdout + ran.stderr);
      if (!upkeep || attempt === 4) return { ...ran, requests, results: requests.at(-1)?.results ?? [] };
      await sleep(3000);
    }
  }

  // Who chats with this Gateway, from their first word on.
  person() {
    return (this.#person ??= Person.arrive(this.port, TOKEN));
  }

  async #chat(key, message, timeoutMs, more, abortAfter) {
    const person = await this.person();
    const said = await person.say(key, message, { timeoutMs, ...more });
    if (abortAfter) {
      await abortAfter();
      await person.call("chat.abort", { sessionKey: key, runId: said.runId });
    }
    return person.heardOut(said, timeoutMs + 60_000);
  }

  async startGateway() {
    this.gateway = spawn(NODE, [join(PACKAGE, "openclaw.mjs"), "gateway", "run"], { env: this.env, cwd: this.workspace, stdio: ["ignore", "pipe", "pipe"] });
    this.gatewaySaid = "";
    for (const stream of [this.gateway.stdout, this.gateway.stderr]) stream.on("data", (chunk) => (this.gatewaySaid += chunk));
    await until(
      "a Gateway",
      () => {
        if (this.gateway.exitCode !== null) throw new Error(`the Gateway ended: ${this.gatewaySaid}`);
        return this.#listens({ port: this.port, host: "127.0.0.1" });
      },
      120_000,
    );
  }

  // The Gateway itself: `openclaw` starts another process for it.
  get gatewayPids() {
    const word = `OPENCLAW_STATE_DIR=${join(this.top, "state")}\0`;
    return readdirSync("/proc").filter((pid) => /^\d+$/.test(pid)).flatMap((pid) => {
      try {
        const ours = `${readFileSync(`/proc/${pid}/environ`, "utf8")}\0`.includes(word);
        return ours && /openclaw|node/.test(readFileSync(`/proc/${pid}/cmdline`, "utf8")) ? [Number(pid)] : [];
      } catch {
        return [];
      }
    });
  }

  async killGateway() {
    void this.#person?.then((person) => person.leave()).catch(() => undefined);
    this.#person = undefined;
    for (const pid of this.gatewayPids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has ended.
      }
    }
    await until("the Gateway is gone", () => this.gatewayPids.length === 0);
  }

  // Has OpenClaw's registry of sandboxes say that a session's was used so long ago. Gives how many there are.
  age(session, ms) {
    const change = "UPDATE sandbox_registry_entries SET last_used_at_ms = last_used_at_ms - ? WHERE container_name = ?";
    return this.#inRegistry((registry) => Number(registry.prepare(change).run(ms, this.runtimeOf(session)).changes));
  }

  // What OpenClaw's registry calls a session's sandbox.
  runtimeOf(session) {
    const named = "SELECT container_name AS name FROM sandbox_registry_entries WHERE session_key = ? OR session_key LIKE ?";
    const { name } = this.#inRegistry((registry) => registry.prepare(named).get(session, `${session}:workspace:%`));
    return name;
  }

  #inRegistry(work) {
    const state = join(this.top, "state");
    const database = readdirSync(state, { recursive: true }).find((name) => /openclaw[^/]*\.sqlite$/.test(name) && this.#registers(join(state, name)));
    if (!database) throw new Error("no registry of sandboxes");
    const registry = new DatabaseSync(join(state, database));
    try {
      return work(registry);
    } finally {
      registry.close();
    }
  }

  #registers(path) {
    const database = new DatabaseSync(path, { readOnly: true });
    try {
      return database.prepare("SELECT name FROM sqlite_master WHERE name = 'sandbox_registry_entries'").get() !== undefined;
    } finally {
      database.close();
    }
  }

  log() {
    return existsSync(join(this.top, "openclaw.log")) ? readFileSync(join(this.top, "openclaw.log"), "utf8") : "";
  }

  #removed() {
    try {
      rmSync(this.top, { recursive: true, force: true });
      return true;
    } catch {
      return false;
    }
  }

  // Command lines on this machine that hold `word`.
  running(word) {
    return readdirSync("/proc").filter((pid) => /^\d+$/.test(pid)).flatMap((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
        return line.includes(word) ? [{ pid: Number(pid), line }] : [];
      } catch {
        return [];
      }
    });
  }

  async remove() {
    await this.killGateway();
    if (this.service.exitCode === null && this.service.signalCode === null) await this.stopService();
    this.model.stop();
    // What OpenClaw leaves behind may write for a moment yet.
    if (!process.env.KEEP) await until("the place is gone", () => this.#removed(), 10_000);
  }
}
