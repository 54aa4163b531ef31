// Which tool call an exec belongs to, and what came of it.
//
// OpenClaw tells a tool's policy who calls, and a backend what to run, and nothing that ties the two. So the policy puts a name into
// the call's environment, and the backend takes it out again: no process ever sees it.

import { randomUUID } from "node:crypto";

import type { Verdict } from "./client.ts";
import type { Env, ToolCallEvent, ToolContext } from "./host.ts";

export const MARK = "CLAWJAIL_TOOL_CALL";
// Calls and verdicts that are remembered; the oldest go first.
const MOST = 2048;

export interface Call {
  toolCallId: string | undefined;
  runId: string | undefined;
  sessionKey: string | undefined;
  agentId: string | undefined;
  pty: boolean;
  background: boolean;
  // Whether the model named a PATH: otherwise it is the host's.
  path: boolean;
}

// What the result of a tool call says of its run.
export interface Told {
  verdict: string;
  profile: string;
  outcome: string;
  exitCode?: number | null;
  denials?: { kind: string; what: string; remedy?: string }[];
  reason?: string;
}

export class Calls {
  readonly #marked = new Map<string, Call>();
  readonly #told = new Map<string, Told>();

  // The call's parameters with a name of ours in its environment.
  mark(event: ToolCallEvent, context: ToolContext): Record<string, unknown> {
    const { params } = event;
    const mark = randomUUID();
    const env = typeof params.env === "object" && params.env !== null ? params.env : {};
    remember(this.#marked, mark, {
      toolCallId: event.toolCallId ?? context.toolCallId,
      runId: event.runId ?? context.runId,
      sessionKey: context.sessionKey,
      agentId: context.agentId,
      pty: params.pty === true,
      background: params.background === true,
      path: "PATH" in env,
    });
    return { ...params, env: { ...env, [MARK]: mark } };
  }

  // The call that an exec's environment names, and the environment without the name.
  take(env: Env): { call: Call | undefined; env: Env } {
    const { [MARK]: mark, ...rest } = env;
    const call = mark === undefined ? undefined : this.#marked.get(mark);
    if (mark !== undefined) this.#marked.delete(mark);
    return { call, env: rest };
  }

  begun(call: Call | undefined, run: string, profile: string): void {
    if (call?.toolCallId) remember(this.#told, call.toolCallId, { verdict: run, profile, outcome: "running" });
  }

  ended(call: Call | undefined, verdict: Verdict): void {
    if (call?.toolCallId) remember(this.#told, call.toolCallId, tell(verdict));
  }

  told(toolCallId: string): Told | undefined {
    return this.#told.get(toolCallId);
  }
}

export function tell(verdict: Verdict): Told {
  const denials = (verdict.denials ?? []).slice(0, 16).map(({ kind, what, remedy }) => ({ kind, what, ...(remedy && { remedy }) }));
  return {
    verdict: verdict.id,
    profile: verdict.profile,
    outcome: verdict.outcome,
    exitCode: verdict.exit_code,
    ...(denials.length > 0 && { denials }),
    ...(verdict.reason && { reason: `${verdict.reason.code}: ${verdict.reason.message}` }),
  };
}

// For the log: what happened, and by which keys to find it on OpenClaw's side.
export function describe(verdict: Verdict, call: Call | undefined): string {
  const how = verdict.exit_code === null ? verdict.outcome : `${verdict.outcome} ${verdict.exit_code}`;
  const denied = verdict.denials?.length ? `, denied ${verdict.denials.map(({ kind, what }) => `${kind} ${JSON.stringify(what)}`).slice(0, 4).join(", ")}` : "";
  const keys = Object.entries({ session: call?.sessionKey, run: call?.runId, call: call?.toolCallId });
  const known = keys.flatMap(([name, value]) => (value ? [`${name}=${value}`] : []));
  return `verdict ${verdict.id}: ${how}${denied} (${["profile=" + verdict.profile, ...known].join(" ")})`;
}

function remember<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  if (map.size > MOST) map.delete(map.keys().next().value as string);
}
