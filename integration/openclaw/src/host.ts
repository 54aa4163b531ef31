// What we use of OpenClaw, in our own words: its sandbox interface comes without declarations. Types only name what we touch.

import { createRequire } from "node:module";

export type Env = Record<string, string>;

export interface ReadOnlyMount {
  hostPath: string;
  containerPath: string;
}

// `agents.*.sandbox.docker`, resolved.
export interface DockerSettings {
  image?: string;
  workdir?: string;
  readOnlyRoot?: boolean;
  tmpfs?: string[];
  network?: string;
  user?: string;
  capDrop?: string[];
  env?: Env;
  setupCommand?: string;
  pidsLimit?: number;
  memory?: string | number;
  memorySwap?: string | number;
  cpus?: number;
  gpus?: string;
  ulimits?: Record<string, string | number | { soft?: number; hard?: number }>;
  seccompProfile?: string;
  apparmorProfile?: string;
  dns?: string[];
  extraHosts?: string[];
  binds?: string[];
}

export type WorkspaceAccess = "none" | "ro" | "rw";

export interface SandboxSettings {
  mode?: string;
  backend?: string;
  scope?: "session" | "agent" | "shared";
  workspaceAccess: WorkspaceAccess;
  dockerTmpfsSource?: "default" | "configured";
  docker: DockerSettings;
}

export interface FactoryParams {
  sessionKey: string;
  scopeKey: string;
  workspaceDir: string;
  agentWorkspaceDir: string;
  skillsWorkspaceDir?: string;
  readOnlyResourceMounts?: ReadOnlyMount[];
  workspaceSource?: string;
  cfg: SandboxSettings;
}

export interface ExecSpec {
  argv: string[];
  env: Env;
  cwd?: string;
  stdinMode: "pipe-open" | "pipe-closed";
  finalizeToken?: unknown;
}

export interface ShellParams {
  script: string;
  args?: string[];
  stdin?: Buffer | string;
  allowFailure?: boolean;
  signal?: AbortSignal;
}

export interface ShellResult {
  stdout: Buffer;
  stderr: Buffer;
  code: number;
}

export interface Handle {
  id: string;
  runtimeId: string;
  runtimeLabel: string;
  workdir: string;
  configLabel?: string;
  configLabelKind?: string;
  workdirValidation?: "host" | "backend";
  validateWorkdir?: (workdir: string) => Promise<string | null>;
  workdirRoots?: readonly string[];
  capabilities?: { browser?: boolean; readOnlyResourceMounts?: boolean };
  buildExecSpec(params: { command: string; workdir?: string; env: Env; usePty: boolean }): Promise<ExecSpec>;
  finalizeExec?(params: { status: string; exitCode: number | null; timedOut: boolean; token?: unknown }): Promise<void>;
  prepareProcessCleanup?(env: Env): { env: Env; terminate: () => Promise<void>; interrupt: (timeoutMs: number) => Promise<boolean> };
  runShellCommand(params: ShellParams): Promise<ShellResult>;
  createFsBridge?(params: { sandbox: BridgeContext }): FsBridge;
}

export interface BridgeContext {
  workspaceDir: string;
  agentWorkspaceDir: string;
  skillsWorkspaceDir?: string;
  readOnlyResourceMounts?: ReadOnlyMount[];
  workspaceAccess: WorkspaceAccess;
  containerWorkdir: string;
  docker: { binds?: string[] };
}

export interface PathParams {
  filePath: string;
  cwd?: string;
  signal?: AbortSignal;
}

export interface WriteParams extends PathParams {
  data: Buffer | string;
  encoding?: BufferEncoding;
  mkdir?: boolean;
  pinnedPath?: string;
}

export interface ResolvedPath {
  hostPath?: string;
  relativePath: string;
  containerPath: string;
}

export interface PathMapping {
  readonly hostRoot: string;
  readonly containerRoot: string;
}

export interface FsBridge {
  readonly pathMappings: readonly PathMapping[];
  resolvePath(params: PathParams): ResolvedPath;
  resolvePinnedMutationTarget(params: PathParams & { action: string }): Promise<{ policyPath: string; pinnedPath: string }>;
  readDirectory(params: PathParams): Promise<{ name: string; isDirectory: boolean }[]>;
  readFile(params: PathParams & { maxBytes?: number }): Promise<Buffer>;
  readFileWithSource(params: PathParams & { maxBytes?: number }): Promise<{ data: Buffer; canonicalPath: string; workspaceRelativePath?: string }>;
  copyFile(params: { sourcePath: string; destinationPath: string; cwd?: string; mkdir?: boolean; pinnedPath?: string; signal?: AbortSignal }): Promise<void>;
  writeFile(params: WriteParams): Promise<void>;
  createFileExclusive(params: WriteParams): Promise<"created" | "exists">;
  mkdirp(params: PathParams & { pinnedPath?: string }): Promise<void>;
  remove(params: PathParams & { recursive?: boolean; force?: boolean; pinnedPath?: string }): Promise<void>;
  rename(params: { from: string; to: string; cwd?: string; signal?: AbortSignal }): Promise<void>;
  stat(params: PathParams): Promise<{ type: "file" | "directory" | "other"; size: number; mtimeMs: number } | null>;
}

export interface RegistryEntry {
  containerName: string;
  sessionKey?: string;
  image?: string;
}

export interface Manager {
  describeRuntime(params: { entry: RegistryEntry; config: unknown; agentId?: string }): Promise<{ running: boolean; actualConfigLabel?: string; configLabelMatch: boolean }>;
  removeRuntime(params: { entry: RegistryEntry; config: unknown; agentId?: string }): Promise<void>;
}

export interface Registration {
  factory: (params: FactoryParams) => Promise<Handle>;
  manager: Manager;
  resolveWorkdir: (params: { cfg: SandboxSettings }) => string;
  capabilities: { readOnlyResourceMounts?: boolean };
}

export interface ToolCallEvent {
  toolName: string;
  params: Record<string, unknown>;
  runId?: string;
  toolCallId?: string;
}

export interface ToolContext {
  agentId?: string;
  sessionKey?: string;
  sessionId?: string;
  runId?: string;
  toolCallId?: string;
}

export interface ToolDecision {
  params?: Record<string, unknown>;
  block?: boolean;
  blockReason?: string;
  requireApproval?: {
    pluginId: string;
    title: string;
    description: string;
    severity?: "info" | "warning" | "critical";
    allowedDecisions?: ("allow-once" | "allow-always" | "deny")[];
  };
}

export interface ToolResult {
  content?: unknown;
  details?: unknown;
}

export interface Finding {
  checkId: string;
  severity: "info" | "warn" | "critical";
  title: string;
  detail: string;
  remediation?: string;
}

export interface Logger {
  debug?: (message: string) => void;
  info: (message: string) => void;
  warn: (message: string) => void;
  error: (message: string) => void;
}

// The part of the plugin interface that we use. Members that a version lacks are looked for before they are called.
export interface PluginApi {
  registrationMode?: string;
  config?: unknown;
  pluginConfig?: unknown;
  logger: Logger;
  lifecycle?: { registerRuntimeLifecycle?: (registration: LifecycleRegistration) => void };
  registerRuntimeLifecycle?: (registration: LifecycleRegistration) => void;
  registerTrustedToolPolicy?: (policy: { id: string; description: string; evaluate: (event: ToolCallEvent, context: ToolContext) => ToolDecision | undefined }) => void;
  registerAgentToolResultMiddleware?: (
    middleware: (event: { toolCallId: string; toolName: string; result: ToolResult }, context: ToolContext) => Promise<{ result: ToolResult } | undefined>,
    options?: { matcher?: string[]; runtimes?: string[] },
  ) => void;
  registerSecurityAuditCollector?: (collector: (context: AuditContext) => Promise<Finding[]>) => void;
}

export interface AuditContext {
  config: unknown;
  env?: Env;
  stateDir?: string;
  configPath?: string;
}

export interface LifecycleRegistration {
  id: string;
  cleanup: (params: { reason?: string; sessionKey?: string; runId?: string }) => void;
}

type Register = (id: string, registration: Registration) => () => void;

interface Generation {
  registration: Registration;
  previous: Generation | undefined;
  retired: boolean;
}

// Releases that this was tried with, end to end. `npm run compat` tries others.
export const TRIED = ["2026.9.3", "2026.9.4", "2026.9.5", "2026.9.6"];

const REGISTRY = Symbol.for("openclaw.sandboxBackendFactories");

// How this OpenClaw lets a backend be registered: by its sandbox module, or by the registry that this module fills. Its loader
// takes no module that awaits anything at its top, so this is asked for by `require`, where a version without it can be told.
export function findRegister(load: (name: string) => unknown = createRequire(import.meta.url)): Register {
  let module: { registerSandboxBackend?: unknown } | undefined;
  try {
    module = load(SANDBOX_MODULE) as typeof module;
  } catch {
    module = undefined;
  }
  if (typeof module?.registerSandboxBackend === "function") return module.registerSandboxBackend as Register;
  const registry = (globalThis as Record<symbol, unknown>)[REGISTRY];
  if (registry instanceof Map) return enter;
  return () => {
    throw new Error(
      `clawjail: this OpenClaw has no way to register a sandbox backend that we know (neither \`${SANDBOX_MODULE}\` nor its registry). ` +
        `Tried with OpenClaw ${TRIED.join(", ")}; install one of these, or a newer @clawjail/openclaw.`,
    );
  };
}

const SANDBOX_MODULE = "openclaw/plugin-sdk/sandbox";

// The registry holds generations, so that whoever registered last can take it back in any order.
function enter(id: string, registration: Registration): () => void {
  const store = globalThis as Record<symbol, Map<string, Generation> | undefined>;
  const registry = (store[REGISTRY] ??= new Map<string, Generation>());
  const generation: Generation = { registration, previous: registry.get(id), retired: false };
  registry.set(id, generation);
  return () => {
    generation.retired = true;
    if (registry.get(id) !== generation) return;
    let previous = generation.previous;
    while (previous?.retired) previous = previous.previous;
    if (previous) registry.set(id, previous);
    else registry.delete(id);
  };
}
