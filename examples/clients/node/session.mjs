#!/usr/bin/env node
// What an agent's runtime does: `session.mjs SOCKET WORKSPACE`. ../../agent-session.sh starts a service for it.

import assert from "node:assert/strict";

import { Client } from "./clawjail.mjs";

const [path, workspace] = process.argv.slice(2);
const client = await Client.connect(path);
const jail = await client.open({ profile: "untrusted", workspace, session: "example" });
console.log(`a jail of profile ${jail.about.profile}, tier ${jail.about.tier}`);

// Side by side, as a model's parallel tool calls are.
const words = await Promise.all(["one", "two", "three"].map((word) => jail.run(["echo", word])));
console.log("side by side:", words.map(({ stdout }) => `${stdout}`.trim()).join(" "));

await jail.write("data.bin", Buffer.from([255, 0, 254]));
const { stdout } = await jail.run(["od", "-An", "-tx1"], { input: await jail.read("data.bin") });
console.log("bytes:", `${stdout}`.trim());

// A terminal, which is typed into.
const shell = await jail.start(["sh"], { tty: { rows: 24, columns: 80 } });
await shell.write("stty size; exit 7\n");
const typed = await shell.finish();
assert.match(`${typed.stdout}`, /24 80/);
console.log("terminal: ended with", typed.exitCode);

// A tool call that is aborted ends with all that it started.
const abort = new AbortController();
const sleeping = await jail.start(["sh", "-c", "echo started; sleep 1000"], { signal: abort.signal });
for await (const [stream, bytes] of sleeping) {
  console.log(`${stream}:`, `${bytes}`.trim());
  abort.abort();
}
console.log("aborted:", (await sleeping.ended).outcome);

// Denied: a file that would speak to the agent's next session. Refused: a directory that is no workspace.
const { verdict } = await jail.run(["sh", "-c", "echo obey >SOUL.md"]);
console.log("denied:", verdict.denials[0].kind, verdict.denials[0].what);
await assert.rejects(jail.write(".git/hooks/pre-commit", "#!/bin/sh\n"), { code: /^denied\./ });
await assert.rejects(client.run(["true"], { workspace: "/etc" }), { code: /^refused\./ });

console.log("ended:", await client.call("session.end", { session: "example" }));
client.close();
