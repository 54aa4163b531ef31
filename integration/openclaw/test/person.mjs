// A person at a Gateway: an operator's client that chats, and is asked for approvals. OpenClaw's Gateway protocol, version 4.

import { createHash, generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

export class Person {
  #socket;
  #calls = new Map();
  // Events as they came.
  events = [];

  // A Gateway that has just started lets nobody in yet.
  static async arrive(port, token) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await Person.#enter(port, token);
      } catch (error) {
        if (attempt === 60 || !/UNAVAILABLE|no connection/.test(error.message)) throw error;
        await sleep(500);
      }
    }
  }

  static async #enter(port, token) {
    const person = new Person();
    person.#socket = new WebSocket(`ws://127.0.0.1:${port}`);
    const challenge = new Promise((come, failed) => {
      person.#socket.onerror = () => failed(new Error("no connection to the Gateway"));
      person.#socket.onmessage = ({ data }) => person.#take(JSON.parse(data), come);
    });
    await person.#connect(await challenge, token);
    return person;
  }

  #take(frame, challenged) {
    if (frame.type === "event" && frame.event === "connect.challenge") return challenged(frame.payload);
    if (frame.type === "event") return void this.events.push(frame);
    const call = this.#calls.get(frame.id);
    this.#calls.delete(frame.id);
    if (frame.ok) call?.done(frame.payload);
    else call?.failed(new Error(JSON.stringify(frame.error)));
  }

  #connect({ nonce, ts }, token) {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const raw = publicKey.export({ type: "spki", format: "der" }).subarray(-32);
    const id = createHash("sha256").update(raw).digest("hex");
    const scopes = ["operator.read", "operator.write", "operator.approvals"];
    const client = { id: "cli", version: "1.0.0", platform: "linux", mode: "cli" };
    const payload = ["v2", id, client.id, client.mode, "operator", scopes.join(","), ts, token, nonce].join("|");
    const signature = sign(null, Buffer.from(payload), privateKey).toString("base64url");
    const device = { id, publicKey: raw.toString("base64url"), signature, signedAt: ts, nonce };
    return this.call("connect", { minProtocol: 4, maxProtocol: 4, client, role: "operator", scopes, caps: ["approvals"], auth: { token }, device });
  }

  call(method, params) {
    const id = randomUUID();
    const answer = new Promise((done, failed) => this.#calls.set(id, { done, failed }));
    this.#socket.send(JSON.stringify({ type: "req", id, method, params }));
    return answer;
  }

  say(sessionKey, message, more = {}) {
    return this.call("chat.send", { sessionKey, message, idempotencyKey: randomUUID(), ...more });
  }

  // Waits until what was said has been dealt with, and gives the event that said so.
  async heardOut({ runId }, most) {
    const over = ({ event, payload }) => event === "chat" && payload?.runId === runId && ["final", "aborted", "error"].includes(payload.state);
    for (const late = Date.now() + most; ; await sleep(10)) {
      const end = this.events.find(over);
      if (end) return end.payload;
      if (this.#socket.readyState !== WebSocket.OPEN) throw new Error("the Gateway is gone");
      if (Date.now() > late) throw new Error(`no end of the turn within ${most} ms`);
    }
  }

  leave() {
    this.#socket.close();
  }
}
