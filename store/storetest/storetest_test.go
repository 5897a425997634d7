package storetest_test

import (
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/weirhq/weir/store/storetest"
)

// Two databases of the shared store are apart from each other, and a client that knows nothing of weir reaches them.
func TestDatabase(t *testing.T) {
	for _, want := range []uint64{1, 2} {
		db, srv := storetest.Database(t)
		conn, err := clickhouse.Open(&clickhouse.Options{
			Addr:     []string{srv.Addr},
			Protocol: clickhouse.HTTP,
			Auth:     clickhouse.Auth{Database: db, Username: srv.Users.Writer.Name, Password: srv.Users.Writer.Password},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ctx := t.Context()
		if err := conn.Exec(ctx, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a"); err != nil {
			t.Fatal(err)
		}
		batch, err := conn.PrepareBatch(ctx, "INSERT INTO t")
		if err != nil {
			t.Fatal(err)
		}
		if err := batch.Append(want); err != nil {
			t.Fatal(err)
		}
		if err := batch.Send(); err != nil {
			t.Fatal(err)
		}
		var got uint64
		if err := conn.QueryRow(ctx, "SELECT sum(a) FROM t").Scan(&got); err != nil || got != want {
			t.Errorf("sum in %s = %d, %v; want %d", db, got, err, want)
		}
	}
}
