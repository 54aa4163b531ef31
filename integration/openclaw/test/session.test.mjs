// A session as a person would have it: a stock configuration, the package installed, one line changed, and an agent at work.
// `SHOW=1 npm test session` prints it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, it } from "node:test";

import { HERE } from "../scripts/lib/toolchain.mjs";
import { BINARY, Place } from "./place.mjs";

let place;
const show = (...lines) => process.env.SHOW && console.log(...lines);

before(async () => {
  place = await Place.make();
  // As OpenClaw has it before anybody has heard of us.
  const config = JSON.parse(readFileSync(join(place.top, "openclaw.json"), "utf8"));
  delete config.plugins;
  delete config.agents.defaults.sandbox.backend;
  writeFileSync(join(place.top, "openclaw.json"), JSON.stringify(config));
}, { timeout: 120_000 });

after(() => place?.remove());

it("installs, switches and works", { timeout: 400_000 }, async () => {
  const openclaw = async (...args) => {
    const ran = await place.openclaw(args, { timeout: 180_000 });
    show(`$ openclaw ${args.join(" ")}\n${ran.stdout.trim().split("\n").slice(-4).join("\n")}`);
    assert.equal(ran.code, 0, `${args.join(" ")}: ${ran.stdout.slice(-1500)} ${ran.stderr.slice(-1500)}`);
    return ran.stdout;
  };
  execFileSync("npm", ["pack", "--ignore-scripts", "--silent", "--pack-destination", place.top], { cwd: HERE });
  const packed = readdirSync(place.top).find((name) => name.endsWith(".tgz"));
  await openclaw("plugins", "install", `npm-pack:${join(place.top, packed)}`, "--force", "--accept-capabilities");
  await openclaw("config", "set", "agents.defaults.sandbox.backend", "clawjail");
  await openclaw("config", "set", "plugins.entries.clawjail.config", JSON.stringify({ socket: place.socket, binary: BINARY }), "--strict-json");

  const git = (...args) => execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main", ...args], { cwd: place.workspace });
  git("init", "-q", "--bare", "origin.git");
  git("clone", "-q", "origin.git", "seed");
  writeFileSync(join(place.workspace, "seed/hello.c"), '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n');
  writeFileSync(join(place.workspace, "seed/Makefile"), "hello: hello.c\n\tcc -o $@ $<\ntest: hello\n\t./hello | grep -q hello && echo test passed\n");
  git("-C", "seed", "add", ".");
  git("-C", "seed", "commit", "-qm", "one");
  git("-C", "seed", "push", "-q", "origin", "HEAD:main");
  git("-C", "origin.git", "symbolic-ref", "HEAD", "refs/heads/main");
  writeFileSync(join(place.workspace, ".env"), "API_KEY=a-secret\n");

  const steps = [
    { tool: "exec", args: { command: "git clone -q origin.git work && cd work && git log --oneline | wc -l" } },
    { tool: "exec", args: { command: "make", workdir: "work" } },
    { tool: "exec", args: { command: "make test", workdir: "work" } },
    { tool: "edit", args: { path: "work/hello.c", edits: [{ oldText: 'puts("hello")', newText: 'puts("hello, jail")' }] } },
    { tool: "exec", args: { command: "make -s test && ./hello && git -c user.name=a -c user.email=a@example.org commit -qam two && git log --oneline | wc -l", workdir: "work" } },
    { tool: "exec", args: { command: "exec python3 -m http.server --bind 127.0.0.1 8766", workdir: "work", background: true } },
    { tool: "exec", args: { command: "sleep 1; python3 -c \"import urllib.request as u; print(u.urlopen('http://127.0.0.1:8766/hello.c').read().decode())\" | grep jail" } },
    { tool: "process", args: { action: "kill", sessionId: "${session}" } },
    { tool: "exec", args: { command: "cat .env" } },
    { tool: "read", args: { path: ".env" } },
    { tool: "exec", args: { command: "echo '#!/bin/sh' >work/.git/hooks/post-commit" } },
  ];
  const { results, stdout, stderr } = await place.exec(steps);
  for (const [index, { tool, args }] of steps.entries()) show(`\n> ${tool} ${args.command ?? args.path ?? args.action}\n${results[index]}`);
  assert.equal(results.length, steps.length, `${results.join("\n--\n")}${stdout.slice(-500)}${stderr.slice(-1500)}`);
  const wanted = [/^1/, /cc -o hello/, /test passed/, /replaced/i, /hello, jail\n2/, /still running/, /hello, jail/, /./, /Permission denied|No such file/, /error/i, /clawjail: denied/];
  for (const [index, pattern] of wanted.entries()) assert.match(results[index], pattern, `step ${index}`);
  assert.doesNotMatch(results.join("\n"), /a-secret/);
});
