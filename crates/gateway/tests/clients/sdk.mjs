// OpenAI's SDK for Node against a gateway: sdk.mjs SDK URL TOKEN. Exits with 0 if everything holds.
import assert from "node:assert/strict";

const [path, url, token] = process.argv.slice(2);
const { default: OpenAI } = await import(path);
const client = new OpenAI({ baseURL: url + "/v1", apiKey: token, maxRetries: 0, timeout: 20000 });
const say = (content, role = "user") => ({ role, content });
const chat = (content, more = {}, options = {}) =>
  client.chat.completions.create({ model: "sonnet", messages: [say(content)], ...more }, options);

const models = await client.models.list();
assert(models.data.some((model) => model.id === "sonnet"));

const done = await chat("[[echo:hello there]]", { temperature: 0 });
assert.equal(done.choices[0].message.content, "hello there");
assert.equal(done.usage.total_tokens, 20);

let [text, usage, finishes] = ["", null, []];
const stream = await chat("[[echo:Здравей, свят]]", {
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  usage = chunk.usage ?? usage;
  for (const choice of chunk.choices) {
    text += choice.delta.content ?? "";
    if (choice.finish_reason) finishes.push(choice.finish_reason);
  }
}
assert.deepEqual([text, finishes, usage.total_tokens], ["Здравей, свят", ["stop"], 20]);

// This SDK reads only `error`.
await assert.rejects(chat("x", { n: 2 }), (error) => {
  assert.equal(error.status, 422);
  assert.match(error.message, /n must be 1/);
  return true;
});
await assert.rejects(chat("x", { model: "gpt-4" }), /unsupported model/);
await assert.rejects(
  chat("[[fail:it broke]]", {}, { maxRetries: 2 }),
  (error) => error.status === 503 && /it broke/.test(error.message) && !!error.requestID,
);
await assert.rejects(async () => {
  for await (const _ of await chat("[[echo:half]][[exit:1]]", { stream: true })) {
  }
}, /execution failed/);
const wrong = new OpenAI({ baseURL: url + "/v1", apiKey: "wrong", maxRetries: 0 });
await assert.rejects(wrong.models.list(), (error) => error.status === 401);

// Slower than its time-out: the retry finds the same run.
const slow = await chat("[[note]][[sleep:1500]][[echo:slow two]]", {}, { maxRetries: 2, timeout: 800 });
assert.equal(slow.choices[0].message.content, "slow two");

const aborted = await chat("[[echo:first]][[hang]]", { stream: true });
for await (const _ of aborted) {
  aborted.controller.abort();
  break;
}
console.log("all of it holds");
