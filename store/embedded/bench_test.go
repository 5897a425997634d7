package embedded_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirhq/weir/store/embedded"
	"github.com/weirhq/weir/store/embedded/chdb"
	"github.com/weirhq/weir/store/storetest"
)

// post sends body and reads the answer away.
func post(b *testing.B, url string, body io.Reader) int64 {
	resp, err := http.Post(url, "", body)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatalf("%s, %v", resp.Status, err)
	}
	return n
}

// BenchmarkSelectOne is the smallest statement, from request to answer: what HTTP, session and settings cost.
func BenchmarkSelectOne(b *testing.B) {
	_, s := storetest.Database(b)
	url := s.URL(s.Users.ReadOnly).String()
	for b.Loop() {
		post(b, url, strings.NewReader("SELECT 1"))
	}
}

// BenchmarkSelectStream reads 10 million rows, as the engine writes them and at a client's revision.
func BenchmarkSelectStream(b *testing.B) {
	_, s := storetest.Database(b)
	for _, c := range []struct{ name, query string }{
		{"revision=0", "?default_format=Native"},
		{"revision=54485", "?default_format=Native&client_protocol_version=54485"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(80e6)
			for b.Loop() {
				post(b, s.URL(s.Users.ReadOnly).String()+c.query, strings.NewReader("SELECT number FROM numbers(10000000)"))
			}
		})
	}
}

// insertTable has the shape of raw flows: some twenty columns, most of them integers.
func insertTable(name string) string {
	var columns []string
	for i := range 16 {
		columns = append(columns, fmt.Sprintf("c%d UInt64", i))
	}
	return "CREATE TABLE " + name + " (t DateTime64(3), src IPv6, dst IPv6, proto UInt8, " + strings.Join(columns, ", ") + ") ENGINE = MergeTree ORDER BY t"
}

const insertSelect = "SELECT now64(3) + number / 1000, IPv4ToIPv6(toIPv4(toUInt32(number * 7919))), IPv4ToIPv6(toIPv4(toUInt32(number * 104729))), toUInt8(number % 3), * APPLY(x -> x) FROM " +
	"(SELECT number, number AS c0, number % 7, number % 100, number % 1000, sipHash64(number) % 5000, sipHash64(number) % 60000, number * 3, number % 2, number % 16, number % 256, intDiv(number, 100), intDiv(number, 1000), sipHash64(number + 1) % 1500, number % 4, number % 9 FROM numbers(50000))"

// BenchmarkInsert stores blocks of 50 000 rows that were encoded beforehand: over HTTP into the server's process, and into the engine in
// this process by the bare binding.
func BenchmarkInsert(b *testing.B) {
	const rows = 50_000
	db, s := storetest.Database(b)
	resp, err := http.Post(s.URL(s.Users.ReadOnly).String(), "", strings.NewReader(insertSelect+" FORMAT Native"))
	if err != nil {
		b.Fatal(err)
	}
	block, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatalf("%s: %.300s, %v", resp.Status, block, err)
	}
	b.Run("impl=weir", func(b *testing.B) {
		s.Exec(b, insertTable(db+".t"))
		defer s.Exec(b, "DROP TABLE "+db+".t SYNC")
		b.SetBytes(int64(len(block)))
		for b.Loop() {
			post(b, s.URL(s.Users.Writer).String()+"?query=INSERT+INTO+"+db+".t+FORMAT+Native", bytes.NewReader(block))
		}
		b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	})
	b.Run("impl=binding", func(b *testing.B) {
		path, err := embedded.FindLibrary("")
		if err != nil {
			b.Fatal(err)
		}
		lib, err := chdb.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		dir, err := os.MkdirTemp("", "weir-bench-") // the engine's threads outlive the benchmark's clean-up
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = os.RemoveAll(dir) })
		c, err := lib.Connect("--path=" + filepath.Join(dir, "data"))
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		if err := c.Exec(insertTable("t")); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(block)))
		for b.Loop() {
			in, err := c.Insert("INSERT INTO t", "Native", nil)
			if err != nil {
				b.Fatal(err)
			}
			if err := in.Append(block); err != nil {
				b.Fatal(err)
			}
			if _, err := in.Done(); err != nil {
				b.Fatal(err)
			}
			in.Close()
		}
		b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	})
}
