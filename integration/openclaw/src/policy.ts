// What is decided about a tool call before it is made: the rules of the configuration, the first that fits.

import type { Backend } from "./backend.ts";
import type { ToolCallEvent, ToolContext, ToolDecision } from "./host.ts";
import { agentOf, fits, type Options, type Rule, rulesFor } from "./settings.ts";

export function evaluate(options: Options, backend: Backend, event: ToolCallEvent, context: ToolContext): ToolDecision | undefined {
  const agent = context.agentId ?? agentOf(context.sessionKey);
  const rule = rulesFor(options, agent).find((rule) => applies(rule, event));
  if (rule?.decide === "deny") {
    return { block: true, blockReason: `clawjail: denied by policy: ${rule.why ?? what(rule, event)}. Do not try to get around it; do it another way, or ask the user.` };
  }
  // Who runs it has to know which call it is.
  const params = event.toolName === "exec" && backend.serves(context.sessionKey) ? { params: backend.calls.mark(event, context) } : undefined;
  if (rule?.decide !== "ask") return params;
  return {
    ...params,
    requireApproval: {
      // Whose question it is: OpenClaw adds that for hooks, and not for policies.
      pluginId: "clawjail",
      title: `clawjail: ${event.toolName} of agent ${agent}`.slice(0, 80),
      description: `${rule.why ? `${rule.why}\n` : ""}${what(rule, event)}`.slice(0, 512),
      severity: "warning",
      allowedDecisions: ["allow-once", "deny"],
    },
  };
}

function applies(rule: Rule, { toolName, params }: ToolCallEvent): boolean {
  if (rule.tools && !rule.tools.includes(toolName)) return false;
  if (rule.command !== undefined && !(typeof params.command === "string" && fits(rule.command, params.command))) return false;
  if (rule.path === undefined) return true;
  const paths = [params.path, params.file_path, params.filePath].filter((path) => typeof path === "string");
  return paths.some((path) => fits(rule.path as string, path));
}

function what(rule: Rule, { toolName, params }: ToolCallEvent): string {
  const subject = typeof params.command === "string" ? params.command : (params.path ?? params.file_path ?? "");
  const pattern = rule.command ?? rule.path;
  return `${toolName} ${String(subject)}${pattern ? ` (rule ${JSON.stringify(pattern)})` : ""}`.trim();
}
