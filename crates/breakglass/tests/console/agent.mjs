// A scripted agent: takes the command line of the Claude CLI, reads a prompt from standard input and
// writes the CLI's stream. What it does follows from words of the prompt. At a gate it waits for a
// file of that name in the folder that it is started with, so that a test decides when it goes on.

import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const gates = process.argv[2] ?? "";
const named = process.argv.findIndex((one) => one === "--session-id" || one === "--resume");
const session = process.argv[named + 1] ?? "";

let prompt = "";
for await (const piece of process.stdin) prompt += piece;

let said = "";
const line = (value) => process.stdout.write(`${JSON.stringify({ session_id: session, ...value })}\n`);
const block = (content) => line({ type: "assistant", message: { role: "assistant", content: [content] } });
const text = (words) => {
  said = words;
  block({ type: "text", text: words });
};
const tool = (name, input) => block({ type: "tool_use", id: "t", name, input });
const done = (more) => line({
  type: "result", subtype: "success", is_error: false, result: said, duration_ms: 1200, duration_api_ms: 900,
  num_turns: 1, total_cost_usd: 0.01, usage: { input_tokens: 1, output_tokens: 1 }, ...more,
});
const gate = async (name) => {
  const until = Date.now() + 30_000;
  while (!existsSync(`${gates}/${name}`) && Date.now() < until) await sleep(10);
};

if (prompt.includes("[dies]")) process.exit(3);
line({ type: "system", subtype: "init", model: "scripted", tools: [], cwd: process.cwd() });

const [, gateName] = /\[gate (\S+)\]/.exec(prompt) ?? [];
if (prompt.includes("[hostile]")) {
  text("<img src=x onerror=\"window.hit = 1\"><script>window.hit = 1</script> \x1b[31mred\x1b[0m \u202egnp.exe");
  tool("Bash", { command: "echo '</pre><script>window.hit = 1</script>' \x1b]0;title\x07" });
  tool("<b>Odd</b>", { html: "<iframe src=javascript:1>" });
  text("[a link](javascript:window.hit=1)\n\n```\n<svg onload=\"window.hit = 1\">\n```");
  done({});
} else if (prompt.includes("[fails]")) {
  text("Trying.");
  done({ is_error: true, subtype: "error_during_execution", result: "API Error: 529 overloaded" });
} else if (prompt.includes("[long]")) {
  for (let part = 0; part < 40; part += 1) {
    if (part === 10 && gateName !== undefined) await gate(gateName);
    if (part % 4 === 3) tool("Bash", { command: `ssh devvm 'step ${part}'` });
    else text(`Part ${part}.`);
  }
  done({});
} else {
  text("I'll look at load and memory first.");
  tool("Bash", {
    command: "ssh devvm 'uptime; free -m; df -hT -x tmpfs -x devtmpfs | sort -k6 -h'",
    description: "Load, memory, disk",
  });
  if (gateName !== undefined) await gate(gateName);
  tool("Bash", { command: "ssh devvm 'journalctl -k -p warning --since -1h --no-pager | tail -40'" });
  text(
    "**The machine is swapping hard.** `node` (pid 4121) holds 27.4 of 32 GiB.\n\n" +
      "- load 48, nearly all in D state\n- swap 7.9 of 8.0 GiB used\n- disk is fine: `/` 61 %\n\n" +
      "```\n               total    used    free\nMem:           32109   31877     112\nSwap:           8191    8101      90\n```\n\n" +
      "| process | memory | started |\n|---|---|---|\n| node | 27.4 GiB | 01:12 |\n| postgres | 1.1 GiB | 3 days ago |\n\n" +
      "I would stop `node` with SIGTERM, and watch swap drain. Shall I?",
  );
  done({});
}
