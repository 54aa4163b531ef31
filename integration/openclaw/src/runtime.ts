// One sandbox of OpenClaw: a jail of the service that stays, and is made again when it is gone.
//
//   none --first use--> open --closed by the service: idle, recreated, restarted--> none
//                         '--other settings--> none, and the old jail ends with what runs in it
//
// The jail is bound to our connection: when this process is gone, however it went, so is the jail with all that was in it.

import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join, posix } from "node:path";

import { ClawjailError, type Client, type Listener, newName, toWire, type Verdict } from "./client.ts";
import type { ShellParams, ShellResult } from "./host.ts";
import type { Spec } from "./settings.ts";

interface Jail {
  id: string;
  generation: number;
  digest: string;
  profile: string;
}

interface Opened {
  jail: string;
  profile: string;
  at: string | null;
}

export interface Prepared {
  run: string;
  ended: Promise<Verdict | undefined>;
}

const GONE = new Set(["refused.unknown_jail", "gone"]);
// Nothing was done, and a new jail can do it: this one was closed, or cannot hide what has appeared in the workspace (bare tier).
const REPLACEABLE = new Set(["refused.unknown_jail", "refused.jail_outdated"]);

// What a sandbox is called: by OpenClaw's registry, and as a session by the service.
export function runtimeId(scopeKey: string): string {
  const slug = scopeKey.replace(/[^A-Za-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 32).toLowerCase() || "session";
  return `clawjail-${slug}-${createHash("sha256").update(scopeKey).digest("hex").slice(0, 8)}`;
}

export function sessionOf(id: string): string {
  return `openclaw:${id}`;
}

export class Runtime {
  readonly id: string;
  readonly #client: Client;
  spec: Spec;
  // Counts what changes files without the file tools: commands that began, and that ended.
  commands = 0;
  #opening: Promise<Jail> | undefined;

  constructor(client: Client, id: string, spec: Spec) {
    this.#client = client;
    this.id = id;
    this.spec = spec;
  }

  // Goes by other settings from the next call on.
  async change(spec: Spec): Promise<void> {
    const before = digestOf(this.spec);
    this.spec = spec;
    const opening = this.#opening;
    if (!opening || digestOf(spec) === before) return;
    this.#opening = undefined;
    const jail = await opening.catch(() => undefined);
    if (jail) await this.#client.call("jail.close", { jail: jail.id }).catch(() => undefined);
  }

  // The jail, which is made if there is none. Whoever asks at the same time gets the same.
  async jail(): Promise<Jail> {
    const opening = (this.#opening ??= this.#open());
    try {
      const jail = await opening;
      if (jail.generation === this.#client.generation) return jail;
    } catch (error) {
      if (this.#opening === opening) this.#opening = undefined;
      throw error;
    }
    if (this.#opening === opening) this.#opening = undefined;
    return this.jail();
  }

  async #open(): Promise<Jail> {
    const { profile, workspace, workdir, narrow, mounts, setup } = this.spec;
    // What is mounted in the workspace needs a place there.
    for (const { at } of mounts) {
      if (at.startsWith(`${workdir}/`)) await mkdir(join(workspace, posix.relative(workdir, at)), { recursive: true });
    }
    const session = sessionOf(this.id);
    const opened = await this.#client.call<Opened>("jail.open", { profile, workspace: toWire(workspace), session, narrow, until_disconnect: true, ...(mounts.length > 0 && { mounts }) });
    const jail = { id: opened.jail, generation: this.#client.generation, digest: digestOf(this.spec), profile: opened.profile };
    if (opened.at !== workdir) {
      await this.#client.call("jail.close", { jail: jail.id }).catch(() => undefined);
      throw new Error(`clawjail refuses this sandbox: profile \`${profile}\` shows the workspace at ${opened.at ?? "no place"}, and OpenClaw needs it at ${workdir}`);
    }
    if (setup) await this.#setUp(jail, setup);
    return jail;
  }

  async #setUp(jail: Jail, setup: string): Promise<void> {
    const { code, stderr } = await this.#shell(jail.id, { script: setup });
    if (code === 0) return;
    await this.#client.call("jail.close", { jail: jail.id }).catch(() => undefined);
    throw new Error(`clawjail: docker.setupCommand ended with ${code}: ${stderr.toString().trim().slice(-400)}`);
  }

  // Does something in the jail; if that turns out not to serve any more, once more in a new one. Nothing has happened in that case.
  async #inside<T>(work: (jail: string) => Promise<T>): Promise<T> {
    const jail = await this.jail();
    try {
      return await work(jail.id);
    } catch (error) {
      if (!(error instanceof ClawjailError && REPLACEABLE.has(error.code))) throw error;
      if (this.#opening && (await this.#opening.catch(() => undefined)) === jail) this.#opening = undefined;
      return work((await this.jail()).id);
    }
  }

  // A call of `fs.*`.
  files<T>(method: string, params: object, signal?: AbortSignal): Promise<T> {
    return this.#inside((jail) => this.#client.call<T>(method, { jail, ...params }, signal));
  }

  // Says what is to be run. `clawjail begin` with the run's name starts it, wherever that is spawned. The answer is not waited for:
  // the name is ours, the service hears of it before that process can ask for it, and whatever it says to us it says there too.
  async prepare(params: object): Promise<Prepared> {
    await this.jail();
    let ended!: (verdict: Verdict | undefined) => void;
    const end = new Promise<Verdict | undefined>((told) => (ended = told));
    this.commands += 1;
    const over = (verdict: Verdict | undefined): void => {
      this.commands += 1;
      ended(verdict);
    };
    const run = newName();
    this.#client.listen(run, { ended: over });
    const asked = this.#inside((jail) => this.#client.call("run.prepare", { jail, name: run, ...params }));
    // Without a service nobody could say there what is wrong.
    if (!this.#client.isConnected) await asked;
    asked.catch(() => this.#client.unlisten(run));
    return { run, ended: end };
  }

  // Runs a script to its end.
  async shell(params: ShellParams): Promise<ShellResult> {
    const result = await this.#inside((jail) => this.#shell(jail, params)).finally(() => (this.commands += 1));
    if (result.code !== 0 && !params.allowFailure) {
      throw Object.assign(new Error(result.stderr.toString().trim() || `the script ended with ${result.code}`), result);
    }
    return result;
  }

  async #shell(jail: string, { script, args = [], stdin, signal }: ShellParams): Promise<ShellResult> {
    const parts: Record<string, Buffer[]> = { stdout: [], stderr: [] };
    let listener!: Listener;
    const ended = new Promise<Verdict | undefined>((told) => {
      listener = { output: (stream, bytes) => parts[stream]?.push(bytes), ended: told };
    });
    const argv = ["/bin/sh", "-c", script, "clawjail", ...args].map((argument) => toWire(argument));
    const params = { jail, argv, stdin: stdin === undefined ? "none" : "pipe" };
    const { run } = await this.#client.call<{ run: string }>("run", params, signal, ({ run }) => this.#client.listen(run, listener));
    const kill = () => void this.#client.call("run.signal", { run, signal: "KILL" }).catch(() => undefined);
    signal?.addEventListener("abort", kill, { once: true });
    // A script that does not read all of it is no failure.
    if (stdin !== undefined) await this.#write(run, Buffer.from(stdin)).catch(() => undefined);
    const verdict = await ended.finally(() => signal?.removeEventListener("abort", kill));
    signal?.throwIfAborted();
    if (!verdict) throw new ClawjailError("gone", "the clawjail service went away while a script ran", "try again");
    const code = verdict.exit_code ?? (verdict.signal === null ? 125 : 128 + verdict.signal);
    return { stdout: Buffer.concat(parts.stdout ?? []), stderr: Buffer.concat(parts.stderr ?? []), code };
  }

  async #write(run: string, bytes: Buffer): Promise<void> {
    const most = 1 << 20;
    for (let offset = 0; ; offset += most) {
      const close = offset + most >= bytes.length;
      await this.#client.call("run.stdin", { run, data: toWire(bytes.subarray(offset, offset + most)), close });
      if (close) return;
    }
  }

  signal(run: string, signal: string): Promise<unknown> {
    return this.#client.call("run.signal", { run, signal });
  }

  async close(): Promise<void> {
    this.#opening = undefined;
    await this.#client.call("session.end", { session: sessionOf(this.id) }).catch((error: unknown) => {
      if (!(error instanceof ClawjailError && GONE.has(error.code))) throw error;
    });
  }
}

function digestOf(spec: Spec): string {
  return createHash("sha256").update(JSON.stringify(spec)).digest("hex");
}
