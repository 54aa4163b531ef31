// A client of `clawjail serve`: Node's own modules alone, one file to copy.
//
//     const client = await Client.connect();
//     const jail = await client.open({ profile: "offline", workspace: "/srv/work" });
//     await jail.write("hello.js", "console.log('hello')");
//     const { stdout, verdict } = await jail.run(["node", "hello.js"]);
//
// The protocol is docs/protocol.md. Calls on one client go side by side.

import { existsSync } from "node:fs";
import { createConnection } from "node:net";
import { resolve } from "node:path";

const own = process.env.XDG_RUNTIME_DIR ?? `/run/user/${process.getuid()}`;
const PLACES = ["/run/clawjail/socket", `${own}/clawjail/socket`];

// An answer that is no result. `code` is a word that stays, such as `refused.rate`; its first part says who said no:
// `invalid` (the request made no sense), `refused` (nothing was executed), `denied` (by the jail), `failed` (the service's fault).
export class ClawjailError extends Error {
  constructor({ message, data }) {
    super(message);
    this.name = "ClawjailError";
    Object.assign(this, { code: data.code, remedy: data.remedy, retryAfterMs: data.retry_after_ms, verdict: data.verdict });
  }
}

// Text or bytes, as the wire has them: bytes that are text go as text.
function toWire(value) {
  if (typeof value === "string") return value;
  const text = Buffer.from(value).toString();
  return Buffer.from(text).equals(Buffer.from(value)) ? text : { base64: Buffer.from(value).toString("base64") };
}

const toBytes = ({ data, base64 }) => (data === undefined ? Buffer.from(base64, "base64") : Buffer.from(data));

export class Client {
  #socket;
  #next = 1;
  #calls = new Map();
  #runs = new Map();

  // Connects to the service at `path`, or where a service usually is.
  static connect(path = PLACES.find(existsSync) ?? PLACES[0]) {
    return new Promise((connected, failed) => {
      const socket = createConnection(path, () => connected(new Client(socket))).once("error", failed);
    });
  }

  constructor(socket) {
    this.#socket = socket;
    let rest = [];
    socket.on("data", (chunk) => {
      for (let end; (end = chunk.indexOf(10)) >= 0; chunk = chunk.subarray(end + 1)) {
        this.#take(JSON.parse(Buffer.concat([...rest, chunk.subarray(0, end)])));
        rest = [];
      }
      rest.push(chunk);
    });
    socket.on("error", () => {});
    socket.on("close", () => this.#fail(new Error("the service has closed the connection")));
  }

  // Hangs up, which ends this client's runs.
  close() {
    this.#socket.end();
    this.#socket.destroy();
  }

  // Asks, and gives the result.
  call(method, params = {}) {
    return this.#ask(method, params).answer;
  }

  #ask(method, params, begun) {
    const id = this.#next++;
    const answer = new Promise((done, failed) => this.#calls.set(id, { done, failed, begun }));
    this.#socket.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`);
    return { id, answer };
  }

  #take({ id, method, params, result, error }) {
    if (method) {
      this.#runs.get(params.run)?.take(method, params);
      if (method === "run.ended") this.#runs.delete(params.run);
      return;
    }
    // A line of ours that was too long, for one: the service hangs up.
    if (id === null) return this.#fail(new ClawjailError(error));
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    if (error) return call?.failed(new ClawjailError(error));
    // Before the next line is looked at, which may be about the run that has just begun.
    call?.done(call.begun ? call.begun(result) : result);
  }

  #fail(error) {
    for (const { failed } of this.#calls.values()) failed(error);
    for (const run of this.#runs.values()) run.fail(error);
    this.#calls.clear();
    this.#runs.clear();
  }

  #watch = (about) => {
    const run = new Run(this, about);
    this.#runs.set(run.id, run);
    return run;
  };

  // A jail that stays until it is closed: workspace, profile, agent, session, idle_ms, age_ms, until_disconnect, tier.
  async open({ workspace, ...more }) {
    return new Jail(this, await this.call("jail.open", { workspace: workspace && resolve(workspace), ...more }));
  }

  // Starts a command: profile, workspace or jail, cwd, env, timeout_ms, stdin, tty, detach, session. `signal` aborts it.
  async start(argv, { workspace, signal, ...more } = {}) {
    signal?.throwIfAborted();
    const params = { argv: argv.map(toWire), workspace: workspace && resolve(workspace), ...more };
    const { id, answer } = this.#ask("run", params, this.#watch);
    // It may wait for its turn yet; the error of one that was answered meanwhile says nothing new.
    const cancel = () => this.call("run.cancel", { request: id }).catch(() => {});
    signal?.addEventListener("abort", cancel, { once: true });
    const run = await answer.finally(() => signal?.removeEventListener("abort", cancel));
    const kill = () => run.signal("KILL").catch(() => {});
    if (signal?.aborted) kill();
    signal?.addEventListener("abort", kill, { once: true });
    run.ended.catch(() => {}).finally(() => signal?.removeEventListener("abort", kill));
    return run;
  }

  // A run of before, by its id, with its output so far.
  attach(run) {
    return this.#ask("run.attach", { run }, this.#watch).answer;
  }

  // Runs a command to its end.
  async run(argv, { input, ...more } = {}) {
    const run = await this.start(argv, { stdin: input === undefined ? "none" : "pipe", ...more });
    return run.finish(input);
  }
}

// A command under way. Iterate over it for its output: `[stream, bytes]`. `ended` becomes its verdict.
export class Run {
  #client;
  #events = [];
  #wake = () => {};
  #settle;

  constructor(client, about) {
    this.#client = client;
    this.id = about.run;
    this.about = about;
    this.ended = new Promise((done, failed) => (this.#settle = { done, failed }));
    this.ended.catch(() => {});
  }

  take(method, params) {
    if (method === "run.output") this.#events.push([params.stream, toBytes(params)]);
    if (method === "run.ended") {
      this.#events.push(null);
      this.#settle.done(params.verdict);
    }
    this.#wake();
  }

  fail(error) {
    this.#events.push(null);
    this.#settle.failed(error);
    this.#wake();
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this.#events.length === 0) await new Promise((wake) => (this.#wake = wake));
      const event = this.#events.shift();
      if (!event) return;
      yield event;
    }
  }

  // Gives it `input`, waits for its end, and gathers its output.
  async finish(input) {
    const written = input === undefined ? undefined : this.write(input, { close: true }).catch(() => {});
    const gathered = { stdout: [], stderr: [], terminal: [] };
    for await (const [stream, bytes] of this) gathered[stream]?.push(bytes);
    const verdict = await this.ended;
    await written;
    const stdout = Buffer.concat([...gathered.stdout, ...gathered.terminal]);
    return { exitCode: verdict.exit_code, stdout, stderr: Buffer.concat(gathered.stderr), verdict };
  }

  // Sends input; done when the command's pipe has taken it.
  write(data, { close = false } = {}) {
    return this.#client.call("run.stdin", { run: this.id, data: toWire(data), close });
  }

  // `KILL` ends it with everything it started.
  signal(signal = "TERM") {
    return this.#client.call("run.signal", { run: this.id, signal });
  }

  resize(rows, columns) {
    return this.#client.call("run.resize", { run: this.id, rows, columns });
  }
}

// A jail that stays. Paths are as a command in it would write them.
export class Jail {
  #client;

  constructor(client, about) {
    this.#client = client;
    this.id = about.jail;
    this.about = about;
  }

  // Ends what runs in it, and takes it away.
  close() {
    return this.#client.call("jail.close", { jail: this.id });
  }

  run(argv, options) {
    return this.#client.run(argv, { jail: this.id, ...options });
  }

  start(argv, options) {
    return this.#client.start(argv, { jail: this.id, ...options });
  }

  #files(method, path, params) {
    return this.#client.call(`fs.${method}`, { jail: this.id, path: toWire(path), ...params });
  }

  // What a file is; null where there is none.
  stat(path, { follow = true } = {}) {
    return this.#files("stat", path, { follow }).catch((error) => {
      if (error.code === "denied.enoent") return null;
      throw error;
    });
  }

  // All of a file, as bytes.
  async read(path) {
    const parts = [];
    for (let offset = 0; ; ) {
      const part = await this.#files("read", path, { offset });
      offset += parts[parts.push(toBytes(part)) - 1].length;
      if (part.end) return Buffer.concat(parts);
    }
  }

  // All of a file anew, at once or not at all.
  write(path, content, { mode } = {}) {
    return this.#files("write", path, { content: toWire(content), mode });
  }

  // A file that must not be there yet.
  create(path, content = "", { mode } = {}) {
    return this.#files("create", path, { content: toWire(content), mode });
  }

  mkdir(path, { parents = false } = {}) {
    return this.#files("mkdir", path, { parents });
  }

  remove(path, { recursive = false } = {}) {
    return this.#files("remove", path, { recursive });
  }

  rename(from, to, { replace = true } = {}) {
    return this.#client.call("fs.rename", { jail: this.id, from: toWire(from), to: toWire(to), replace });
  }

  // All entries of a directory, sorted by name: `name`, `kind`, `size`.
  async list(path = ".") {
    const entries = [];
    for (;;) {
      const part = await this.#files("list", path, { after: entries.at(-1)?.name });
      entries.push(...part.entries);
      if (!part.more) return entries;
    }
  }
}
