// Talks to the embedded store as a program with @clickhouse/client would. Ends with "all good" or an exception.
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { createClient } from "@clickhouse/client";

const { WEIR_URL: url, WEIR_USER, WEIR_PASSWORD, WEIR_RO_USER, WEIR_RO_PASSWORD } = process.env;

for (const compression of [{ request: false, response: false }, { request: true, response: true }]) {
  const rw = createClient({ url, username: WEIR_USER, password: WEIR_PASSWORD, compression });
  const ro = createClient({ url, username: WEIR_RO_USER, password: WEIR_RO_PASSWORD, compression });
  const table = `node_${compression.request}`;

  assert.deepEqual((await ro.ping()).success, true);

  await rw.command({ query: `CREATE OR REPLACE TABLE ${table} (id UInt64, name String, tags Array(String)) ENGINE = MergeTree ORDER BY id` });
  const summary = await rw.insert({
    table,
    values: [
      { id: "1", name: "a\n'b'", tags: ["x", "y"] },
      { id: "18446744073709551615", name: "", tags: [] },
    ],
    format: "JSONEachRow",
  });
  assert.equal(summary.summary.written_rows, "2");
  await rw.insert({ table, values: Readable.from(["3,c,[]\n", "4,d,[]\n"], { objectMode: false }), format: "CSV" });

  const rows = await (
    await ro.query({
      query: `SELECT id, name, tags FROM ${table} WHERE id >= {min:UInt64} ORDER BY id`,
      query_params: { min: 3 },
      format: "JSONEachRow",
      clickhouse_settings: { output_format_json_quote_64bit_integers: 1 },
    })
  ).json();
  assert.deepEqual(rows.map((r) => r.id), ["3", "4", "18446744073709551615"]);

  const whole = await (await ro.query({ query: "SELECT number FROM numbers(200000)", format: "JSON" })).json();
  assert.equal(whole.rows, 200000);
  assert.equal(whole.data.length, 200000);

  // An exception before the first row, with its code.
  await assert.rejects(ro.query({ query: "SELECT * FROM nosuch" }), { code: "60", type: "UNKNOWN_TABLE" });
  await assert.rejects(ro.command({ query: `DROP TABLE ${table}` }), { code: "164", type: "READONLY" });
  await assert.rejects(createClient({ url, username: WEIR_USER, password: "wrong" }).query({ query: "SELECT 1" }), {
    code: "516",
    type: "AUTHENTICATION_FAILED",
  });

  // An exception after more than a million rows: the rows, then the code. The client finds the code only if one read of its socket holds
  // all of the exception, which a loaded machine may break; an error it must be every time.
  let caught;
  for (let attempt = 0; attempt < 4 && caught?.code !== "395"; attempt++) {
    let count = 0;
    caught = undefined;
    try {
      const failing = await ro.query({
        query: "SELECT number, throwIf(number = 1500000) FROM numbers(3000000)",
        format: "JSONEachRow",
        clickhouse_settings: { max_threads: 1 },
      });
      for await (const rows of failing.stream()) count += rows.length;
    } catch (e) {
      caught = e;
    }
    assert.ok(caught, "the stream ended as if it were whole");
    assert.ok(count > 1_000_000, `${count} rows before the exception`);
  }
  assert.equal(caught.code, "395", `code of the exception in the stream: ${caught}`);
  assert.equal(caught.type, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO");

  // A client that stops half-way.
  const endless = await ro.query({ query: "SELECT number FROM system.numbers", format: "JSONEachRow" });
  let seen = 0;
  for await (const rows of endless.stream()) {
    seen += rows.length;
    if (seen > 100_000) break; // closes the connection
  }
  endless.close();
  await Promise.all([rw.close(), ro.close()]);
}
console.log("all good");
