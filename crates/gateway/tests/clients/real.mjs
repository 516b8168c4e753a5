// OpenAI's SDK for Node over the real CLI, whose model says "one two three" to everything: real.mjs SDK
// URL TOKEN. Exits with 0 if everything holds.
import assert from "node:assert/strict";

const [sdk, url, token] = process.argv.slice(2);
const { default: OpenAI } = await import(sdk);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: token, maxRetries: 0, timeout: 60_000 });
const asked = { model: "sonnet", messages: [{ role: "user", content: "Count to three." }] };

const done = await client.chat.completions.create(asked);
assert.equal(done.choices[0].message.content, "one two three");
assert.equal(done.usage.prompt_tokens, 1000);

let text = "";
const finishes = [];
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
  for (const choice of chunk.choices) {
    text += choice.delta.content ?? "";
    if (choice.finish_reason) finishes.push(choice.finish_reason);
  }
}
assert.deepEqual([text, finishes], ["one two three", ["stop"]]);
console.log("all of it holds");
