// The plugin: registers the backend, a policy for tool calls, what results say of verdicts, and findings for the audit.

import { audit } from "./audit.ts";
import { Backend, labelOf } from "./backend.ts";
import { Client, ClawjailError, usualSocket } from "./client.ts";
import { findRegister, type Manager, type PluginApi, type Registration } from "./host.ts";
import { evaluate } from "./policy.ts";
import { sessionOf } from "./runtime.ts";
import { agentOf, type Options, profileFor, WORKDIR } from "./settings.ts";

const ID = "clawjail";
// OpenClaw loads plugins also to list their commands or their tools; a backend is wanted in these two.
const MODES = new Set(["full", "discovery", "tool-discovery"]);

const registerBackend = findRegister();

interface Opened {
  client: Client;
  backend: Backend;
  settings: string;
}

// One connection and one set of runtimes for a process. OpenClaw loads a plugin several times, each time from a copy of its own, so
// this is kept where all of them find it.
const SHARED = Symbol.for("clawjail.openclaw.1");
const shared = ((globalThis as Record<symbol, unknown>)[SHARED] ??= new Map<string, Opened>()) as Map<string, Opened>;

function open(api: PluginApi, options: Options): { client: Client; backend: Backend } {
  const path = options.socket ?? usualSocket();
  const settings = JSON.stringify(options);
  const known = shared.get(path);
  if (known?.settings === settings) return known;
  const client = known?.client ?? new Client(path);
  const opened = { client, backend: new Backend(client, options, api.config, api.logger), settings };
  shared.set(path, opened);
  return opened;
}

function register(api: PluginApi): void {
  const options = (api.pluginConfig ?? {}) as Options;
  const { client, backend } = open(api, options);
  // An audit loads plugins in a mode of its own.
  api.registerSecurityAuditCollector?.((context) => audit(client, options, backend.binary, context));
  if (api.registrationMode !== undefined && !MODES.has(api.registrationMode)) return;
  const registration: Registration = {
    factory: (params) => backend.create(params),
    manager: manager(client, backend, options),
    resolveWorkdir: () => WORKDIR,
    capabilities: { readOnlyResourceMounts: true },
  };
  const unregister = registerBackend(ID, registration);
  const lifecycle = api.lifecycle?.registerRuntimeLifecycle?.bind(api.lifecycle) ?? api.registerRuntimeLifecycle?.bind(api);
  lifecycle?.({
    id: ID,
    cleanup: ({ reason, sessionKey, runId }) => {
      if (sessionKey === undefined && runId === undefined && /disable|restart|reload/.test(reason ?? "")) unregister();
    },
  });
  api.registerTrustedToolPolicy?.({
    id: ID,
    description: "Rules of plugins.entries.clawjail.config: allow, ask or deny a tool call; ties calls to verdicts.",
    evaluate: (event, context) => evaluate(options, backend, event, context),
  });
  api.registerAgentToolResultMiddleware?.(
    async ({ toolCallId, result }) => {
      const told = backend.calls.told(toolCallId);
      if (!told) return undefined;
      const details = typeof result.details === "object" && result.details !== null ? result.details : {};
      return { result: { ...result, details: { ...details, clawjail: told } } };
    },
    { matcher: ["exec"], runtimes: ["openclaw", "codex"] },
  );
}

interface Jails {
  jails: { session: string | null; profile: string }[];
}

function manager(client: Client, backend: Backend, options: Options): Manager {
  return {
    async describeRuntime({ entry, agentId }) {
      const wanted = labelOf(profileFor(options, agentId ?? agentOf(entry.sessionKey)));
      // Without a service nothing runs.
      const { jails } = await client.call<Jails>("jail.list", {}).catch((error: unknown) => {
        if (error instanceof ClawjailError) return { jails: [] };
        throw error;
      });
      const jail = jails.find(({ session }) => session === sessionOf(entry.containerName));
      const actual = jail ? labelOf(jail.profile) : (entry.image ?? wanted);
      return { running: jail !== undefined, actualConfigLabel: actual, configLabelMatch: actual === wanted };
    },
    async removeRuntime({ entry }) {
      await backend.removed(entry.containerName).catch((error: unknown) => {
        // A service that is gone has taken its jails along.
        if (!(error instanceof ClawjailError && error.code === "gone")) throw error;
      });
    },
  };
}

export default {
  id: ID,
  name: "clawjail",
  description: "Sandbox backend: exec and file tools run in a jail of Landlock, seccomp, cgroups and namespaces, each with a verdict.",
  register,
};
