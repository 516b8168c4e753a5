// Checks exchanges with a fake GitHub against GitHub's official description.
//
//     node check.mjs VALIDATORS GRAPHQL_SCHEMA EXCHANGES
//
// Prints what does not agree, and fails if anything does not.

import fs from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { createRequire } from "node:module";

const [validators, graphql, exchanges] = process.argv.slice(2);
const { names, known, ...functions } = createRequire(import.meta.url)(validators);
const byName = Object.fromEntries(Object.entries(names).map(([id, name]) => [name, functions[id]]));
const wrong = new Set();

function judge(name, value) {
  const validate = byName[name];
  if (!validate || validate(value)) return;
  // An alternative fails for as many reasons as it has branches: the deepest are the nearest.
  const deepest = [...validate.errors].sort(
    (a, b) => b.instancePath.split("/").length - a.instancePath.split("/").length,
  );
  for (const { instancePath, message, params } of deepest.slice(0, 4)) {
    wrong.add(`${name}: ${instancePath || "/"} ${message} ${JSON.stringify(params)}`);
  }
}

const all = JSON.parse(fs.readFileSync(exchanges));
for (const { operation, query, request, status, response } of all) {
  if (operation === "POST /graphql") continue;
  const { query: parameters, statuses } = known[operation];
  for (const name of query) {
    if (!parameters.includes(name)) wrong.add(`${operation} has no parameter ${name}`);
  }
  if (!statuses.includes(String(status))) wrong.add(`${operation} never answers ${status}`);
  if (request !== null) judge(`${operation} request`, request);
  judge(`${operation} ${status}`, response);
}

const queries = all.filter(({ operation }) => operation === "POST /graphql");
if (queries.length > 0) {
  const { buildSchema, execute, parse, validate } = await import("graphql");
  const schema = buildSchema(fs.readFileSync(graphql, "utf8"), {
    assumeValid: true,
    noLocation: true,
  });
  const parsed = new Map();
  for (const { request, response } of queries) {
    if (!parsed.has(request.query)) {
      const document = parse(request.query);
      for (const error of validate(schema, document)) wrong.add(`the query: ${error.message}`);
      parsed.set(request.query, document);
    }
    // Whatever the schema or the query does not have falls out, and what they need is missed; scalars
    // of the schema's own, such as times, are not looked at.
    const result = await execute({
      schema,
      document: parsed.get(request.query),
      rootValue: response.data,
      variableValues: request.variables,
    });
    for (const error of result.errors ?? []) wrong.add(`the answer to the query: ${error.message}`);
    const data = JSON.parse(JSON.stringify(result.data ?? null));
    if (!result.errors && !isDeepStrictEqual(data, response.data)) {
      const [has, may] = [response.data, data].map((one) => JSON.stringify(one).slice(0, 400));
      wrong.add(`the answer to the query is ${has} and may only be ${may}`);
    }
  }
}

if (wrong.size > 0) {
  console.error([...wrong].slice(0, 30).join("\n"));
  process.exit(1);
}
