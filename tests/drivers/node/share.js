// Reads through node-postgres or postgres.js, each by itself or a few in a transaction. For each line of its input it runs all of
// them and says "done". share.js pg|postgres autocommit|transactions FILE; the file has units of [SQL with $n, parameters].
import fs from 'node:fs';
import readline from 'node:readline';
import pg from 'pg';
import postgres from 'postgres';
import { assert, url } from './common.js';

const [driver, manner, file] = process.argv.slice(2);
const units = JSON.parse(fs.readFileSync(file, 'utf8'));
const isSingle = manner === 'autocommit';

async function withPg() {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return async (unit) => {
    if (!isSingle) await client.query('BEGIN');
    for (const [text, values] of unit) assert((await client.query(text, values)).rows.length > 0);
    if (!isSingle) await client.query('COMMIT');
  };
}

async function withPostgres() {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  const ask = async (way, unit) => {
    for (const [text, values] of unit) assert((await way.unsafe(text, values, { prepare: true })).length > 0);
  };
  return (unit) => (isSingle ? ask(sql, unit) : sql.begin((way) => ask(way, unit)));
}

const run = await (driver === 'pg' ? withPg() : withPostgres());
console.log('ready');
for await (const _ of readline.createInterface({ input: process.stdin })) {
  for (const unit of units) await run(unit);
  console.log('done');
}
process.exit(0);
