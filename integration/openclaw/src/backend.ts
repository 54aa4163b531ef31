// The backend: one runtime for each scope of OpenClaw's, and a handle on it for each turn of a session.

import { accessSync, constants } from "node:fs";
import { join, posix } from "node:path";
import { randomUUID } from "node:crypto";

import { Bridge } from "./bridge.ts";
import { type Call, Calls, describe } from "./calls.ts";
import { type Client, toWire } from "./client.ts";
import type { Env, ExecSpec, FactoryParams, Handle, Logger } from "./host.ts";
import { type Prepared, Runtime, runtimeId } from "./runtime.ts";
import { agentOf, type Options, type Spec, specify, WORKDIR } from "./settings.ts";

// How large a terminal of an agent is.
const TERMINAL = { rows: 30, columns: 120 };
// Directories beside the workspace that a command may start in.
const ROOTS = [WORKDIR, "/tmp", "/agent"];
// Names the commands that one cleanup is about.
const CLEANUP = "CLAWJAIL_CLEANUP";
// How long a result waits for its verdict, which mostly is there before it.
const PATIENCE_MS = 250;
// How much later than the result what the log says of it is written.
const LOG_MS = 10;
// How long a command waits for its jail, if that has turned out to be gone and another is made.
const REPAIR_MS = 20_000;

export const labelOf = (profile: string): string => `profile=${profile}`;

export class Backend {
  readonly #client: Client;
  readonly binary: string;
  readonly #options: Options;
  readonly #config: unknown;
  readonly #logger: Logger;
  readonly calls = new Calls();
  readonly #runtimes = new Map<string, Runtime>();
  readonly #sessions = new Set<string>();

  constructor(client: Client, options: Options, config: unknown, logger: Logger) {
    this.#client = client;
    this.binary = options.binary ?? findBinary();
    this.#options = options;
    this.#config = config;
    this.#logger = logger;
  }

  // Whether a session's tools run with us.
  serves(sessionKey: string | undefined): boolean {
    return sessionKey !== undefined && this.#sessions.has(sessionKey);
  }

  async create(params: FactoryParams): Promise<Handle> {
    const spec = specify(params, this.#options, this.#config);
    const id = runtimeId(params.scopeKey);
    const known = this.#runtimes.get(id);
    const runtime = known ?? new Runtime(this.#client, id, spec);
    this.#runtimes.set(id, runtime);
    if (known) await known.change(spec);
    // Here, so that what is wrong is said before the model is asked anything, and the first command waits for nothing.
    await runtime.jail();
    this.#sessions.add(params.sessionKey);
    return new Sandbox(this, runtime, spec, params.sessionKey).handle();
  }

  async removed(id: string): Promise<void> {
    const runtime = this.#runtimes.get(id);
    this.#runtimes.delete(id);
    if (runtime) await runtime.close();
    else await this.#client.call("session.end", { session: `openclaw:${id}` });
  }

  // What is spawned for a run: nothing in it was written by the model.
  spawn({ run, ended }: Prepared, call: Call | undefined, profile: string, stdinMode: ExecSpec["stdinMode"]): ExecSpec {
    this.calls.begun(call, run, profile);
    const told = ended.then((verdict) => {
      if (!verdict) return;
      this.calls.ended(call, verdict);
      // The result is on its way at this moment, and goes first.
      setTimeout(() => this.#logger.info(describe(verdict, call)), LOG_MS);
    });
    const argv = [this.binary, "begin", "--wait", `${REPAIR_MS}`, "--socket", this.#client.path, run];
    return { argv, env: {}, cwd: "/", stdinMode, finalizeToken: told };
  }

  get stdin(): Options["stdin"] {
    return this.#options.stdin;
  }
}

// One handle.
class Sandbox {
  readonly #backend: Backend;
  readonly #runtime: Runtime;
  readonly #spec: Spec;
  readonly #sessionKey: string;
  // Runs by the cleanup that is to end them.
  readonly #cleanups = new Map<string, Set<string>>();

  constructor(backend: Backend, runtime: Runtime, spec: Spec, sessionKey: string) {
    this.#backend = backend;
    this.#runtime = runtime;
    this.#spec = spec;
    this.#sessionKey = sessionKey;
  }

  handle(): Handle {
    return {
      id: "clawjail",
      runtimeId: this.#runtime.id,
      runtimeLabel: this.#runtime.id,
      workdir: this.#spec.workdir,
      configLabel: labelOf(this.#spec.profile),
      configLabelKind: "Profile",
      workdirValidation: "backend",
      workdirRoots: ROOTS,
      validateWorkdir: (workdir) => this.#validate(workdir),
      capabilities: { browser: false, readOnlyResourceMounts: true },
      buildExecSpec: (params) => this.#prepare(params),
      finalizeExec: ({ token }) => settled(token),
      prepareProcessCleanup: (env) => this.#cleanup(env),
      runShellCommand: (params) => this.#runtime.shell(params),
      createFsBridge: ({ sandbox }) => new Bridge(this.#runtime, this.#spec.mappings, sandbox),
    };
  }

  async #validate(workdir: string): Promise<string | null> {
    if (workdir === this.#spec.workdir) return workdir;
    const found = await this.#runtime.files<{ kind: string }>("fs.stat", { path: workdir }).catch(() => undefined);
    return found?.kind === "directory" ? workdir : null;
  }

  async #prepare({ command, workdir, env, usePty }: { command: string; workdir?: string; env: Env; usePty: boolean }): Promise<ExecSpec> {
    const { call, env: named } = this.#backend.calls.take(env);
    const { [CLEANUP]: cleanup, ...asked } = named;
    const tty = usePty || call?.pty === true;
    const open = tty || this.#takesInput(call);
    const prepared = await this.#runtime.prepare({
      ...this.#place(command, workdir ?? this.#spec.workdir),
      env: wire(this.#ofTheCommand(asked, tty, call?.path === true)),
      stdin: open ? "pipe" : "none",
      ...(tty && { tty: TERMINAL }),
    });
    if (cleanup) this.#watch(cleanup, prepared);
    const known = call ?? { toolCallId: undefined, runId: undefined, sessionKey: this.#sessionKey, agentId: agentOf(this.#sessionKey), pty: tty, background: false, path: false };
    return this.#backend.spawn(prepared, known, this.#spec.profile, open ? "pipe-open" : "pipe-closed");
  }

  #takesInput(call: Call | undefined): boolean {
    const when = this.#backend.stdin ?? "background";
    return when === "always" || (when === "background" && call?.background === true);
  }

  // A directory of the workspace is where the service starts it; any other the shell enters.
  #place(command: string, workdir: string): object {
    const below = posix.relative(this.#spec.workdir, workdir);
    if (below !== ".." && !below.startsWith("../")) return { argv: ["/bin/sh", "-c", toWire(command)], cwd: toWire(join(this.#spec.workspace, below)) };
    return { argv: ["/bin/sh", "-c", 'cd -- "$0" && exec /bin/sh -c "$1"', toWire(workdir), toWire(command)] };
  }

  // Without what OpenClaw says of the host: the jail has a PATH and a home of its own.
  #ofTheCommand(env: Env, tty: boolean, ownPath: boolean): Env {
    const { PATH, HOME, ...rest } = env;
    return {
      ...rest,
      ...(PATH !== undefined && ownPath && { PATH }),
      ...(HOME !== undefined && HOME !== this.#spec.workdir && { HOME }),
      ...(tty && rest.TERM === undefined && { TERM: "xterm-256color" }),
    };
  }

  #watch(cleanup: string, { run, ended }: Prepared): void {
    const runs = this.#cleanups.get(cleanup) ?? new Set();
    this.#cleanups.set(cleanup, runs.add(run));
    void ended.then(() => runs.delete(run));
  }

  #cleanup(env: Env): ReturnType<NonNullable<Handle["prepareProcessCleanup"]>> {
    const name = randomUUID();
    const runs = (): string[] => [...(this.#cleanups.get(name) ?? [])];
    const all = (signal: string) => Promise.all(runs().map((run) => this.#runtime.signal(run, signal).catch(() => undefined)));
    return {
      env: { ...env, [CLEANUP]: name },
      terminate: async () => void (await all("KILL")),
      interrupt: async () => {
        if (runs().length === 0) return false;
        await all("INT");
        return true;
      },
    };
  }
}

function settled(told: unknown): Promise<void> {
  if (!(told instanceof Promise)) return Promise.resolve();
  const late = new Promise<void>((give) => void setTimeout(give, PATIENCE_MS).unref());
  return Promise.race([told as Promise<void>, late]);
}

function wire(env: Env): Record<string, unknown> {
  return Object.fromEntries(Object.entries(env).map(([name, value]) => [name, toWire(value)]));
}

function findBinary(): string {
  const usual = ["/usr/local/bin", "/usr/bin"];
  for (const directory of [...usual, ...(process.env.PATH ?? "").split(":")]) {
    const candidate = join(directory, "clawjail");
    try {
      if (!directory.startsWith("/")) continue;
      accessSync(candidate, constants.X_OK);
      return candidate;
    } catch {
      // The next one.
    }
  }
  return "/usr/local/bin/clawjail";
}

