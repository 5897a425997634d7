package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/storetest"
)

// fill adds n rows to b with random values in every column, received within the last minute.
func fill(b *flow.Batch, n int, rng *rand.Rand) {
	first := b.Grow(n)
	v := reflect.ValueOf(b).Elem()
	for f := range v.NumField() {
		column := v.Field(f)
		if column.Kind() != reflect.Slice || !v.Type().Field(f).IsExported() || column.Type() == reflect.TypeFor[[]flow.Share]() {
			continue
		}
		for i := first; i < b.Len(); i++ {
			set(column.Index(i), rng)
		}
	}
	now := time.Now().UnixMilli()
	for i := first; i < b.Len(); i++ {
		b.TimeReceived[i] = now - rng.Int64N(60_000)
		b.StartAge[i] = rng.Int64N(3_600_000)
		b.Duration[i] = uint32(rng.Int64N(b.StartAge[i] + 1))
		b.Direction[i] = flow.Direction(rng.IntN(4))
		b.Observed[i] = flow.Observed(rng.IntN(3))
		b.BytesLayer[i] = []flow.BytesLayer{0, 2, 3}[rng.IntN(3)]
		b.Stage[i] = flow.Stage(rng.IntN(5))
		b.Verdict[i] = flow.Verdict(rng.IntN(7))
		b.SrcGroups.Set(i, randomIDs(rng))
		b.DstGroups.Set(i, randomIDs(rng))
	}
}

func set(cell reflect.Value, rng *rand.Rand) {
	switch cell.Kind() {
	case reflect.Bool:
		cell.SetBool(rng.IntN(2) == 1)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		cell.SetUint(rng.Uint64() >> (64 - cell.Type().Bits()))
	case reflect.Array:
		for i := range cell.Len() {
			set(cell.Index(i), rng)
		}
	}
}

func randomIDs(rng *rand.Rand) []uint64 {
	ids := make([]uint64, rng.IntN(4))
	for i := range ids {
		ids[i] = rng.Uint64()
	}
	return ids
}

// text is how ClickHouse prints the value of a cell.
func text(v any) string {
	switch v := v.(type) {
	case flow.Addr:
		return netip.AddrFrom16(v).String()
	case []uint64:
		return strings.ReplaceAll(fmt.Sprint(v), " ", ",")
	default:
		return fmt.Sprint(v)
	}
}

func TestInsertNativeStoresEveryColumn(t *testing.T) {
	c := migrated(t)
	const n = 500
	rng := rand.New(rand.NewPCG(1, 1))
	b := flow.NewBatch(16)
	fill(b, n, rng)
	for i := range n { // the key by which rows are compared below
		b.ObservationPoint[i] = uint32(i)
	}
	w, err := c.InsertNative(t.Context(), "flows", b.AppendNative(nil), "")
	if err != nil {
		t.Fatal(err)
	}
	if w.Rows != n || w.Bytes == 0 {
		t.Errorf("InsertNative = %+v, want %d rows and some bytes", w, n)
	}
	for _, f := range flow.Fields {
		expr := "toString(" + f.Name + ")"
		if f.Name == "time_received" {
			expr = "toString(toUnixTimestamp64Milli(time_received))"
		}
		got := column(t, c, "SELECT "+expr+" FROM flows ORDER BY observation_point")
		want := make([]string, n)
		for i := range want {
			want[i] = text(b.Value(f.Name, i))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("column %s: -batch +stored\n%s", f.Name, diff)
		}
	}
	var wrong uint64
	scan(t, c, "SELECT countIf(flow_start != fromUnixTimestamp64Milli(toUnixTimestamp64Milli(time_received) - start_age_ms) OR flow_end != flow_start + toIntervalMillisecond(duration_ms)) FROM flows", &wrong)
	if wrong != 0 {
		t.Errorf("flow_start or flow_end is wrong in %d rows", wrong)
	}
}

func TestInsertNativeWithOneTokenStoresOnce(t *testing.T) {
	c := migrated(t)
	rng := rand.New(rand.NewPCG(2, 2))
	b := flow.NewBatch(16)
	fill(b, 10, rng)
	block := b.AppendNative(nil)
	for _, token := range []string{"a", "a", "b", "a", "b"} {
		if _, err := c.InsertNative(t.Context(), "flows", block, token); err != nil {
			t.Fatal(err)
		}
	}
	var rows uint64
	if scan(t, c, "SELECT count() FROM flows", &rows); rows != 20 {
		t.Errorf("%d rows after two tokens of 10, want 20", rows)
	}
	for range 2 {
		if _, err := c.InsertNative(t.Context(), "flows", block, ""); err != nil {
			t.Fatal(err)
		}
	}
	if scan(t, c, "SELECT count() FROM flows", &rows); rows != 40 {
		t.Errorf("%d rows after two more inserts without a token, want 40", rows)
	}
}

func TestInsertNativeCompressed(t *testing.T) {
	for _, compression := range []store.Compression{store.CompressionNone, store.CompressionLZ4, store.CompressionZSTD} {
		t.Run(string(compression), func(t *testing.T) {
			database, srv := storetest.Database(t)
			cfg := config(srv, database)
			cfg.Compression = compression
			c := openConfig(t, cfg)
			migrate(t, c)
			b := flow.NewBatch(16)
			fill(b, 1000, rand.New(rand.NewPCG(3, 3)))
			if _, err := c.InsertNative(t.Context(), "flows", b.AppendNative(nil), "x"); err != nil {
				t.Fatal(err)
			}
			var rows, sum, want uint64
			for _, v := range b.SrcVM[:b.Len()] {
				want += v
			}
			if scan(t, c, "SELECT count(), sum(src_vm) FROM flows", &rows, &sum); rows != 1000 || sum != want {
				t.Errorf("%d rows, sum(src_vm) %d; want 1000, %d", rows, sum, want)
			}
		})
	}
}

func TestInsertNativeFailures(t *testing.T) {
	database, srv := storetest.Database(t)
	c := openConfig(t, config(srv, database))
	migrate(t, c)
	if err := c.Exec(t.Context(), "CREATE TABLE narrow (time_received Date, other IPv4) ENGINE = Memory"); err != nil {
		t.Fatal(err)
	}
	b := flow.NewBatch(1)
	fill(b, 1, rand.New(rand.NewPCG(4, 4)))
	block := b.AppendNative(nil)

	f := func(name string, c *store.Client, table string, block []byte, code int, retryable bool) {
		t.Helper()
		_, err := c.InsertNative(t.Context(), table, block, "")
		var e *store.Error
		if !errors.As(err, &e) || code != 0 && e.Code != code || e.Retryable != retryable {
			t.Errorf("%s: %v (%+v), want an error with code %d, retryable %v", name, err, e, code, retryable)
		}
		if code != 0 && (e == nil || e.Name == "") {
			t.Errorf("%s: %+v, want a name", name, e)
		}
	}
	f("no such table", c, "nothing", block, 60, false)
	f("a column that the table lacks", c, "narrow", block, 117, false)
	f("cut in the middle", c, "flows", block[:len(block)/2], 33, false)

	wrong := config(srv, database)
	wrong.Password = "not it"
	f("wrong password", openConfig(t, wrong), "flows", block, 516, true)
	nobody := config(srv, database)
	nobody.Addr = "127.0.0.1:1"
	f("nobody listens", openConfig(t, nobody), "flows", block, 0, true)
	if _, err := c.InsertNative(t.Context(), "flows; DROP TABLE flows", block, ""); err == nil {
		t.Error("a statement as the name of the table: no error")
	}
	var rows uint64
	if scan(t, c, "SELECT count() FROM flows", &rows); rows != 0 {
		t.Errorf("%d rows after failed inserts, want 0", rows)
	}
}

// Answers that a healthy store does not give.
func TestInsertNativeReadsErrors(t *testing.T) {
	f := func(name string, status int, header, body string, want store.Error) {
		t.Helper()
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if header != "" {
				w.Header().Set("X-ClickHouse-Exception-Code", header)
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}))
		defer srv.Close()
		cfg := store.DefaultConfig()
		cfg.Addr = srv.URL
		_, err := openConfig(t, cfg).InsertNative(t.Context(), "flows", []byte("x"), "")
		var got *store.Error
		if !errors.As(err, &got) || got.Code != want.Code || got.Name != want.Name || got.Retryable != want.Retryable {
			t.Errorf("%s: error %+v, want %+v", name, got, want)
		}
	}
	f("too many parts", 500, "252", "Code: 252. DB::Exception: Too many parts (300). Merges are processing significantly slower than inserts. (TOO_MANY_PARTS) (version 26.7.2.1)\n", store.Error{Code: 252, Name: "TOO_MANY_PARTS", Retryable: true})
	f("memory, no header", 500, "", "Code: 241. DB::Exception: (total) memory limit exceeded (MEMORY_LIMIT_EXCEEDED)", store.Error{Code: 241, Name: "MEMORY_LIMIT_EXCEEDED", Retryable: true})
	f("disk full", 500, "1001", "Code: 1001. DB::Exception: std::exception. filesystem error: write: No space left on device (STD_EXCEPTION)", store.Error{Code: 1001, Name: "STD_EXCEPTION", Retryable: true})
	f("after the status", 200, "", "Code: 53. DB::Exception: Type mismatch (TYPE_MISMATCH)", store.Error{Code: 53, Name: "TYPE_MISMATCH"})
	f("code without text", 500, "349", "", store.Error{Code: 349})
	f("a proxy", 502, "", "<html>bad gateway</html>", store.Error{Retryable: true})
	f("not ClickHouse", 404, "", "no such page", store.Error{})
}

func TestInsertNativeHonoursTimeoutAndContext(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-release
	}))
	defer srv.Close()
	defer close(release)
	cfg := store.DefaultConfig()
	cfg.Addr, cfg.Timeout = srv.URL, time.Second
	var e *store.Error
	if _, err := openConfig(t, cfg).InsertNative(t.Context(), "flows", []byte("x"), ""); !errors.As(err, &e) || !e.Retryable {
		t.Errorf("no answer in time: %v, want a retryable *Error", err)
	}
	cfg.Timeout = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := openConfig(t, cfg).InsertNative(ctx, "flows", []byte("x"), ""); !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &e) {
		t.Errorf("caller's deadline: %v, want context.DeadlineExceeded and no *Error", err)
	}
}

func TestWaitReady(t *testing.T) {
	c := open(t)
	if err := c.WaitReady(t.Context()); err != nil {
		t.Error(err)
	}
	cfg := store.DefaultConfig()
	cfg.Addr = "127.0.0.1:1"
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := openConfig(t, cfg).WaitReady(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("WaitReady of nobody: %v, want the deadline and why", err)
	}
}
