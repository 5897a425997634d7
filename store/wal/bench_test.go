package wal_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/store/wal"
)

// BenchmarkAppend appends batches of flows of 300 bytes that the store takes at once: what the log adds to the way of a flow.
// Of the policies only every waits for the disk.
func BenchmarkAppend(b *testing.B) {
	const flowSize = 300
	for _, rows := range []int{1000, 50_000} {
		block := make([]byte, rows*flowSize)
		for i := range block {
			block[i] = byte(i * 7)
		}
		for _, sync := range []wal.Sync{wal.SyncNone, wal.SyncInterval, wal.SyncEvery} {
			b.Run(fmt.Sprintf("rows=%d/sync=%s", rows, sync), func(b *testing.B) {
				cfg := wal.Default()
				cfg.Dir, cfg.Sync, cfg.KeepFree = b.TempDir(), sync, 0
				l, err := wal.Open(cfg, wal.Deps{Log: discard})
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(block)))
				b.ReportAllocs()
				before := cpuTime(b)
				for b.Loop() {
					r := l.New()
					r.Batch, r.Rows = 1, rows
					r.Add("flows", "20260102", rows, func(dst []byte) []byte { return append(dst, block...) })
					if err := l.Append(r); err != nil {
						b.Fatal(err)
					}
					if r, err = l.Next(context.Background()); err != nil {
						b.Fatal(err)
					}
					l.Retire(r)
				}
				b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N*rows), "cpu-ns/flow")
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkReplay reads batches back as after a restart: from the files, checksums checked.
func BenchmarkReplay(b *testing.B) {
	const rows, flowSize, batches = 50_000, 300, 16
	block := make([]byte, rows*flowSize)
	cfg := wal.Default()
	cfg.Dir, cfg.KeepFree, cfg.Memory = b.TempDir(), 0, bytesize.KiB
	l := open(b, cfg)
	for range batches {
		r := l.New()
		r.Batch, r.Rows = 1, rows
		r.Add("flows", "20260102", rows, func(dst []byte) []byte { return append(dst, block...) })
		if err := l.Append(r); err != nil {
			b.Fatal(err)
		}
	}
	closeLog(b, l)
	b.SetBytes(int64(batches * len(block)))
	for b.Loop() {
		l := open(b, cfg)
		for range batches {
			if _, err := l.Next(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		closeLog(b, l)
	}
}
