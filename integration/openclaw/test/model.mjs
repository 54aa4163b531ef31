// A model that does what a script says, on loopback, in the form of OpenAI's chat completions.
//
// The user's message names a script, a JSON file: a list of steps, `{ tool, args }`, `{ tools: [..] }` or `{ text }`. Each request is
// answered by the next one. `${session}` in a step stands for the last background session that a tool result named. What the
// model was told is kept, for tests to look at.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";

const textOf = (content) => (typeof content === "string" ? content : (content ?? []).map(({ text }) => text ?? "").join(""));

export class Model {
  // Each: what a tool answered, by the number of its step.
  requests = [];

  static async start() {
    const model = new Model();
    model.server = createServer((request, response) => model.#serve(request, response));
    await new Promise((listening) => model.server.listen(0, "127.0.0.1", listening));
    model.url = `http://127.0.0.1:${model.server.address().port}/v1`;
    return model;
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }

  #serve(request, response) {
    if (request.method !== "POST") {
      response.setHeader("content-type", "application/json");
      return response.end(JSON.stringify({ object: "list", data: [{ id: "fake-1", object: "model" }] }));
    }
    let body = "";
    request.on("data", (chunk) => (body += chunk));
    request.on("end", () => this.#answer(JSON.parse(body), response));
  }

  #answer({ messages, tools, stream }, response) {
    const asked = messages.findLastIndex(({ role, content }) => role === "user" && textOf(content).includes("SCRIPT:"));
    const path = asked < 0 ? undefined : /SCRIPT:(\S+)/.exec(textOf(messages[asked].content))?.[1];
    const since = messages.slice(asked + 1);
    const results = since.filter(({ role }) => role === "tool").map(({ content }) => textOf(content));
    this.requests.push({ at: performance.now(), path, results, tools: (tools ?? []).map(({ function: { name } }) => name), system: textOf(messages[0]?.content), messages: since });
    const steps = path ? JSON.parse(readFileSync(path, "utf8")) : [];
    const step = steps[since.filter((message) => message.role === "assistant" && message.tool_calls?.length).length] ?? { text: "done" };
    const session = results.join("\n").match(/session(?:Id)?[:= "]+([a-z]+-[a-z]+)/i)?.[1] ?? results.join("\n").match(/\(session ([^,)\s]+)/)?.[1] ?? "";
    const calls = (step.tools ?? (step.tool ? [step] : [])).map(({ tool, args }, index) => ({
      index,
      id: `call_${this.requests.length}_${index}`,
      type: "function",
      function: { name: tool, arguments: JSON.stringify(args).replaceAll("${session}", session) },
    }));
    const message = calls.length > 0 ? { role: "assistant", content: null, tool_calls: calls } : { role: "assistant", content: step.text ?? "done" };
    const base = { id: "c", created: 1, model: "fake-1" };
    const finish_reason = calls.length > 0 ? "tool_calls" : "stop";
    const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 };
    if (!stream) {
      response.setHeader("content-type", "application/json");
      return response.end(JSON.stringify({ ...base, object: "chat.completion", choices: [{ index: 0, message, finish_reason }], usage }));
    }
    response.setHeader("content-type", "text/event-stream");
    const chunk = (delta, finish_reason = null, more = {}) => `data: ${JSON.stringify({ ...base, object: "chat.completion.chunk", choices: [{ index: 0, delta, finish_reason }], ...more })}\n\n`;
    response.end(chunk(message) + chunk({}, finish_reason, { usage }) + "data: [DONE]\n\n");
  }
}
