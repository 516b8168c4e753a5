// Makes validators of Forgejo's official description, for the operations that the fake serves.
//
//     node prepare.mjs DESCRIPTION OPERATIONS VALIDATORS
//
// The description says which fields there are, and nothing of which may be absent or null. That
// follows from how Go marshals what it describes: every field is there, but for the few that are
// left out when they are empty; pointers and slices may be null, and nothing else. An object of
// which it lists the properties has no others, in requests, too.

import fs from "node:fs";
import Ajv from "ajv/dist/2019.js";
import standalone from "ajv/dist/standalone/index.js";

const [description, operations, validators] = process.argv.slice(2);
const api = JSON.parse(fs.readFileSync(description));

/** Left out when they are empty (`omitempty`), or not sent by every function that refuses. */
const OMITTED = {
  Repository: [
    "permissions", "internal_tracker", "external_tracker", "external_wiki", "wiki_branch",
  ],
  APINotFound: ["errors"],
};
/** Pointers to what is no object. */
const POINTERS = {
  Issue: ["closed_at", "due_date"],
  Milestone: ["closed_at", "due_on", "updated_at"],
  PullRequest: ["closed_at", "due_date", "merged_at", "merge_commit_sha"],
  PullRequestMeta: ["merged_at"],
};
/** Lists that are no list if they have no entries. */
const NULL_LISTS = ["TimelineList"];
/** Lists in which null stands for what could not be loaded. */
const HOLED_LISTS = ["TimelineList", "PullRequestList"];
/** Times are whole seconds since 1970 there. */
const TIME = "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(Z|[+-]\\d\\d:\\d\\d)$";

const KEPT = ["type", "enum", "minimum", "maximum"];
const defs = {};

const orNull = (schema) => ({ anyOf: [{ type: "null" }, schema] });

/** The definition of that name, of what is answered or of what is asked. */
function definition(name, answered) {
  const key = answered ? name : `${name}~asked`;
  if (!(key in defs)) {
    defs[key] = true;
    defs[key] = convert(api.definitions[name], answered, name);
  }
  return { $ref: `#/$defs/${key}` };
}

const named = (schema) => schema.$ref.split("/").pop();

/** A value within a list or at the top: no pointer that could be null. */
function plain(schema, answered) {
  return schema.$ref ? definition(named(schema), answered) : convert(schema, answered);
}

/** A field. */
function field(schema, answered) {
  if (!schema.$ref) return convert(schema, answered);
  const made = definition(named(schema), answered);
  return answered && api.definitions[named(schema)].type === "object" ? orNull(made) : made;
}

/** The schema in today's terms. */
function convert(schema, answered, name) {
  const made = {};
  for (const word of KEPT) if (schema[word] !== undefined) made[word] = schema[word];
  if (answered && schema.format === "date-time") made.pattern = TIME;
  if (schema.type === "array") {
    made.items = plain(schema.items, answered);
    return answered ? orNull(made) : made;
  }
  if (schema.type !== "object") return made;
  const listed = Object.entries(schema.properties ?? {});
  const more = schema.additionalProperties;
  made.properties = {};
  for (const [key, one] of listed) {
    const pointer = answered && POINTERS[name]?.includes(key);
    made.properties[key] = pointer ? orNull(field(one, answered)) : field(one, answered);
  }
  made.additionalProperties = more ? plain(more, answered) : false;
  const present = listed.map(([key]) => key).filter((key) => !OMITTED[name]?.includes(key));
  made.required = answered ? present : (schema.required ?? []);
  return made;
}

/** What an operation answers, by the name of the response. */
function response(name, schema) {
  if (schema.type !== "array") return plain(schema, true);
  const items = plain(schema.items, true);
  const list = { type: "array", items: HOLED_LISTS.includes(name) ? orNull(items) : items };
  return NULL_LISTS.includes(name) ? orNull(list) : list;
}

const roots = {
  // What is in front of every operation refuses, too, whatever the operation's description lists.
  refusal: definition("APIError", true),
  404: definition("APINotFound", true),
};
const known = {};
for (const operation of JSON.parse(fs.readFileSync(operations))) {
  const [method, path] = operation.split(" ");
  const official = api.paths[path]?.[method.toLowerCase()];
  if (!official) throw new Error(`Forgejo has no operation ${operation}`);
  const parameters = official.parameters ?? [];
  const query = parameters.filter((one) => one.in === "query").map((one) => one.name);
  known[operation] = { query, statuses: Object.keys(official.responses) };
  for (const [status, one] of Object.entries(official.responses)) {
    const name = one.$ref?.split("/").pop();
    const { schema } = name ? api.responses[name] : one;
    if (schema) roots[`${operation} ${status}`] = response(name, schema);
  }
  const body = parameters.find((one) => one.in === "body");
  if (body) roots[`${operation} request`] = plain(body.schema, false);
}

const ajv = new Ajv({ strict: false, validateFormats: false, code: { source: true, lines: false } });
ajv.addSchema({ $id: "forgejo", $defs: defs });
const names = {};
Object.entries(roots).forEach(([name, schema], n) => {
  const text = JSON.stringify(schema).replaceAll('"#/$defs/', '"forgejo#/$defs/');
  ajv.addSchema({ $id: `v${n}`, ...JSON.parse(text) });
  names[`v${n}`] = name;
});
const ids = Object.fromEntries(Object.keys(names).map((id) => [id, id]));
const code = standalone.default ? standalone.default(ajv, ids) : standalone(ajv, ids);
const table = `\nexports.names = ${JSON.stringify(names)};\nexports.known = ${JSON.stringify(known)};\n`;
fs.writeFileSync(`${validators}.new`, code + table);
fs.renameSync(`${validators}.new`, validators);
