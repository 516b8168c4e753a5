// Checks exchanges with a fake Forgejo against Forgejo's official description.
//
//     node check.mjs VALIDATORS EXCHANGES
//
// Prints what does not agree, and fails if anything does not.

import fs from "node:fs";
import { createRequire } from "node:module";

const [validators, exchanges] = process.argv.slice(2);
const { names, known, ...functions } = createRequire(import.meta.url)(validators);
const byName = Object.fromEntries(Object.entries(names).map(([id, name]) => [name, functions[id]]));
const wrong = new Set();

function judge(operation, name, value) {
  const validate = byName[name];
  if (!validate) {
    if (value !== null) wrong.add(`${operation}: ${name} has no body`);
    return;
  }
  if (validate(value)) return;
  // An alternative fails for as many reasons as it has branches: the deepest are the nearest.
  const deepest = [...validate.errors].sort(
    (a, b) => b.instancePath.split("/").length - a.instancePath.split("/").length,
  );
  for (const { instancePath, message, params } of deepest.slice(0, 4)) {
    wrong.add(`${operation}: ${name}: ${instancePath || "/"} ${message} ${JSON.stringify(params)}`);
  }
}

const all = JSON.parse(fs.readFileSync(exchanges));
for (const { operation, query, request, status, response } of all) {
  const { query: parameters, statuses } = known[operation];
  for (const name of query) {
    if (!parameters.includes(name)) wrong.add(`${operation} has no parameter ${name}`);
  }
  if (request !== null) judge(operation, `${operation} request`, request);
  const listed = statuses.includes(String(status));
  if (listed && status < 400) {
    judge(operation, `${operation} ${status}`, response);
  } else if (status < 400) {
    wrong.add(`${operation} never answers ${status}`);
  } else if (response !== null) {
    // Some refusals have no body.
    const own = `${operation} ${status}`;
    judge(operation, listed && byName[own] ? own : status === 404 ? "404" : "refusal", response);
  }
}

if (wrong.size > 0) {
  console.error([...wrong].slice(0, 30).join("\n"));
  process.exit(1);
}
