package testkit

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
)

// DuckDB returns what DuckDB says to a query about Parquet files, which are together
// called file there. A path may have stars.
func DuckDB(t testing.TB, path, query string) (rows []map[string]any) {
	t.Helper()
	const module = "/usr/local/lib/dnshark-tests/duckdb/node_modules/@duckdb/node-api"
	NeedPrograms(t, "node")
	if _, err := os.Stat(module); err != nil {
		Unable(t, "%v", err)
	}
	cmd := exec.Command("node", "-e", `
		const {DuckDBInstance} = require(process.argv[1]);
		(async () => {
			const db = await (await DuckDBInstance.create(':memory:')).connect();
			await db.run("SET TimeZone = 'UTC'");
			await db.run("CREATE VIEW file AS FROM '" + process.argv[2] + "'");
			const rows = await db.runAndReadAll(process.argv[3]);
			process.stdout.write(JSON.stringify(rows.getRowObjectsJson()));
		})()`, module, path, query)
	errs := &bytes.Buffer{}
	cmd.Stderr = errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("DuckDB: %v: %s", err, errs)
	}
	if err := json.Unmarshal(out, &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}
