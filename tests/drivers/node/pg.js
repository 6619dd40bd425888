// node-postgres as it comes: pool, parameters, named statements, transactions, errors.
import pg from 'pg';
import { assert, run, url } from './common.js';

const pool = new pg.Pool({ connectionString: url, max: 8 });

async function transaction(work) {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const result = await work(client);
    await client.query('COMMIT');
    return result;
  } catch (failure) {
    await client.query('ROLLBACK');
    throw failure;
  } finally {
    client.release();
  }
}

await run('node-postgres', {
  'simple and parameterised': async () => {
    assert.equal((await pool.query('SELECT 1 AS one')).rows[0].one, 1);
    const { rows } = await pool.query('SELECT $1::text AS t, $2::int AS n', ['text', 7]);
    assert.deepEqual(rows[0], { t: 'text', n: 7 });
  },
  'named statements from many clients at once': async () => {
    const ask = (i) => pool.query({ name: `statement ${i % 3}`, text: `SELECT ${i % 3}::int AS s, $1::int AS n`, values: [i] });
    const found = await Promise.all(Array.from({ length: 200 }, (_, i) => ask(i)));
    found.forEach(({ rows }, i) => assert.deepEqual(rows[0], { s: i % 3, n: i }));
  },
  'transactions': async () => {
    await pool.query('CREATE TABLE node_pg (i int)');
    await transaction((c) => c.query('INSERT INTO node_pg VALUES (1)'));
    await assert.rejects(transaction(async (c) => {
      await c.query('INSERT INTO node_pg VALUES (2)');
      await c.query('SELECT 1/0');
    }), { code: '22012' });
    assert.equal((await pool.query('SELECT count(*)::int AS n FROM node_pg')).rows[0].n, 1);
    await pool.query('DROP TABLE node_pg');
  },
  'errors leave the connection usable': async () => {
    await assert.rejects(pool.query('SELECT * FROM nowhere'), { code: '42P01' });
    await assert.rejects(pool.query('SELECT $1::int', ['x']), { code: '22P02' });
    assert.equal((await pool.query('SELECT 1 AS one')).rows[0].one, 1);
  },
});
await pool.end();
