// What a run costs a Node process of 100 MB, by its own `child_process.spawn` and by the service: `node.mjs SOCKET WORKSPACE RUNS`.
// Both collect what the command says. Times in microseconds, as JSON.

import { spawn } from "node:child_process";

import { Client } from "../../examples/clients/node/clawjail.mjs";

const [path, workspace, runs] = process.argv.slice(2);
const held = Buffer.alloc(100 << 20, 1);
const client = await Client.connect(path);
const jail = await client.open({ profile: "untrusted", workspace });

const ways = {
  spawn: () =>
    new Promise((done, failed) => {
      const child = spawn("/bin/true", { stdio: ["ignore", "pipe", "pipe"] });
      child.stdout.resume();
      child.stderr.resume();
      child.once("error", failed).once("close", (code) => (code === 0 ? done() : failed(new Error(`it ended with ${code}`))));
    }),
  one_shot: () => finished(client.run(["/bin/true"], { profile: "untrusted", workspace })),
  in_jail: () => finished(jail.run(["/bin/true"])),
};

async function finished(run) {
  const { exitCode } = await run;
  if (exitCode !== 0) throw new Error(`it ended with ${exitCode}`);
}

const cold = 20;
const times = { spawn: [], one_shot: [], in_jail: [], resident: process.memoryUsage().rss };
for (let run = 0; run < Number(runs) + cold; run++) {
  for (const [name, once] of Object.entries(ways)) {
    await new Promise((rested) => setTimeout(rested, 4));
    const begin = process.hrtime.bigint();
    await once();
    if (run >= cold) times[name].push(Number(process.hrtime.bigint() - begin) / 1000);
  }
}
console.log(JSON.stringify({ ...times, held: held.length }));
client.close();
