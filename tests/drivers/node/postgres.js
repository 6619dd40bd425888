// postgres.js as it comes: it prepares and pipelines everything.
import postgres from 'postgres';
import { assert, run, url } from './common.js';

const sql = postgres(url, { max: 8, onnotice: () => {} });

await run('postgres.js', {
  'tagged queries, pipelined': async () => {
    const found = await Promise.all(Array.from({ length: 300 }, (_, i) => sql`SELECT ${i}::int AS n, ${'t' + i}::text AS t`));
    found.forEach(([row], i) => assert.deepEqual({ ...row }, { n: i, t: 't' + i }));
  },
  'transactions and savepoints': async () => {
    await sql`CREATE TABLE postgres_js (i int)`;
    await sql.begin(async (tx) => {
      await tx`INSERT INTO postgres_js VALUES (1)`;
      await tx.savepoint((s) => s`SELECT 1/0`).catch((failure) => assert.equal(failure.code, '22012'));
      await tx`INSERT INTO postgres_js VALUES (2)`;
    });
    await assert.rejects(sql.begin(async (tx) => {
      await tx`INSERT INTO postgres_js VALUES (3)`;
      throw new Error('given up');
    }), /given up/);
    assert.equal((await sql`SELECT count(*)::int AS n FROM postgres_js`)[0].n, 2);
  },
  'copy': async () => {
    const { Readable } = await import('node:stream');
    const { pipeline } = await import('node:stream/promises');
    await pipeline(Readable.from(['10\n', '11\n', '12\n']), await sql`COPY postgres_js FROM STDIN`.writable());
    const pieces = [];
    for await (const piece of await sql`COPY postgres_js TO STDOUT`.readable()) pieces.push(piece);
    assert.equal(Buffer.concat(pieces).toString().split('\n').length, 6);
    await sql`DROP TABLE postgres_js`;
  },
  'cursors': async () => {
    let seen = 0;
    await sql`SELECT generate_series(1, 1000) AS i`.cursor(100, (rows) => { seen += rows.length; });
    assert.equal(seen, 1000);
  },
  'errors leave the connection usable': async () => {
    await assert.rejects(sql`SELECT * FROM nowhere`, { code: '42P01' });
    assert.equal((await sql`SELECT 1 AS one`)[0].one, 1);
  },
});
await sql.end();
