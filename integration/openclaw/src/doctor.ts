// What `clawjail openclaw doctor` finds, for `openclaw security audit`: the list of what is unsafe in a configuration is the program's,
// and no second one is kept here.

import { execFile } from "node:child_process";

import type { AuditContext, Env, Finding } from "./host.ts";

// It looks at files, and is done in much less.
const WITHIN_MS = 15_000;
const MOST_BYTES = 8 << 20;
// What it says exit code 1 with: something was found.
const FOUND = 1;

interface Told {
  findings: Finding[];
}

export async function examine(binary: string, context: AuditContext): Promise<Finding[]> {
  const ran = await run(binary, environment(context));
  if ("why" in ran) {
    return [{ checkId: "clawjail.doctor", severity: "warn", title: "clawjail openclaw doctor could not look at this OpenClaw", detail: ran.why, remediation: "Run `clawjail openclaw doctor`." }];
  }
  return ran.findings.map(({ checkId, severity, title, detail, remediation }) => ({ checkId, severity, title, detail, ...(remediation && { remediation }) }));
}

// Where OpenClaw is, and nothing else of the Gateway's environment: there are keys in it.
function environment({ env = process.env as Env, stateDir, configPath }: AuditContext): Env {
  const named = Object.entries(env).filter(([name]) => /^(HOME|PATH|LANG|OPENCLAW_(HOME|PROFILE|STATE_DIR|CONFIG_PATH))$/.test(name));
  return { ...Object.fromEntries(named), ...(stateDir && { OPENCLAW_STATE_DIR: stateDir }), ...(configPath && { OPENCLAW_CONFIG_PATH: configPath }) };
}

function run(binary: string, env: Env): Promise<Told | { why: string }> {
  return new Promise((done) => {
    execFile(binary, ["openclaw", "doctor", "--json"], { env, timeout: WITHIN_MS, maxBuffer: MOST_BYTES, cwd: "/" }, (error, stdout, stderr) => {
      if (error && error.code !== FOUND) return done({ why: (stderr.trim() || error.message).slice(0, 500) });
      try {
        done(JSON.parse(stdout) as Told);
      } catch {
        done({ why: "its answer is no JSON" });
      }
    });
  });
}
