// Checks what a relay sent to an agent against the schema of the agent's protocol.
//
//     node check.mjs codex FOLDER LOG    FOLDER as `codex app-server generate-json-schema` makes it
//     node check.mjs acp FILE LOG        FILE is the schema of the Agent Client Protocol, version 1
//
// Prints how many messages were checked. Prints what does not agree, and fails if anything does not.

import fs from "node:fs";
import path from "node:path";
import Ajv from "ajv";
import Ajv2020 from "ajv/dist/2020.js";

const [protocol, schema, log] = process.argv.slice(2);
const options = { strict: false, validateFormats: false };
const read = (file) => JSON.parse(fs.readFileSync(file, "utf8"));
const wrong = [];
let checked = 0;

function judge(validate, name, value) {
  checked += 1;
  if (!validate) wrong.push(`${name} is not in the schema`);
  else if (!validate(value)) {
    const why = validate.errors.slice(0, 4).map((e) => `${e.instancePath || "/"} ${e.message}`);
    wrong.push(`${name}: ${why.join("; ")}: ${JSON.stringify(value).slice(0, 300)}`);
  }
}

const answers = {
  "item/commandExecution/requestApproval": "CommandExecutionRequestApprovalResponse",
  "item/fileChange/requestApproval": "FileChangeRequestApprovalResponse",
  "item/permissions/requestApproval": "PermissionsRequestApprovalResponse",
  "item/tool/requestUserInput": "ToolRequestUserInputResponse",
  "mcpServer/elicitation/request": "McpServerElicitationRequestResponse",
  execCommandApproval: "ExecCommandApprovalResponse",
  applyPatchApproval: "ApplyPatchApprovalResponse",
};

function codex() {
  const compiled = new Map();
  const file = (name) => {
    if (!compiled.has(name)) {
      const at = path.join(schema, `${name}.json`);
      compiled.set(name, fs.existsSync(at) ? new Ajv(options).compile(read(at)) : undefined);
    }
    return compiled.get(name);
  };
  return (message, requests) => {
    if (message.method === undefined) {
      if (message.error) return judge(file("JSONRPCError"), "an error", message);
      const method = requests.get(JSON.stringify(message.id));
      return judge(file(answers[method] ?? "none"), `the answer to ${method}`, message.result);
    }
    const kind = message.id === undefined ? "ClientNotification" : "ClientRequest";
    judge(file(kind), message.method, message);
  };
}

function acp() {
  const whole = read(schema);
  const ajv = new Ajv2020(options);
  ajv.addSchema(whole, "acp");
  const of = (name) => ajv.getSchema(`acp#/$defs/${name}`);
  const defs = Object.entries(whole.$defs);
  const named = (side, method, end) =>
    defs.find(([name, one]) => one["x-side"] === side && one["x-method"] === method && name.endsWith(end))?.[0];
  return (message, requests) => {
    if (message.jsonrpc !== "2.0") wrong.push(`without jsonrpc: ${JSON.stringify(message)}`);
    if (message.method === undefined) {
      if (message.error) return judge(of("Error"), "an error", message.error);
      const method = requests.get(JSON.stringify(message.id));
      return judge(of(named("client", method, "Response")), `the answer to ${method}`, message.result);
    }
    const end = message.id === undefined ? "Notification" : "Request";
    judge(of(named("agent", message.method, end)), message.method, message.params);
  };
}

const check = protocol === "codex" ? codex() : acp();
const requests = new Map();
for (const line of fs.readFileSync(log, "utf8").split("\n")) {
  if (line === "") continue;
  const { agent, client } = JSON.parse(line);
  if (agent?.method !== undefined && agent.id !== undefined) {
    requests.set(JSON.stringify(agent.id), agent.method);
  }
  if (client !== undefined) check(client, requests);
}
if (wrong.length > 0) {
  console.error([...new Set(wrong)].slice(0, 20).join("\n"));
  process.exit(1);
}
console.log(checked);
