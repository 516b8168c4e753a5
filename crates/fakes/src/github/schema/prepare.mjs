// Makes validators of GitHub's official description, for the operations that the fake serves.
//
//     node prepare.mjs DESCRIPTION OPERATIONS VALIDATORS
//
// An object of which the description lists the properties has no others: so that nothing passes
// which it does not know. Formats are not looked at.

import fs from "node:fs";
import Ajv from "ajv/dist/2019.js";
import standalone from "ajv/dist/standalone/index.js";

const [description, operations, validators] = process.argv.slice(2);
const api = JSON.parse(fs.readFileSync(description));
correct(api);

/** Where the description contradicts what it describes. */
function correct(api) {
  const installations = api.paths["/app/installations"].get.responses["200"];
  const account = installations.content["application/json"].schema.items.properties.account;
  // An account cannot be a user and an enterprise.
  account.anyOf = account.allOf ?? account.anyOf;
  delete account.allOf;
}

const KEPT = ["type", "enum", "required", "minItems", "maxItems", "minLength", "minimum", "maximum"];
const GROUPS = ["allOf", "anyOf", "oneOf"];
const defs = {};

/** The schema in today's terms; `closed` says that nothing else contributes properties. */
function convert(schema, closed = true) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    const key = closed ? name : `${name}~open`;
    if (!(key in defs)) {
      defs[key] = true;
      defs[key] = convert(api.components.schemas[name], closed);
    }
    return { $ref: `#/$defs/${key}` };
  }
  const made = {};
  for (const word of KEPT) if (schema[word] !== undefined) made[word] = schema[word];
  if (schema.items) made.items = convert(schema.items);
  const groups = GROUPS.filter((group) => schema[group]);
  const listed = Object.entries(schema.properties ?? {});
  // Branches that share their object with others are closed together with them.
  const together = listed.length > 0 || groups.includes("allOf");
  for (const group of groups) {
    made[group] = schema[group].map((branch) => convert(branch, closed && !together));
  }
  if (listed.length > 0) {
    made.properties = Object.fromEntries(listed.map(([name, one]) => [name, convert(one)]));
  }
  const more = schema.additionalProperties;
  if (typeof more === "object" && Object.keys(more).length > 0) {
    made.additionalProperties = convert(more);
  } else if (closed && together && more === undefined) {
    made[groups.length > 0 ? "unevaluatedProperties" : "additionalProperties"] = false;
  } else if (more === false) {
    made.additionalProperties = false;
  }
  if (!schema.nullable) return made;
  if (made.enum && !made.enum.includes(null)) made.enum = [...made.enum, null];
  if (groups.length > 0 || !made.type) return { anyOf: [{ type: "null" }, made] };
  return { ...made, type: [made.type, "null"] };
}

/** What a reference to a shared part of the description stands for. */
function resolved(part) {
  let found = part;
  while (found?.$ref) {
    found = found.$ref.slice(2).split("/").reduce((at, key) => at[key], api);
  }
  return found;
}

const json = (part) => resolved(part)?.content?.["application/json"]?.schema;
const roots = {};
const known = {};
for (const operation of JSON.parse(fs.readFileSync(operations))) {
  const [method, path] = operation.split(" ");
  const official = api.paths[path]?.[method.toLowerCase()];
  if (!official) throw new Error(`GitHub has no operation ${operation}`);
  const parameters = (official.parameters ?? []).map(resolved);
  const query = parameters.filter((one) => one.in === "query").map((one) => one.name);
  known[operation] = { query, statuses: Object.keys(official.responses) };
  for (const [status, response] of Object.entries(official.responses)) {
    const schema = json(response);
    if (schema) roots[`${operation} ${status}`] = convert(schema);
  }
  const body = json(official.requestBody);
  if (body) roots[`${operation} request`] = convert(body);
}

const ajv = new Ajv({ strict: false, validateFormats: false, code: { source: true, lines: false } });
ajv.addSchema({ $id: "github", $defs: defs });
const names = {};
Object.entries(roots).forEach(([name, schema], n) => {
  const text = JSON.stringify(schema).replaceAll('"#/$defs/', '"github#/$defs/');
  ajv.addSchema({ $id: `v${n}`, ...JSON.parse(text) });
  names[`v${n}`] = name;
});
const ids = Object.fromEntries(Object.keys(names).map((id) => [id, id]));
const code = standalone.default ? standalone.default(ajv, ids) : standalone(ajv, ids);
const table = `\nexports.names = ${JSON.stringify(names)};\nexports.known = ${JSON.stringify(known)};\n`;
fs.writeFileSync(`${validators}.new`, code + table);
fs.renameSync(`${validators}.new`, validators);
