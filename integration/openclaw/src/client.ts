// A connection to `clawjail serve`: JSON-RPC, one object a line, calls side by side. docs/protocol.md says what goes over it.
//
// One that breaks is made anew by the next call. What was under way is told so: nothing is sent twice, because nobody can know
// whether it was done.

import { randomFillSync } from "node:crypto";
import { existsSync } from "node:fs";
import { createConnection, type Socket } from "node:net";

export type Wire = string | { base64: string };

// An answer that is no result. `code` is a word that stays: `refused.*` nothing was done, `denied.*` the jail said no,
// `failed.*` something of clawjail's did not work, `gone` there is no service.
export class ClawjailError extends Error {
  readonly code: string;
  readonly remedy: string | undefined;

  constructor(code: string, message: string, remedy?: string) {
    super(remedy ? `${message} (${remedy})` : message);
    this.name = "ClawjailError";
    this.code = code;
    this.remedy = remedy;
  }
}

export interface Verdict {
  id: string;
  outcome: string;
  exit_code: number | null;
  signal: number | null;
  profile: string;
  denials?: { kind: string; what: string; remedy?: string; count?: number }[];
  reason?: { code: string; message: string; remedy?: string | null } | null;
  enforcement?: { level?: string };
  resources?: { wall_us?: number };
}

interface Call {
  done: (result: never) => void;
  failed: (error: Error) => void;
}

// Who hears of a run: its output, and how it ended; undefined when nobody will know. Who takes its output waits for it.
export interface Listener {
  output?: (stream: string, bytes: Buffer) => void;
  ended: (verdict: Verdict | undefined) => void;
}

// Text or bytes, as the wire has them: bytes that are text go as text.
export function toWire(value: string | Buffer): Wire {
  if (typeof value === "string") return value.isWellFormed() ? value : { base64: Buffer.from(value).toString("base64") };
  const text = value.toString();
  return Buffer.from(text).equals(value) ? text : { base64: value.toString("base64") };
}

export function toBytes(part: { data?: string; base64?: string }): Buffer {
  return part.data === undefined ? Buffer.from(part.base64 ?? "", "base64") : Buffer.from(part.data);
}

// A name for something that was just made: a UUID of version 7, which sorts by time.
export function newName(): string {
  const bytes = randomFillSync(Buffer.alloc(16));
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes[6] = 0x70 | ((bytes[6] as number) & 0x0f);
  bytes[8] = 0x80 | ((bytes[8] as number) & 0x3f);
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

export function usualSocket(): string {
  const own = `${process.env.XDG_RUNTIME_DIR ?? `/run/user/${process.getuid?.() ?? 0}`}/clawjail/socket`;
  return ["/run/clawjail/socket", own].find((place) => existsSync(place)) ?? "/run/clawjail/socket";
}

export class Client {
  readonly path: string;
  #connection: Promise<Socket> | undefined;
  #next = 1;
  readonly #calls = new Map<number, Call>();
  readonly #runs = new Map<string, Listener>();
  #socket: Socket | undefined;
  // Counts connections: what was opened with an earlier one is gone.
  generation = 0;

  constructor(path: string) {
    this.path = path;
  }

  // Asks, and gives the result. `begun` sees it before anything else that came is looked at.
  async call<T>(method: string, params: object, signal?: AbortSignal, begun?: (result: T) => void): Promise<T> {
    signal?.throwIfAborted();
    const socket = await this.#connect();
    const id = this.#next++;
    return new Promise<T>((done, failed) => {
      const given = () => {
        // It may be done all the same; nobody waits for it.
        this.#calls.delete(id);
        this.#rest(socket);
        failed(signal?.reason as Error);
      };
      const settle = <A extends unknown[]>(how: (...values: A) => void) => (...values: A) => {
        signal?.removeEventListener("abort", given);
        how(...values);
      };
      signal?.addEventListener("abort", given, { once: true });
      const answered = (result: T) => {
        begun?.(result);
        done(result);
      };
      this.#calls.set(id, { done: settle(answered as (result: never) => void), failed: settle(failed) });
      socket.ref();
      socket.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`);
    });
  }

  // Has `listener` told of the run. Before the answer to whatever started it is looked at, no word of it can have come.
  listen(run: string, listener: Listener): void {
    this.#runs.set(run, listener);
    if (listener.output) this.#socket?.ref();
  }

  // Whether there is a service at the other end, as far as is known.
  get isConnected(): boolean {
    return this.#connection !== undefined;
  }

  // It came to nothing, and nobody will be told of it.
  unlisten(run: string): void {
    this.#runs.get(run)?.ended(undefined);
    this.#runs.delete(run);
  }

  close(): void {
    void this.#connection?.then((socket) => socket.destroy()).catch(() => undefined);
  }

  #connect(): Promise<Socket> {
    return (this.#connection ??= new Promise<Socket>((connected, failed) => {
      const socket = createConnection(this.path);
      const gone = (error?: Error) => {
        this.#connection = undefined;
        const why = error && "code" in error ? `: ${String(error.code)}` : "";
        failed(new ClawjailError("gone", `cannot reach the clawjail service at ${this.path}${why}`, "is `clawjail serve` running?"));
      };
      socket.once("error", gone);
      socket.once("connect", () => {
        socket.off("error", gone);
        this.generation += 1;
        this.#attend(socket);
        connected(socket);
      });
    }));
  }

  #attend(socket: Socket): void {
    let rest: Buffer[] = [];
    this.#socket = socket;
    // Only calls, and runs whose output somebody waits for, keep a process alive, not a connection.
    socket.unref();
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      for (let end; (end = chunk.indexOf(10)) >= 0; chunk = chunk.subarray(end + 1)) {
        rest.push(chunk.subarray(0, end));
        this.#take(socket, rest.length === 1 ? (rest[0] as Buffer) : Buffer.concat(rest));
        rest = [];
      }
      if (chunk.length > 0) rest.push(chunk);
    });
    socket.on("close", () => {
      this.#connection = undefined;
      this.#fail(new ClawjailError("gone", "the clawjail service has closed the connection", "try again"));
    });
  }

  #take(socket: Socket, line: Buffer): void {
    const { id, method, params, result, error } = JSON.parse(line.toString());
    if (method === "run.output") {
      this.#runs.get(params.run)?.output?.(params.stream, toBytes(params));
    } else if (method === "run.ended") {
      const listener = this.#runs.get(params.run);
      this.#runs.delete(params.run);
      this.#rest(socket);
      listener?.ended(params.verdict);
    } else if (!method) {
      const call = this.#calls.get(id);
      this.#calls.delete(id);
      this.#rest(socket);
      if (error) call?.failed(new ClawjailError(error.data.code, error.message, error.data.remedy ?? undefined));
      else call?.done(result as never);
    }
  }

  #rest(socket: Socket): void {
    const awaited = [...this.#runs.values()].some(({ output }) => output !== undefined);
    if (this.#calls.size === 0 && !awaited) socket.unref();
  }

  #fail(error: Error): void {
    const calls = [...this.#calls.values()];
    const runs = [...this.#runs.values()];
    this.#calls.clear();
    this.#runs.clear();
    for (const { failed } of calls) failed(error);
    for (const { ended } of runs) ended(undefined);
  }
}
