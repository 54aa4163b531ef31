// From OpenClaw's settings and ours to one jail: which profile, what less than it, which directories beside the workspace.
//
// Pure but for looking which directories are there. What OpenClaw's `docker.*` settings ask for is kept, or refused: a switch
// to clawjail loosens nothing. What docker would have given and a jail does not is noted, and the audit shows it.

import { existsSync, statSync } from "node:fs";
import { join, posix, resolve } from "node:path";

import type { DockerSettings, FactoryParams, ReadOnlyMount, SandboxSettings } from "./host.ts";

export interface Rule {
  tools?: string[];
  command?: string;
  path?: string;
  decide: "allow" | "ask" | "deny";
  why?: string;
}

interface AgentOptions {
  profile?: string;
  hide?: string[];
  protect?: string[];
  rules?: Rule[];
}

export interface Options {
  socket?: string;
  binary?: string;
  profile?: string;
  stdin?: "background" | "always" | "never";
  rules?: Rule[];
  agents?: Record<string, AgentOptions>;
}

export interface Narrow {
  memory?: number;
  cpu_milli?: number;
  processes?: number;
  open_files?: number;
  file_size?: number;
  tmp?: number;
  workspace?: "ro";
  network?: "none";
  hide?: string[];
  protect?: string[];
}

export interface Mapping {
  hostRoot: string;
  containerRoot: string;
  writable: boolean;
}

export interface Spec {
  profile: string;
  workspace: string;
  workdir: string;
  narrow: Narrow;
  mounts: { path: string; at: string }[];
  mappings: Mapping[];
  setup: string | undefined;
}

// What becomes of docker settings: what is narrowed, what is mounted, what cannot be kept, and what is otherwise than with docker.
export interface Translated {
  narrow: Narrow;
  mounts: { path: string; at: string }[];
  refused: string[];
  noted: string[];
}

export const WORKDIR = "/workspace";
export const AGENT_MOUNT = "/agent";
export const DEFAULT_PROFILE = "openclaw";
const SKILLS_PARTS = [".openclaw", "sandbox-skills"];
// Directories of a jail's own that docker would need a tmpfs for.
const PRIVATE = ["/tmp", "/var/tmp", "/dev/shm", "/run"];
const DEFAULT_IMAGE = /^openclaw-sandbox:/;

// The agent that a session key or a scope key names: `agent:<id>:...`.
export function agentOf(key: string | undefined): string {
  return /^agent:([^:]+)/.exec(key ?? "")?.[1] ?? "main";
}

export function profileFor(options: Options, agent: string): string {
  return options.agents?.[agent]?.profile ?? options.profile ?? DEFAULT_PROFILE;
}

export function rulesFor(options: Options, agent: string): Rule[] {
  return [...(options.agents?.[agent]?.rules ?? []), ...(options.rules ?? [])];
}

// Bytes of `512m`, `1g`, `1.5GiB`, or a number.
export function bytes(value: string | number): number | undefined {
  if (typeof value === "number") return value > 0 ? Math.floor(value) : undefined;
  const [, digits, unit] = /^\s*([\d.]+)\s*([kmgt]?)(?:i?b)?\s*$/i.exec(value) ?? [];
  const factor = { "": 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 }[(unit ?? "?").toLowerCase()];
  const number = Number(digits) * (factor ?? Number.NaN);
  return Number.isFinite(number) && number >= 1 ? Math.floor(number) : undefined;
}

// `network` is what the operator wrote, if anything: where nothing is written, a profile that was chosen by name decides.
export function translate(docker: DockerSettings, network: "as-configured" | "by-profile", tmpfs: "default" | "configured"): Translated {
  const result: Translated = { narrow: {}, mounts: [], refused: [], noted: [] };
  limits(docker, result);
  if (network === "as-configured") networks(docker, result);
  for (const bind of docker.binds ?? []) mount(bind, result);
  for (const entry of tmpfs === "configured" ? (docker.tmpfs ?? []) : []) privateDirectory(entry, result);
  others(docker, result);
  return result;
}

function limits(docker: DockerSettings, { narrow, refused }: Translated): void {
  if (docker.memory !== undefined) {
    const memory = bytes(docker.memory);
    if (memory === undefined) refused.push(`docker.memory \`${docker.memory}\` is no size`);
    else narrow.memory = memory;
  }
  if (docker.cpus) narrow.cpu_milli = Math.max(1, Math.floor(docker.cpus * 1000));
  if (docker.pidsLimit && docker.pidsLimit > 0) narrow.processes = docker.pidsLimit;
  for (const [name, value] of Object.entries(docker.ulimits ?? {})) {
    const most = typeof value === "object" ? (value.hard ?? value.soft) : Number(String(value).split(":").at(-1));
    if (most === undefined || !(most >= 0)) refused.push(`docker.ulimits.${name} is no number`);
    else if (name === "core") continue; // A jail writes no cores, whatever the number.
    else if (name === "nofile") narrow.open_files = Math.max(1, most);
    else if (name === "fsize") narrow.file_size = Math.max(1, most);
    else if (name === "nproc") narrow.processes = Math.max(1, Math.min(most, narrow.processes ?? most));
    else refused.push(`docker.ulimits.${name} cannot be kept: a jail knows nofile, nproc, fsize and core`);
  }
}

function networks(docker: DockerSettings, { narrow, refused, noted }: Translated): void {
  const network = docker.network ?? "none";
  if (network === "none") narrow.network = "none";
  else if (network.startsWith("container:")) refused.push(`docker.network \`${network}\` cannot be kept: there is no container to join`);
  else noted.push(`docker.network \`${network}\`: what can be reached is in the profile's [egress], and nothing else`);
}

function mount(bind: string, { mounts, refused }: Translated): void {
  const [host = "", container = "", flags = ""] = bind.split(":");
  const words = flags.toLowerCase().split(",");
  if (!host.startsWith("/") || !container.startsWith("/")) refused.push(`docker.binds \`${bind}\`: a named volume cannot be kept, only a directory`);
  else if (!words.includes("ro")) refused.push(`docker.binds \`${bind}\` is writable: say \`:ro\`, or grant it in the profile's [filesystem]`);
  else mounts.push({ path: resolve(host), at: posix.normalize(container).replace(/(.)\/+$/, "$1") });
}

function privateDirectory(entry: string, { narrow, refused }: Translated): void {
  const [path = "", flags = ""] = entry.split(":");
  if (!PRIVATE.includes(path)) return void refused.push(`docker.tmpfs \`${path}\` cannot be kept: a jail has ${PRIVATE.join(", ")} and a home of its own`);
  const size = /(?:^|,)size=([^,]+)/.exec(flags)?.[1];
  if (size === undefined) return;
  const most = bytes(size);
  if (most === undefined) refused.push(`docker.tmpfs \`${entry}\`: \`${size}\` is no size`);
  else if (path === "/tmp" || path === "/var/tmp") narrow.tmp = Math.min(most, narrow.tmp ?? most);
}

function others(docker: DockerSettings, { refused, noted }: Translated): void {
  const loose = (name: string | undefined) => name === undefined || name === "unconfined" || name === "docker-default" || name === "default";
  if (!loose(docker.seccompProfile)) refused.push("docker.seccompProfile cannot be kept: calls are listed in the profile's [syscalls]");
  if (!loose(docker.apparmorProfile)) refused.push("docker.apparmorProfile cannot be kept: a jail is made of Landlock and seccomp");
  if (docker.gpus) refused.push("docker.gpus cannot be kept: a jail shows no devices");
  if (docker.dns?.length) refused.push("docker.dns cannot be kept: names are resolved by the jail's gate, with the host's resolvers");
  if (docker.extraHosts?.length) refused.push("docker.extraHosts cannot be kept: a jail has its own /etc/hosts");
  if (docker.image && !DEFAULT_IMAGE.test(docker.image)) noted.push(`docker.image \`${docker.image}\` is not used: a jail shows the host's programs, read-only`);
  if (docker.user) noted.push(`docker.user \`${docker.user}\` is not used: a jail has a uid of its own, and files keep yours`);
  if (docker.readOnlyRoot === false) noted.push("docker.readOnlyRoot false: a jail's root is read-only all the same");
}

// What was written about the network for this agent; the resolved settings have a default in its place.
export function writtenNetwork(config: unknown, agent: string): string | undefined {
  const own = agentsOf(config).find(({ id }) => id === agent);
  return own?.sandbox?.docker?.network ?? defaultsOf(config).sandbox?.docker?.network;
}

export interface AgentEntry {
  id?: string;
  sandbox?: Partial<SandboxSettings>;
}

interface Config {
  agents?: { defaults?: AgentEntry; entries?: Record<string, AgentEntry>; list?: AgentEntry[] };
}

// The agents that the configuration names: `agents.entries`, or `agents.list` as earlier versions had it.
export function agentsOf(config: unknown): AgentEntry[] {
  const { entries, list } = (config as Config | undefined)?.agents ?? {};
  const named = Object.entries(entries ?? {}).map(([id, entry]) => ({ ...entry, id }));
  return [...named, ...(Array.isArray(list) ? list : [])];
}

export function defaultsOf(config: unknown): AgentEntry {
  return (config as Config | undefined)?.agents?.defaults ?? {};
}

// Who decides about the network: a profile that was chosen by name, unless something was written in OpenClaw's own settings.
export function networkDecision(options: Options, agent: string, config: unknown): "as-configured" | "by-profile" {
  const chosen = options.agents?.[agent]?.profile ?? options.profile;
  return chosen !== undefined && writtenNetwork(config, agent) === undefined ? "by-profile" : "as-configured";
}

// Why this agent cannot be served by us, on one line each.
export function refusals(cfg: SandboxSettings, translated: Translated): string[] {
  const workdir = cfg.docker.workdir ?? WORKDIR;
  const refused = [...translated.refused];
  if (workdir !== WORKDIR) refused.push(`docker.workdir \`${workdir}\` cannot be kept: a jail shows the workspace at ${WORKDIR}`);
  return refused;
}

// The jail that these parameters ask for; throws where it cannot be what they ask for.
export function specify(params: FactoryParams, options: Options, config: unknown): Spec {
  const { cfg } = params;
  const agent = agentOf(params.sessionKey);
  const own = options.agents?.[agent];
  const translated = translate(cfg.docker, networkDecision(options, agent, config), cfg.dockerTmpfsSource ?? "default");
  const refused = refusals(cfg, translated);
  if (params.workspaceSource === "managed-worktree") refused.push("projects in a managed work tree need OpenClaw's own docker or podman backend");
  if (refused.length > 0) throw new Error(`clawjail refuses this sandbox:\n${refused.map((line) => `- ${line}`).join("\n")}`);
  const mounts = [...translated.mounts, ...beside(params)];
  const protect = [...(own?.protect ?? []), ...protectedSkills(params)];
  const narrow: Narrow = { ...translated.narrow, hide: own?.hide ?? [], protect };
  if (cfg.workspaceAccess === "ro") narrow.workspace = "ro";
  return {
    profile: profileFor(options, agent),
    workspace: params.workspaceDir,
    workdir: WORKDIR,
    narrow,
    mounts,
    mappings: [
      { hostRoot: resolve(params.workspaceDir), containerRoot: WORKDIR, writable: cfg.workspaceAccess !== "ro" },
      ...mounts.map(({ path, at }) => ({ hostRoot: path, containerRoot: at, writable: false })),
    ],
    setup: cfg.docker.setupCommand?.trim() || undefined,
  };
}

// Directories beside the workspace: the agent's own where the workspace is another, skills, what a parent attached.
function beside(params: FactoryParams): { path: string; at: string }[] {
  const { cfg, workspaceDir, agentWorkspaceDir, skillsWorkspaceDir } = params;
  const all: ReadOnlyMount[] = [...(params.readOnlyResourceMounts ?? [])];
  if (cfg.workspaceAccess !== "none" && resolve(agentWorkspaceDir) !== resolve(workspaceDir)) {
    all.push({ hostPath: agentWorkspaceDir, containerPath: AGENT_MOUNT });
  }
  const skills = skillsWorkspaceDir && join(skillsWorkspaceDir, "skills");
  if (cfg.workspaceAccess === "rw" && skills && isDirectory(skills)) {
    all.push({ hostPath: skills, containerPath: posix.join(WORKDIR, ...SKILLS_PARTS, "skills") });
  }
  return all.map(({ hostPath, containerPath }) => ({ path: resolve(hostPath), at: containerPath }));
}

// Skills that lie in the workspace itself are what the agent reads and must not change; nor may it put others in their place.
function protectedSkills({ cfg, workspaceDir }: FactoryParams): string[] {
  if (cfg.workspaceAccess === "ro") return [];
  const there = ["skills", ".agents/skills"].filter((path) => existsSync(join(workspaceDir, path)));
  return cfg.workspaceAccess === "rw" ? [...there, SKILLS_PARTS.join("/")] : there;
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

// A pattern in which `*` stands for anything.
export function fits(pattern: string, text: string): boolean {
  const parts = pattern.split("*").map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return new RegExp(`^${parts.join("[^]*")}$`).test(text);
}
