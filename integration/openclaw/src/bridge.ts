// OpenClaw's file tools by way of the service's `fs.*`: a process of the jail does the work, with what a command in the jail may
// do and no more. No command is spawned, and no path is judged here for security: a link or a race leads nowhere that the jail
// does not reach. Paths are only brought into the form that the jail knows.

import { posix, relative, resolve, sep } from "node:path";

import { ClawjailError, toBytes, toWire } from "./client.ts";
import type { BridgeContext, FsBridge, PathParams, ResolvedPath, WriteParams } from "./host.ts";
import type { Runtime } from "./runtime.ts";
import type { Mapping } from "./settings.ts";

interface Stat {
  kind: string;
  size: number;
  modified_ms: number;
  content?: Part;
}

// What was seen of a file: each half of it answers one question.
interface Seen {
  at: number;
  // How many commands had begun or ended by then.
  commands: number;
  stat: Stat | undefined;
  content: Part | undefined;
}

interface Part {
  data?: string;
  base64?: string;
  size: number;
  end: boolean;
}

interface Entry {
  name: string | { base64: string };
  kind: string;
}

// Bytes that a request has room for, however they are written in it.
const MOST_AT_ONCE = 5 << 20;

// OpenClaw looks at a file before and after each thing that it does with it: is it there, what is in it. Both are asked for at
// once, together with what was to be done, up to so many bytes. Each answer holds for so long and once; a change by this bridge, and
// a command that begins or ends, end that.
const LOOK_BYTES = 64 << 10;
const LOOK_MS = 100;
// Files of which that is remembered; the oldest goes first.
const MOST_SEEN = 16;
// For so long a directory in which something was found is taken to be there. If it is not, whoever writes into it makes it.
const KNOWN_MS = 1000;

const isMissing = (error: unknown): boolean => error instanceof ClawjailError && (error.code === "denied.enoent" || error.code === "denied.enotdir");

export class Bridge implements FsBridge {
  readonly pathMappings: readonly Mapping[];
  readonly #runtime: Runtime;
  readonly #workdir: string;
  readonly #workspace: string;
  readonly #seen = new Map<string, Seen>();
  readonly #directories = new Map<string, number>();

  constructor(runtime: Runtime, mappings: readonly Mapping[], context: BridgeContext) {
    this.#runtime = runtime;
    this.#workdir = context.containerWorkdir;
    this.#workspace = context.workspaceDir;
    // The longest first, so that what is mounted in a mount is found before what it is mounted in.
    this.pathMappings = [...mappings].sort((a, b) => b.containerRoot.length - a.containerRoot.length);
  }

  resolvePath({ filePath, cwd }: PathParams): ResolvedPath {
    const input = filePath.replace(/^@/, "").replace(/^file:\/\//, "");
    const absolute = posix.isAbsolute(input) ? posix.normalize(input) : posix.resolve(this.#directory(cwd), input);
    const containerPath = this.#inside(absolute);
    const mapping = containerPath && this.#mappingOf(containerPath);
    if (!containerPath || !mapping) {
      throw new Error(`Path escapes sandbox root (container root ${this.#workdir}): ${filePath}. Use a path under ${this.#workdir}/ instead.`);
    }
    const below = posix.relative(mapping.containerRoot, containerPath);
    const shown = posix.relative(this.#workdir, containerPath);
    return {
      hostPath: resolve(mapping.hostRoot, below),
      containerPath,
      relativePath: shown === ".." || shown.startsWith("../") ? containerPath : shown,
    };
  }

  // A working directory as OpenClaw has it, which may be one of the host.
  #directory(cwd: string | undefined): string {
    if (cwd === undefined || cwd === "") return this.#workdir;
    return this.#inside(posix.normalize(cwd)) ?? cwd;
  }

  // An absolute path as the jail knows it: it is one of the jail's, or one of the host that the jail shows.
  #inside(path: string): string | undefined {
    const trimmed = path.length > 1 ? path.replace(/\/+$/, "") : path;
    if (this.#mappingOf(trimmed)) return trimmed;
    for (const { hostRoot, containerRoot } of this.pathMappings) {
      const below = relative(hostRoot, trimmed);
      if (below === "") return containerRoot;
      if (below !== ".." && !below.startsWith(`..${sep}`) && !posix.isAbsolute(below)) return posix.join(containerRoot, below);
    }
    return undefined;
  }

  #mappingOf(path: string): Mapping | undefined {
    return this.pathMappings.find(({ containerRoot }) => path === containerRoot || path.startsWith(`${containerRoot}/`));
  }

  // Where a mutation goes. The service resolves links itself, in the jail and at the moment of the mutation.
  async resolvePinnedMutationTarget(params: PathParams & { action: string }): Promise<{ policyPath: string; pinnedPath: string }> {
    const { containerPath } = this.resolvePath(params);
    return { policyPath: containerPath, pinnedPath: containerPath };
  }

  async readDirectory(params: PathParams): Promise<{ name: string; isDirectory: boolean }[]> {
    const path = this.#path(params);
    const all: { name: string; isDirectory: boolean }[] = [];
    for (let after: Entry["name"] | undefined; ; ) {
      const part = await this.#call<{ entries: Entry[]; more: boolean }>("fs.list", path, { path, ...(after && { after }) }, params.signal);
      for (const { name, kind } of part.entries) {
        const text = typeof name === "string" ? name : Buffer.from(name.base64, "base64").toString();
        const leads = kind === "link" && (await this.#stat(posix.join(path, text), params.signal))?.kind === "directory";
        all.push({ name: text, isDirectory: kind === "directory" || leads });
      }
      after = part.entries.at(-1)?.name;
      if (!part.more || after === undefined) return all;
    }
  }

  async readFile(params: PathParams & { maxBytes?: number }): Promise<Buffer> {
    const path = this.#path(params);
    const parts: Buffer[] = [];
    let first = this.#recall(path, "content");
    for (let offset = 0; ; ) {
      const part = first ?? (await this.#call<Part>("fs.read", path, { path, offset }, params.signal));
      first = undefined;
      if (params.maxBytes !== undefined && part.size > params.maxBytes) {
        throw Object.assign(new RangeError(`${path} has ${part.size} bytes, more than ${params.maxBytes}`), { code: "too-large" });
      }
      const bytes = toBytes(part);
      parts.push(bytes);
      offset += bytes.length;
      if (part.end || bytes.length === 0) return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
    }
  }

  #remember(path: string, stat: Stat | undefined, content: Part | undefined): void {
    this.#seen.delete(path);
    this.#seen.set(path, { at: performance.now(), commands: this.#runtime.commands, stat, content });
    if (this.#seen.size > MOST_SEEN) this.#seen.delete(this.#seen.keys().next().value as string);
  }

  // What was seen of it, if that is fresh, and then no more.
  #recall<K extends "stat" | "content">(path: string, half: K): Seen[K] {
    const seen = this.#seen.get(path);
    if (!seen || performance.now() - seen.at >= LOOK_MS || seen.commands !== this.#runtime.commands) {
      this.#seen.delete(path);
      return undefined;
    }
    const found = seen[half];
    seen[half] = undefined;
    return found;
  }

  async readFileWithSource(params: PathParams & { maxBytes?: number }): Promise<{ data: Buffer; canonicalPath: string; workspaceRelativePath?: string }> {
    const { containerPath, relativePath } = this.resolvePath(params);
    const data = await this.readFile(params);
    return { data, canonicalPath: containerPath, ...(posix.isAbsolute(relativePath) ? {} : { workspaceRelativePath: relativePath }) };
  }

  async copyFile(params: Parameters<FsBridge["copyFile"]>[0]): Promise<void> {
    const { sourcePath, destinationPath, ...more } = params;
    const data = await this.readFile({ ...more, filePath: sourcePath });
    await this.writeFile({ ...more, filePath: destinationPath, data });
  }

  async writeFile(params: WriteParams): Promise<void> {
    const path = this.#target(params);
    const written = await this.#put("fs.write", path, params, { look: LOOK_BYTES });
    if (written?.kind === undefined) return;
    const { content, ...stat } = written;
    this.#remember(path, stat, content);
  }

  async createFileExclusive(params: WriteParams): Promise<"created" | "exists"> {
    try {
      await this.#put("fs.create", this.#target(params), params, {});
      return "created";
    } catch (error) {
      if (error instanceof ClawjailError && error.code === "denied.eexist") return "exists";
      throw error;
    }
  }

  // The directory is made only when it turns out not to be there: mostly it is. Gives what the file is now, where that was seen.
  async #put(method: string, path: string, params: WriteParams, more: object): Promise<Stat | undefined> {
    const data = typeof params.data === "string" ? Buffer.from(params.data, params.encoding ?? "utf8") : params.data;
    const large = data.length > MOST_AT_ONCE;
    const content = { path, content: large ? "" : toWire(data), ...more };
    this.#seen.clear();
    const put = () => this.#call<Stat>(method, path, content, params.signal);
    const written = await put().catch(async (error: unknown) => {
      if (params.mkdir === false || !isMissing(error)) throw error;
      await this.#makeDirectory(posix.dirname(path), params.signal);
      return put();
    });
    this.#seen.clear();
    this.#directories.set(posix.dirname(path), performance.now());
    if (!large) return written;
    await this.#pour(path, data, params.signal);
    return undefined;
  }

  // What no request holds goes through a command: beside the file first, so that it is there whole or as it was.
  async #pour(path: string, data: Buffer, signal: AbortSignal | undefined): Promise<void> {
    const script = 'set -e; new="$1.clawjail-$$"; trap \'rm -f -- "$new"\' EXIT; cat >"$new"; chmod --reference="$1" -- "$new"; mv -f -- "$new" "$1"';
    await this.#runtime.shell({ script, args: [path], stdin: data, ...(signal && { signal }) });
  }

  async mkdirp(params: PathParams & { pinnedPath?: string }): Promise<void> {
    const path = this.#target(params);
    const known = this.#directories.get(path);
    if (path === this.#workdir || (known !== undefined && performance.now() - known < KNOWN_MS)) return;
    await this.#makeDirectory(path, params.signal);
  }

  async #makeDirectory(path: string, signal: AbortSignal | undefined): Promise<void> {
    await this.#call("fs.mkdir", path, { path, parents: true }, signal);
  }

  async remove(params: PathParams & { recursive?: boolean; force?: boolean; pinnedPath?: string }): Promise<void> {
    const path = this.#target(params);
    this.#forget();
    try {
      await this.#call("fs.remove", path, { path, recursive: params.recursive === true }, params.signal);
    } catch (error) {
      if (!(params.force && isMissing(error))) throw error;
    }
  }

  async rename(params: { from: string; to: string; cwd?: string; signal?: AbortSignal }): Promise<void> {
    this.#forget();
    const [from, to] = [params.from, params.to].map((filePath) => this.#path({ ...params, filePath })) as [string, string];
    await this.#call("fs.rename", to, { from, to }, params.signal);
  }

  async stat(params: PathParams): Promise<{ type: "file" | "directory" | "other"; size: number; mtimeMs: number } | null> {
    const path = this.#path(params);
    const stat = this.#recall(path, "stat") ?? (await this.#stat(path, params.signal, LOOK_BYTES));
    if (!stat) return null;
    this.#directories.set(posix.dirname(path), performance.now());
    if (stat.content) this.#remember(path, undefined, stat.content);
    const type = stat.kind === "file" || stat.kind === "directory" ? stat.kind : "other";
    return { type, size: stat.size, mtimeMs: stat.modified_ms };
  }

  #forget(): void {
    this.#seen.clear();
    this.#directories.clear();
  }

  async #stat(path: string, signal: AbortSignal | undefined, look?: number): Promise<Stat | null> {
    try {
      return await this.#call<Stat>("fs.stat", path, { path, ...(look !== undefined && { look }) }, signal);
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  }

  #path(params: PathParams): string {
    return this.resolvePath(params).containerPath;
  }

  #target(params: PathParams & { pinnedPath?: string }): string {
    return this.#path(params.pinnedPath ? { ...params, filePath: params.pinnedPath } : params);
  }

  async #call<T>(method: string, path: string, params: object, signal?: AbortSignal): Promise<T> {
    try {
      return await this.#runtime.files<T>(method, params, signal);
    } catch (error) {
      throw error instanceof ClawjailError ? explain(error, method, path, this.#workspace) : error;
    }
  }
}

// What a model can act on: who said no, to what, and the system's word for it.
function explain(error: ClawjailError, method: string, path: string, workspace: string): ClawjailError {
  if (!error.code.startsWith("denied.")) return error;
  const errno = error.code.slice("denied.".length).toUpperCase();
  const verb = method.slice("fs.".length);
  const why = errno === "ENOENT" ? "there is no such file or directory" : error.message.replaceAll(workspace, "");
  const by = errno === "EACCES" || errno === "EROFS" || errno === "EPERM" ? "; the sandbox's profile does not allow it" : "";
  return Object.assign(new ClawjailError(error.code, `${errno}: cannot ${verb} ${path}: ${why}${by}`), { errno, path });
}
