package feed_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/feed"
)

// BenchmarkEstate is of 50 000 VMs with 100 000 VIFs: what policyd does for each state, what a collector does for all of it and for a change.
func BenchmarkEstate(b *testing.B) {
	m := site(50_000)
	list := feed.Encode(m)
	all := feed.Message(nil, list, 1)
	m.VMs[20_000].Name = "renamed"
	renamed := feed.Encode(m)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			feed.Encode(m)
		}
	})
	b.Run("delta", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, _, err := feed.Delta(list, renamed); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(feed.Message(list, renamed, 2))), "B/message")
		b.ReportMetric(float64(len(feed.Compressed(feed.Message(list, renamed, 2)))), "B/compressed")
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if got, _, err := feed.ReadAll(bytes.NewReader(all), 1<<30); !errors.Is(err, io.EOF) || len(got) != len(list) {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(all)), "B/message")
		b.ReportMetric(float64(len(feed.Compressed(all))), "B/compressed")
		runtime.GC()
		var low, high runtime.MemStats
		runtime.ReadMemStats(&low)
		got, _, _ := feed.ReadAll(bytes.NewReader(all), 1<<30)
		runtime.GC()
		runtime.ReadMemStats(&high)
		b.ReportMetric(float64(high.HeapAlloc-low.HeapAlloc)/(1<<20), "held-MiB")
		runtime.KeepAlive(got)
	})
	b.Run("compile", func(b *testing.B) {
		m := feed.Model(list)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := estate.Compile(m); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("start-from-file", func(b *testing.B) {
		body := feed.Compressed(all)
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", feed.ContentType)
			_, _ = w.Write(body)
		}))
		defer srv.Close()
		cache := filepath.Join(b.TempDir(), "cache")
		c := startCollector(b, config(srv.URL, cache), nil)
		eventually(b, "the estate is there", func() error {
			if c.Status().Records == 0 {
				return io.EOF
			}
			return nil
		})
		c.stop()
		for b.Loop() {
			holder := estate.NewHolder()
			f, err := feed.NewFollower(config(srv.URL, cache), feed.FollowerDeps{Log: discard, Estate: holder, Live: estate.NewLiveness(1e9)})
			if err != nil {
				b.Fatal(err)
			}
			f.Load()
			if len(holder.Load().Entities()) < 100_000 {
				b.Fatal("the file was not read")
			}
		}
	})
}
