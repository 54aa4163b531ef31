// Without a Gateway: `agent exec`, `agent --local`; and what OpenClaw's own sandbox settings become.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";

import { Place, until } from "./place.mjs";

const exec = (command, more = {}) => ({ tool: "exec", args: { command, ...more } });

// Named after this process: the same tests may run beside us, with another OpenClaw.
const sleeper = `sleep 7775.${process.pid}`;

let place;
let shown;

before(async () => {
  place = await Place.make();
  shown = mkdtempSync("/var/tmp/clawjail-openclaw-shown.");
  writeFileSync(join(shown, "file"), "shown\n");
}, { timeout: 120_000 });

after(() => place?.remove());

describe("without a Gateway", () => {
  for (const how of ["exec", "local"]) {
    it(`\`agent ${how === "exec" ? "exec" : "--local"}\` runs its tools in a jail`, async () => {
      place.configure({ sandbox: {}, plugin: {} });
      const steps = [exec("hostname; echo from exec >file.txt"), { tool: "read", args: { path: "file.txt" } }, exec(`(${sleeper} &); sleep 0.1`)];
      const { results, stdout, stderr } = await place.exec(steps, { how });
      assert.equal(results.length, 3, `${stdout.slice(-800)}\n${stderr.slice(-800)}`);
      assert.match(results[0], /^clawjail/);
      assert.match(results[1], /^from exec/);
      await until("nothing outlives the process", () => place.running(sleeper).length === 0, 10_000);
      await until("no jail stays", async () => (await place.jails()).length === 0, 10_000);
    });
  }

  it("policies count as well", async () => {
    place.configure({ plugin: { rules: [{ tools: ["exec"], command: "curl *", decide: "deny", why: "no downloads" }] } });
    const { results } = await place.exec([exec("curl http://example.org")]);
    assert.match(results[0], /denied by policy: no downloads/);
  });
});

describe("docker's settings", () => {
  it("are kept: limits, binds, environment, set-up, no network", async () => {
    const docker = {
      memory: "300m", pidsLimit: 40, cpus: 1.5, ulimits: { nofile: { soft: 90, hard: 99 }, fsize: 1_000_000 },
      binds: [`${shown}:/data:ro`], tmpfs: ["/tmp:size=16m"], env: { FROM_SETTINGS: "yes" }, setupCommand: "echo set up >/tmp/mark",
    };
    place.configure({ sandbox: { docker }, plugin: {} });
    const steps = [
      exec("ulimit -n; cat /data/file; echo x >/data/new; echo $FROM_SETTINGS; cat /tmp/mark; df -k /tmp | tail -1"),
      exec("head -c 2000000 /dev/zero >large; ls -l large"),
      exec("curl -m 2 http://93.184.215.14/ 2>&1; ls /sys/class/net 2>/dev/null; true"),
      { tool: "read", args: { path: "/data/file" } },
      // Last: what it starts is there for a while.
      exec("i=0; while [ $i -lt 60 ]; do sleep 1 & i=$((i+1)); done; wait; echo done"),
    ];
    const { results, stderr } = await place.exec(steps);
    assert.match(results[0] ?? stderr, /^99$/m);
    // What goes to stdout and what to stderr may come in either order.
    for (const line of [/^shown$/m, /^yes$/m, /^set up$/m]) assert.match(results[0], line);
    assert.match(results[0], /Read-only|Permission denied/);
    assert.match(results[0], /\s16384\s/);
    assert.doesNotMatch(results[1], /\s2000000\s/);
    assert.match(results[2], /Couldn't connect|Network is unreachable|Failed to connect|not permitted/i);
    assert.match(results[3], /^shown/);
    assert.match(results[4], /[Cc]annot fork|[Rr]esource temporarily/);
  });

  it("that cannot be kept are refused, before the model is asked anything", async () => {
    const docker = { binds: ["/srv/data:/data"], seccompProfile: "/etc/seccomp.json", workdir: "/elsewhere", ulimits: { memlock: 5 } };
    place.configure({ sandbox: { docker }, plugin: {} });
    const { requests, stdout, stderr } = await place.exec([exec("true")]);
    const said = stdout + stderr;
    assert.equal(requests.length, 0);
    for (const word of ["docker.binds", "docker.seccompProfile", "docker.workdir", "docker.ulimits.memlock"]) assert.ok(said.includes(word), `${word}: ${said.slice(-1500)}`);
  });

  it("for a browser are refused: only OpenClaw's own backends have one", async () => {
    place.configure({ sandbox: { browser: { enabled: true } }, plugin: {} });
    const { requests, stdout, stderr } = await place.exec([exec("true")]);
    assert.equal(requests.length, 0);
    assert.match(stdout + stderr, /browser/i);
  });

  it("and a set-up that fails is a failure", async () => {
    place.configure({ sandbox: { docker: { setupCommand: "echo no such thing >&2; exit 3" } }, plugin: {} });
    const { requests, stdout, stderr } = await place.exec([exec("true")]);
    assert.equal(requests.length, 0);
    assert.match(stdout + stderr, /setupCommand ended with 3: no such thing/);
  });
});

describe("what is missing", () => {
  it("is said in one line: no service, a profile that is not there", async () => {
    place.configure({ sandbox: {}, plugin: { profile: "nosuch" } });
    const profile = await place.exec([exec("true")]);
    assert.equal(profile.requests.length, 0);
    assert.match(profile.stdout + profile.stderr, /nosuch/);
    place.configure({ plugin: { socket: join(place.top, "nobody") } });
    const service = await place.exec([exec("true")]);
    assert.equal(service.requests.length, 0);
    assert.match(service.stdout + service.stderr, /cannot reach the clawjail service/);
    mkdirSync(join(place.top, "control"));
    place.configure({ plugin: {} });
    const { results } = await place.exec([exec("echo control")]);
    assert.match(results[0], /^control/);
  });
});
