// What `openclaw security audit` says of us: whether there is a service, what of the settings is refused, what is otherwise; and what
// `clawjail openclaw doctor` finds.

import type { Client } from "./client.ts";
import { examine } from "./doctor.ts";
import type { AuditContext, DockerSettings, Finding, SandboxSettings } from "./host.ts";
import { agentsOf, defaultsOf, networkDecision, type Options, profileFor, refusals, translate } from "./settings.ts";

interface Pong {
  version: string;
  user: string;
  role: string;
  profiles: string[];
}

export async function audit(client: Client, options: Options, binary: string, context: AuditContext): Promise<Finding[]> {
  const [own, found] = await Promise.all([ofOurs(client, options, context.config), examine(binary, context)]);
  return [...own, ...found];
}

async function ofOurs(client: Client, options: Options, given: unknown): Promise<Finding[]> {
  const defaults = defaultsOf(given).sandbox ?? {};
  const named = agentsOf(given).map((agent) => ({ id: agent.id ?? "main", sandbox: merge(defaults, agent.sandbox ?? {}) }));
  const agents = named.some(({ id }) => id === "main") ? named : [{ id: "main", sandbox: defaults }, ...named];
  const ours = agents.filter(({ sandbox }) => sandbox.backend === "clawjail");
  if (ours.length === 0) {
    return [finding("unused", "info", "clawjail is installed and no agent uses it", "No agent has sandbox.backend `clawjail`.", 'Set agents.defaults.sandbox.backend to "clawjail".')];
  }
  const findings = await ofService(client, [...new Set(ours.map(({ id }) => profileFor(options, id)))]);
  for (const { id, sandbox } of ours) findings.push(...ofAgent(id, sandbox, options, given));
  return findings;
}

function merge(defaults: Partial<SandboxSettings>, own: Partial<SandboxSettings>): Partial<SandboxSettings> {
  const docker = { ...defaults.docker, ...own.docker };
  const binds = [...(defaults.docker?.binds ?? []), ...(own.docker?.binds ?? [])];
  return { ...defaults, ...own, docker: { ...docker, ...(binds.length > 0 && { binds }) } };
}

async function ofService(client: Client, profiles: string[]): Promise<Finding[]> {
  let pong: Pong;
  try {
    pong = await client.call<Pong>("ping", {});
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return [finding("service", "critical", "clawjail's service cannot be reached: sandboxed tools do not run", why, "Start it: `clawjail setup`, or `clawjail serve`.")];
  }
  const missing = profiles.filter((profile) => !pong.profiles.includes("*") && !pong.profiles.includes(profile));
  const findings = missing.map((profile) =>
    finding(`profile.${profile}`, "critical", `Profile ${profile} is not granted to ${pong.user}`, `The service grants: ${pong.profiles.join(", ") || "nothing"}.`, "Name it in [[caller]] of /etc/clawjail/clawjail.toml, and `clawjail reload`."),
  );
  if (findings.length > 0) return findings;
  return [finding("service", "info", `clawjail ${pong.version} serves ${pong.user}`, `Role ${pong.role}; profiles ${pong.profiles.join(", ")}.`)];
}

function ofAgent(id: string, sandbox: Partial<SandboxSettings>, options: Options, config: unknown): Finding[] {
  const docker: DockerSettings = sandbox.docker ?? {};
  const cfg: SandboxSettings = { workspaceAccess: "none", ...sandbox, docker };
  const translated = translate(docker, networkDecision(options, id, config), docker.tmpfs ? "configured" : "default");
  const findings = refusals(cfg, translated).map((line, index) =>
    finding(`refused.${id}.${index}`, "critical", `Agent ${id}: clawjail refuses a setting, so its sandboxed tools do not run`, line, "Change or remove the setting, or put what it is for into the agent's clawjail profile."),
  );
  for (const [index, line] of translated.noted.entries()) findings.push(finding(`otherwise.${id}.${index}`, "info", `Agent ${id}: otherwise than with docker`, line));
  if (cfg.mode === undefined || cfg.mode === "off") {
    findings.push(finding(`off.${id}`, "warn", `Agent ${id} has the backend clawjail and sandbox.mode \`off\``, "Its tools run unsandboxed on the host.", 'Set sandbox.mode to "all".'));
  }
  return findings;
}

function finding(id: string, severity: Finding["severity"], title: string, detail: string, remediation?: string): Finding {
  return { checkId: `clawjail.${id}`, severity, title, detail, ...(remediation && { remediation }) };
}

