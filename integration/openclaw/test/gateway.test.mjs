// Every tool of an agent, by way of a real Gateway: one Gateway, several agents, a model that does what it is told.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";

import { BINARY, Place, until } from "./place.mjs";

const exec = (command, more = {}) => ({ tool: "exec", args: { command, ...more } });
const tool = (name, args) => ({ tool: name, args });

let place;
const other = (id) => join(place.top, `ws-${id}`);

before(async () => {
  place = await Place.make({
    plugin: {
      rules: [
        { tools: ["exec"], command: "*forbidden*", decide: "deny", why: "forbidden things are forbidden" },
        { tools: ["exec"], command: "*asked-about*", decide: "ask", why: "somebody should look" },
      ],
      agents: { strict: { profile: "untrusted", rules: [{ tools: ["write"], path: "*.sh", decide: "deny" }] } },
    },
    service: "[limits]\nruns_per_caller = 64\nconnections_per_caller = 300\n",
  });
  for (const id of ["none", "ro", "strict", "shared", "all-one", "all-two"]) {
    mkdirSync(other(id));
    writeFileSync(join(other(id), "AGENTS.md"), `the workspace of ${id}\n`);
    writeFileSync(join(other(id), ".env"), "KEY=secret\n");
  }
  const entry = (id, sandbox) => [id, { workspace: other(id), sandbox }];
  const entries = Object.fromEntries([
    ["main", { workspace: place.workspace }],
    entry("none", { workspaceAccess: "none" }),
    entry("ro", { workspaceAccess: "ro" }),
    entry("strict", {}),
    entry("shared", { scope: "agent" }),
    entry("all-one", { scope: "shared", workspaceAccess: "none" }),
    entry("all-two", { scope: "shared", workspaceAccess: "none" }),
  ]);
  place.configure({ config: { agents: { entries }, tools: { alsoAllow: ["sessions_spawn"] } } });
  await place.startGateway();
}, { timeout: 180_000 });

after(() => place?.remove(), { timeout: 60_000 });

const run = async (steps, options = {}) => {
  const ran = await place.exec(steps, { how: "gateway", ...options });
  assert.ok(ran.results.length > 0, `${ran.stdout.slice(-1500)}\n${ran.stderr.slice(-1500)}\n${place.gatewaySaid.slice(-1500)}`);
  return ran.results;
};

describe("exec", () => {
  it("has its directory, its environment and its exit code, and runs in a jail", async () => {
    mkdirSync(join(place.workspace, "deep/er"), { recursive: true });
    const [id, here, there, variable, code] = await run([
      exec("hostname; id -un; echo $HOME; echo $PATH; cat /etc/hostname"),
      exec("pwd", { workdir: "deep/er" }),
      exec("pwd; touch there && echo made", { workdir: "/tmp" }),
      exec('echo "$ONE,$TWO"', { env: { ONE: "1", TWO: "two words" } }),
      exec("echo out; echo err >&2; exit 42"),
    ]);
    assert.match(id, /^clawjail\nagent\n\/home\/agent\n\/usr\/local\/sbin:\S+\nclawjail/);
    assert.match(here, /^\/workspace\/deep\/er/);
    assert.match(there, /^\/tmp\nmade/);
    assert.match(variable, /^1,two words/);
    // They come by two pipes, in either order.
    for (const part of [/^out$/m, /^err$/m, /exited with code 42/]) assert.match(code, part);
  });

  it("is ended with all that it started when its time is up", async () => {
    const [late, next] = await run([exec("(setsid sleep 7771 &); sleep 7771; echo not reached", { timeoutSeconds: 2 }), exec("ps -e -o args=")]);
    assert.match(late, /timed out after 2 seconds/);
    assert.doesNotMatch(late, /not reached/);
    assert.doesNotMatch(next, /sleep 7771/);
    assert.equal(place.running("sleep 7771").length, 0);
  });

  it("is ended when the turn is given up", async () => {
    const running = () => until("it runs", () => place.running("sleep 7772").some(({ line }) => line.startsWith("sleep")));
    const { end } = await place.exec([exec("sleep 7772")], { how: "gateway", session: "aborted", abortAfter: running });
    assert.equal(end.state, "aborted");
    await until("it is gone", () => place.running("sleep 7772").length === 0, 20_000);
    // The same by the command line, whose time is up.
    await place.exec([exec("sleep 7776")], { how: "cli", timeout: 4, session: "aborted" });
    await until("it is gone", () => place.running("sleep 7776").length === 0, 20_000);
  });

  it("goes side by side", async () => {
    const began = performance.now();
    const answers = await run([{ tools: Array.from({ length: 6 }, (_, n) => exec(`sleep 1; echo number ${n}`)) }]);
    assert.deepEqual(answers.map((answer) => answer.trim()).sort(), Array.from({ length: 6 }, (_, n) => `number ${n}`));
    assert.ok(performance.now() - began < 20_000);
  });

  it("gives large output, and the end of it", async () => {
    const [large] = await run([exec("seq 1 300000")]);
    // OpenClaw keeps the end of it, and shows the model a part.
    assert.match(large, /^2\d{5}$/m);
    assert.ok(large.length > 10_000 && large.length < 250_000, `${large.length}`);
  });
});

describe("a command in the background", () => {
  it("has a real terminal where one is asked for", async () => {
    const answers = await run([
      exec("tty; stty size; read x; echo got $x; sleep 1000", { pty: true, background: true }),
      tool("process", { action: "list" }),
      tool("process", { action: "write", sessionId: "${session}", data: "hello\n" }),
      exec("sleep 0.7"),
      tool("process", { action: "log", sessionId: "${session}" }),
      tool("process", { action: "send-keys", sessionId: "${session}", keys: ["C-c"] }),
      exec("sleep 0.7"),
      tool("process", { action: "poll", sessionId: "${session}" }),
    ], { session: "terminal" });
    assert.match(answers[1], /running/);
    assert.match(answers[4], /\/dev\/pts\/0\n30 120\nhello\ngot hello/);
    assert.match(answers[7], /\^C[^]*code 130/);
  });

  it("is written to by a pipe otherwise, and killing it leaves nothing", async () => {
    const answers = await run([
      exec("read x; echo got $x; test -t 0 || echo no terminal; (setsid sleep 7773 &); exec sleep 7773", { background: true }),
      tool("process", { action: "write", sessionId: "${session}", data: "line\n" }),
      exec("sleep 0.7"),
      tool("process", { action: "poll", sessionId: "${session}" }),
      exec("ps -e -o args= | grep -c '[s]leep 7773'"),
      tool("process", { action: "kill", sessionId: "${session}" }),
      exec("sleep 1; ps -e -o args= | grep -c '[s]leep 7773'; true"),
    ], { session: "pipe" });
    assert.match(answers[3], /got line\nno terminal/);
    assert.match(answers[4], /^2/, "positive control");
    assert.match(answers[6], /^0/);
  });

  it("serves others of its session, and nobody else", async () => {
    writeFileSync(join(place.workspace, "page"), "a page\n");
    const fetch = 'python3 -c "import urllib.request as u; print(u.urlopen(\'http://127.0.0.1:8765/page\', timeout=2).read().decode())"';
    const [, served] = await run([exec("exec python3 -m http.server --bind 127.0.0.1 8765", { background: true }), exec(`sleep 1; ${fetch}`)], { session: "serving" });
    assert.match(served, /^a page/);
    const [elsewhere] = await run([exec(fetch)], { session: "elsewhere" });
    assert.match(elsewhere, /refused/i);
    await assert.rejects(fetch_host("http://127.0.0.1:8765/page"));
  });
});

const fetch_host = (url) => globalThis.fetch(url, { signal: AbortSignal.timeout(1000) });

describe("file tools", () => {
  it("write, read, edit, list and patch what commands see, and what the host sees", async () => {
    const answers = await run([
      tool("write", { path: "new/dir/a.txt", content: "one\ntwo\n" }),
      tool("read", { path: "/workspace/new/dir/a.txt" }),
      tool("edit", { path: "new/dir/a.txt", edits: [{ oldText: "two", newText: "three" }] }),
      tool("ls", { path: "new/dir" }),
      exec("cat new/dir/a.txt"),
      tool("apply_patch", { input: "*** Begin Patch\n*** Add File: new/p.txt\n+x\n*** Update File: new/dir/a.txt\n@@\n-one\n+1\n three\n*** End Patch" }),
      tool("apply_patch", { input: "*** Begin Patch\n*** Delete File: new/p.txt\n*** End Patch" }),
      tool("read", { path: join(place.workspace, "new/dir/a.txt") }),
    ]);
    assert.match(answers[1], /^one\ntwo/);
    assert.match(answers[3], /a\.txt/);
    assert.match(answers[4], /^one\nthree/);
    assert.match(answers[5], /A new\/p\.txt[^]*M new\/dir\/a\.txt/);
    assert.match(answers[7], /^1\nthree/);
    assert.equal(readFileSync(join(place.workspace, "new/dir/a.txt"), "utf8"), "1\nthree\n");
    assert.ok(!existsSync(join(place.workspace, "new/p.txt")));
  });

  it("start no command, and say what is not there in words", async () => {
    const session = "no-commands";
    const [, , , , missing] = await run([
      tool("write", { path: "quiet/a.txt", content: "one\n" }),
      tool("read", { path: "quiet/a.txt" }),
      tool("edit", { path: "quiet/a.txt", edits: [{ oldText: "one", newText: "two" }] }),
      tool("ls", { path: "quiet" }),
      tool("read", { path: "quiet/nothing.txt" }),
      exec("cat quiet/a.txt"),
    ], { session });
    assert.match(missing, /ENOENT|not found|no such file/i);
    assert.doesNotMatch(missing, /exit(ed with)? (code )?1|python/i);
    const { stdout } = await place.clawjail("log", "--socket", place.socket, "--limit", "200", "--json");
    const own = stdout.trim().split("\n").map((line) => JSON.parse(line)).filter((verdict) => verdict.session?.includes(session));
    const words = own.map(({ argv }) => argv[0]).toSorted();
    assert.deepEqual(words.filter((word) => !word.startsWith("fs.")), ["/bin/sh"], "the one that was asked for");
    assert.ok(words.filter((word) => word === "fs.write").length === 2, words.join(" "));
  });

  it("lead nowhere that a command could not go: links, `..`, devices, hidden and protected names", async () => {
    const outside = join(place.top, "outside");
    writeFileSync(outside, "outside\n");
    symlinkSync(outside, join(place.workspace, "leaf"));
    symlinkSync(place.top, join(place.workspace, "dir"));
    mkdirSync(join(place.workspace, ".git/hooks"), { recursive: true });
    writeFileSync(join(place.workspace, ".env"), "KEY=secret\n");
    const attempts = [
      tool("read", { path: "leaf" }),
      tool("read", { path: "dir/outside" }),
      tool("write", { path: "leaf", content: "changed" }),
      tool("write", { path: "dir/made", content: "x" }),
      tool("edit", { path: "leaf", edits: [{ oldText: "outside", newText: "changed" }] }),
      tool("ls", { path: "dir" }),
      tool("apply_patch", { input: "*** Begin Patch\n*** Update File: leaf\n@@\n-outside\n+changed\n*** End Patch" }),
      tool("apply_patch", { input: "*** Begin Patch\n*** Add File: dir/made\n+x\n*** End Patch" }),
      tool("read", { path: "../outside" }),
      tool("write", { path: "../made", content: "x" }),
      tool("read", { path: "/etc/passwd" }),
      tool("read", { path: "/dev/zero" }),
      tool("read", { path: ".env" }),
      tool("write", { path: ".git/hooks/pre-commit", content: "#!/bin/sh\n" }),
      exec("cat leaf dir/outside .env; echo x >.git/hooks/pre-commit; echo tried"),
    ];
    // A jail that was there before its workspace had any of this.
    const answers = await run(attempts);
    for (const [index, answer] of answers.entries()) {
      assert.doesNotMatch(answer, /^outside\n/m, JSON.stringify(attempts[index]));
      assert.doesNotMatch(answer, /KEY=secret/, JSON.stringify(attempts[index]));
    }
    assert.match(answers[13], /EACCES|EROFS|denied/i);
    assert.match(answers[14], /^tried$/m);
    assert.match(answers[14], /^clawjail: denied: write/m, "a denial is in the result, in words");
    // `leaf` may have become a file of the workspace; what it led to is as it was.
    assert.equal(readFileSync(outside, "utf8"), "outside\n");
    for (const made of [join(place.top, "made"), join(place.workspace, ".git/hooks/pre-commit")]) assert.ok(!existsSync(made), made);
  });

  it("keep a file whole, whoever changes it meanwhile", async () => {
    writeFileSync(join(place.workspace, "swapped"), "begin\nend\n");
    const swap = "i=0; while [ $i -lt 400 ]; do ln -sfn /etc/hostname swapped.l; mv -f swapped.l swapped; printf 'begin\\nend\\n' >swapped.f; mv -f swapped.f swapped; i=$((i+1)); done";
    const edits = Array.from({ length: 6 }, () => tool("edit", { path: "swapped", edits: [{ oldText: "begin", newText: "begin\nmore" }] }));
    await run([{ tools: [exec(swap), ...edits] }], { session: "swap" });
    assert.notEqual(readFileSync("/etc/hostname", "utf8"), "begin\nmore\nend\n");
    // Where the command was still at it, the name leads on this host to what it led to.
    const [swapped, led] = [join(place.workspace, "swapped"), "/etc/hostname"].map((path) => readFileSync(path, "utf8"));
    assert.ok(/^begin\n(more\n)*end\n$/.test(swapped) || swapped === led, swapped);
  });

  it("write what is as large as a model may say", async () => {
    const [made] = await run([exec("head -c 12000000 /dev/zero | tr '\\0' x > large && wc -c large")]);
    assert.match(made, /12000000/);
    const content = "y".repeat(150_000);
    const [, counted] = await run([tool("write", { path: "written", content }), exec("wc -c <written")]);
    assert.match(counted, /^150000/);
  });

  it("look at images", async () => {
    const png = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==", "base64");
    writeFileSync(join(place.workspace, "dot.png"), png);
    const [read] = await run([tool("read", { path: "dot.png" })]);
    assert.match(read, /image/i);
  });
});

describe("the environment that a model asks for", () => {
  it("reaches no process outside of the jail, and no loader inside", async () => {
    const marker = join(place.top, "loaded");
    const source = join(place.top, "hook.c");
    writeFileSync(source, `#include <stdio.h>\n__attribute__((constructor)) static void loaded(void) { FILE *f = fopen("${marker}", "w"); if (f) fclose(f); }\n`);
    execFileSync("cc", ["-shared", "-fPIC", "-o", join(place.workspace, "hook.so"), source]);
    execFileSync("true", [], { env: { LD_PRELOAD: join(place.workspace, "hook.so") } });
    assert.ok(existsSync(marker), "positive control: loaded where the variable arrives");
    execFileSync("rm", [marker]);
    const paths = ["/workspace/hook.so", join(place.workspace, "hook.so")];
    const answers = await run(paths.map((path) => exec("true", { env: { LD_PRELOAD: path } })));
    assert.ok(!existsSync(marker));
    for (const answer of answers) assert.match(answer, /clawjail: refused: environment variable `LD_PRELOAD`/);
  });

  it("is in no command line and no environment of what OpenClaw spawns", async () => {
    const turn = place.exec([exec("echo secret-word-in-command; sleep 3", { env: { A_NAME: "secret-word-in-value" } })], { how: "gateway", session: "spawned" });
    const [begun] = await until("it runs", () => {
      const all = place.running(`--socket ${place.socket}`).filter(({ line }) => line.startsWith(`${BINARY} begin `));
      return all.length > 0 && all;
    });
    assert.doesNotMatch(begun.line, /secret-word/);
    assert.equal(readFileSync(`/proc/${begun.pid}/environ`, "utf8"), "");
    const { results } = await turn;
    assert.match(results[0], /^secret-word-in-command/);
  });
});

describe("workspaces", () => {
  it("of access `none` are scratch, and the agent's own is not there", async () => {
    const [ls, agent] = await run([exec("touch made && ls; cat AGENTS.md"), exec("ls /agent")], { agent: "none" });
    assert.match(ls, /made/);
    assert.match(agent, /No such file/);
    assert.ok(!existsSync(join(other("none"), "made")));
  });

  it("of access `ro` cannot be written, and the agent's own is at /agent, to be read, without its secrets", async () => {
    const ran = await place.exec([exec("touch made; touch /agent/made; cat /agent/AGENTS.md; cat /agent/.env; ls /agent"), tool("read", { path: "/agent/AGENTS.md" })], { how: "gateway", agent: "ro" });
    assert.match(ran.results[0], /the workspace of ro/);
    assert.doesNotMatch(ran.results[0], /KEY=secret/);
    assert.match(ran.results[0], /Read-only|Permission denied/);
    assert.match(ran.results[1], /the workspace of ro/);
    assert.ok(!existsSync(join(other("ro"), "made")));
    assert.ok(!ran.requests[0].tools.includes("write"), ran.requests[0].tools.join(" "));
  });

  it("show skills, which cannot be changed", async () => {
    mkdirSync(join(place.workspace, "skills/own"), { recursive: true });
    writeFileSync(join(place.workspace, "skills/own/SKILL.md"), "---\nname: own\ndescription: of the workspace\n---\nbe good\n");
    const materialized = ".openclaw/sandbox-skills/skills";
    const script = `for d in skills ${materialized}; do ls $d | head -3; (echo x >$d/new) 2>/dev/null && echo written; mv $d $d.gone 2>/dev/null && echo moved; done; echo bad >>skills/own/SKILL.md; mv .openclaw .openclaw2 && echo moved; cat skills/own/SKILL.md`;
    const [tried, written] = await run([exec(script), tool("write", { path: "skills/own/SKILL.md", content: "bad" })], { session: "skills" });
    assert.match(tried, /own\n/);
    assert.match(tried, /be good/);
    assert.doesNotMatch(tried, /written|moved/);
    assert.match(written, /error/i);
    assert.match(readFileSync(join(place.workspace, "skills/own/SKILL.md"), "utf8"), /be good\n$/);
    // Where the workspace is not the agent's own, they are beside what is in it.
    for (const agent of ["none", "ro"]) {
      mkdirSync(join(other(agent), "skills/theirs"), { recursive: true });
      writeFileSync(join(other(agent), "skills/theirs/SKILL.md"), `---\nname: theirs\ndescription: of ${agent}\n---\nbe good\n`);
      const [seen] = await run([exec("cat skills/theirs/SKILL.md; echo bad >>skills/theirs/SKILL.md; mv skills gone && echo moved; tail -1 skills/theirs/SKILL.md")], { agent, session: "skills" });
      assert.match(seen, /be good[^]*be good/, agent);
      assert.doesNotMatch(seen, /moved|^bad/m, agent);
    }
  });

  it("of scope `agent` are shared by an agent's sessions, of scope `session` not", async () => {
    await run([exec("echo kept >/tmp/file")], { agent: "shared", session: "one" });
    const [shared] = await run([exec("cat /tmp/file")], { agent: "shared", session: "two" });
    assert.match(shared, /^kept/);
    await run([exec("echo kept >/tmp/file")], { session: "one" });
    const [own] = await run([exec("cat /tmp/file")], { session: "two" });
    assert.match(own, /No such file/);
  });

  it("of scope `shared` are one sandbox for several agents, and nobody else's", async () => {
    await run([exec("echo kept >/tmp/shared; echo kept >file")], { agent: "all-one" });
    const [other] = await run([exec("cat /tmp/shared file")], { agent: "all-two", session: "another" });
    assert.match(other, /^kept\nkept/);
    const [own] = await run([exec("cat /tmp/shared file")], { agent: "none" });
    assert.match(own, /No such file[^]*No such file/);
  });

  it("get what somebody sends along, where the agent's tools can read it and nothing else of the host's", async () => {
    const attachments = [{ type: "file", mimeType: "text/plain", fileName: "notes.txt", content: Buffer.from("sent along\n").toString("base64") }];
    const { requests } = await place.exec([exec("find . -name '*notes*' -type f -exec cat {} +")], { how: "gateway", session: "media", attachments });
    assert.match(requests.at(-1)?.results[0] ?? "", /^sent along/, JSON.stringify(requests.at(-1)?.messages).slice(0, 1500));
    const said = JSON.stringify(requests[0].messages) + JSON.stringify(requests[0].asked ?? "");
    assert.doesNotMatch(said, new RegExp(join(place.top, "state")), "the model is told of no place that its tools cannot reach");
  });
});

describe("what is decided before a call", () => {
  it("denies in words that the model can act on", async () => {
    const [denied, allowed] = await run([exec("echo forbidden"), exec("echo fine")]);
    assert.match(denied, /denied by policy: forbidden things are forbidden/);
    assert.match(allowed, /^fine/);
    const [script, text] = await run([tool("write", { path: "x.sh", content: "x" }), tool("write", { path: "x.txt", content: "x" })], { agent: "strict" });
    assert.match(script, /denied by policy/);
    assert.match(text, /wrote/i);
  });

  it("asks, and takes it for a no where nobody can be asked", async () => {
    const [asked] = await run([exec("echo asked-about")], { how: "cli" });
    assert.doesNotMatch(asked, /^asked-about/);
    assert.match(asked, /approval/i);
  });

  it("asks a person who is there, and does what they say", async () => {
    const person = await place.person();
    for (const [decision, wanted] of [["allow-once", /^asked-about allow-once/], ["deny", /[Dd]enied/]]) {
      const path = place.script([exec(`echo asked-about ${decision}`)]);
      await person.say(`agent:main:${decision}`, `SCRIPT:${path} go`);
      const question = await until("somebody is asked", () => person.events.find(({ event, taken }) => event === "plugin.approval.requested" && !taken));
      question.taken = true;
      assert.match(JSON.stringify(question.payload), /somebody should look/);
      await person.call("plugin.approval.resolve", { id: question.payload.id, decision });
      const { results } = await until("it goes on", () => place.model.requests.filter((request) => request.path === path).find((request) => request.results.length > 0));
      assert.match(results[0], wanted);
    }
  });

  it("is by agent: the profile, too", async () => {
    const [ran] = await run([exec("ulimit -n; echo x >SOUL.md")], { agent: "strict" });
    assert.match(ran, /^1024$/m);
    assert.match(ran, /denied/i);
  });
});

describe("verdicts", () => {
  it("are named in the log and in the result, by session, run and call, and can be looked up", async () => {
    await run([exec("echo for the record; exit 3")], { session: "recorded" });
    const line = await until("it is logged", () => /verdict ([0-9a-f-]{36}): exited 3 \(profile=openclaw session=agent:main:recorded run=\S+ call=\S+\)/.exec(place.log()));
    const { stdout } = await place.clawjail("verdict", line[1], "--socket", place.socket);
    const verdict = JSON.parse(stdout);
    assert.equal(verdict.exit_code, 3);
    assert.deepEqual(verdict.argv.slice(0, 2), ["/bin/sh", "-c"]);
    assert.match(verdict.session, /^openclaw:clawjail-agent-main-recorded/);
    const stored = execFileSync("grep", ["-rlaF", `"clawjail":{"verdict":"${line[1]}"`, join(place.top, "state")], { encoding: "utf8" });
    assert.match(stored, /sqlite/, "kept with the result in the session's transcript");
  });
});

describe("sub-agents", () => {
  it("have jails of their own", async () => {
    const child = place.script([exec("hostname; echo from the child >child.txt; echo mark >/tmp/child")]);
    const [spawned] = await run([tool("sessions_spawn", { task: `SCRIPT:${child} do it`, runtime: "subagent" }), exec("cat /tmp/child")], { session: "parent" });
    assert.doesNotMatch(spawned, /"status": ?"error"/);
    const results = await until("the child is done", () => place.model.requests.filter(({ path }) => path === child).at(-1)?.results?.length && place.model.requests.filter(({ path }) => path === child).at(-1).results);
    assert.match(results[0], /^clawjail/);
  });
});

describe("the command line", () => {
  it("lists, explains and recreates sandboxes", async () => {
    await run([exec("true")], { session: "listed" });
    const [{ stdout: list }, { stdout: explain }] = await Promise.all([place.openclaw(["sandbox", "list"]), place.openclaw(["sandbox", "explain", "--agent", "main"])]);
    assert.match(list, /clawjail-agent-main-listed[^]*?running[^]*?profile=openclaw ✓/);
    assert.match(explain, /backend: clawjail runtimeWorkdir: \/workspace/);
    const ours = async () => (await place.jails()).filter(({ session }) => session.includes("-listed-"));
    assert.equal((await ours()).length, 1);
    const recreated = await place.openclaw(["sandbox", "recreate", "--all", "--force"]);
    assert.equal(recreated.code, 0, recreated.stderr);
    assert.equal((await ours()).length, 0);
    const [again] = await run([exec("echo again")], { session: "listed" });
    assert.match(again, /^again/, "a sandbox that was taken away is made anew");
  });
});

describe("under attack and in trouble", () => {
  it("takes 200 calls side by side", async () => {
    const answers = await run([{ tools: Array.from({ length: 200 }, (_, n) => exec(`echo number ${n}`)) }], { session: "many", timeout: 300 });
    // On a busy machine OpenClaw's own spawn broker turns some away. What it lets through is answered, each with its own.
    const turned = answers.filter((answer) => /Spawn broker request capacity exceeded/.test(answer));
    const numbers = answers.flatMap((answer) => /^number (\d+)/.exec(answer)?.[1] ?? []);
    assert.equal(numbers.length + turned.length, 200, answers.find((answer) => !/^number|Spawn broker/.test(answer)));
    assert.equal(new Set(numbers).size, numbers.length);
    assert.ok(numbers.length >= 100, `${turned.length} turned away`);
    const [after] = await run([exec("echo after")], { session: "many" });
    assert.match(after, /^after/);
  });

  it("lives through a gigabyte of output", async () => {
    const before = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${place.gatewayPids.at(-1)}/status`, "utf8"))[1]);
    const [flood, next] = await run([exec("head -c 1073741824 /dev/zero | tr '\\0' x; echo; echo the end", { timeoutSeconds: 240 }), exec("echo next")], { session: "flood", timeout: 300 });
    assert.ok(flood.length < 1_000_000);
    assert.match(next, /^next/);
    const after = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${place.gatewayPids.at(-1)}/status`, "utf8"))[1]);
    assert.ok(after - before < 1_000_000, `${before} kB, ${after} kB`);
  });

  it("fails cleanly while the service is restarted, and works afterwards", async () => {
    const turn = place.exec([exec("echo begun; sleep 1000"), exec("echo after"), tool("write", { path: "after.txt", content: "x" })], { how: "gateway", session: "restart" });
    await until("it runs", () => place.running("echo begun; sleep 1000").length > 0);
    await place.stopService("SIGTERM");
    await place.startService();
    const { results } = await turn;
    assert.equal(results.length, 3, results.join("\n----\n"));
    assert.doesNotMatch(results[0], /^ok/);
    assert.match(results[1], /^after/);
    assert.match(results[2], /wrote/i);
  });

  it("leaves nothing when the Gateway is killed", async () => {
    const turn = place.exec([exec("sleep 7774", { background: true }), exec("sleep 7774")], { how: "gateway", session: "killed" });
    turn.catch(() => undefined);
    await until("they run", () => place.running("sleep 7774").filter(({ line }) => line.startsWith("sleep")).length >= 2);
    await place.killGateway();
    await until("they are gone", () => place.running("sleep 7774").length === 0, 10_000);
    await until("so are the jails", async () => (await place.jails()).length === 0, 10_000);
    assert.equal(place.running(place.socket).filter(({ line }) => line.startsWith(`${BINARY} begin `)).length, 0);
    await assert.rejects(turn, /Gateway is gone/);
  });

  it("prunes what nobody has used for long once there is a Gateway again, and nothing else", async () => {
    const [idle, busy] = ["agent:main:many", "agent:main:listed"].map((session) => `openclaw:${place.runtimeOf(session)}`);
    // These outlive the Gateway, as if it had not ended.
    for (const session of [idle, busy]) {
      const { code, stderr } = await place.clawjail("jail", "open", "--profile", "openclaw", "--workspace", place.workspace, "--session", session, "--socket", place.socket);
      assert.equal(code, 0, stderr);
    }
    const sessions = async () => (await place.jails()).map(({ session }) => session);
    assert.deepEqual((await sessions()).toSorted(), [idle, busy].toSorted());
    // 25 hours ago, which is one more than OpenClaw's default.
    assert.equal(place.age("agent:main:many", 25 * 3600 * 1000), 1);
    await place.startGateway();
    const [looked] = await run([exec("echo looked")], { session: "looks" });
    assert.match(looked, /^looked/);
    const left = await sessions();
    assert.deepEqual([left.includes(idle), left.includes(busy)], [false, true], left.join(" "));
  });
});
