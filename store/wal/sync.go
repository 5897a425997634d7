package wal

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// syncRegularly syncs records that wait too long. A record is seen at two looks, half an interval apart, before it is synced:
// so what the store takes within that time, which is nearly all while it keeps up, never costs the disk anything.
func (l *Log) syncRegularly() {
	tick := time.NewTicker(l.cfg.SyncInterval / 2)
	defer tick.Stop()
	var seen position // the tail at the last look
	for {
		select {
		case <-l.done:
			return
		case <-tick.C:
		}
		type due struct {
			s  *segment
			to int64
		}
		var list []due
		l.mu.Lock()
		for _, s := range l.segments {
			if l.waitsUnsynced(s, seen) {
				list = append(list, due{s, s.size})
			}
		}
		seen = l.tail()
		l.mu.Unlock()
		for _, d := range list {
			l.sync(d.s, d.to)
		}
	}
}

// waitsUnsynced tells whether s has a record before seen that waits and is not on disk. mu is held.
func (l *Log) waitsUnsynced(s *segment, seen position) bool {
	end := s.size
	if s.number == seen.segment {
		end = min(end, seen.offset)
	}
	if s.number > seen.segment || s.synced >= end {
		return false
	}
	for _, r := range l.out {
		if r.segment == s && r.offset >= s.synced && r.offset < end {
			return true
		}
	}
	from := max(s.synced, headerSize) // of what was not handed out
	switch {
	case l.cursor.segment == s.number:
		from = max(from, l.cursor.offset)
	case l.cursor.segment > s.number:
		return false
	}
	return from < end
}

// sync brings s up to offset to, and its name, on disk.
func (l *Log) sync(s *segment, to int64) {
	err := s.file.Sync()
	if err == nil && !s.entered { // only one goroutine syncs a log: its own, or with SyncEvery that of Append
		err = syncDir(l.cfg.Dir)
	}
	if errors.Is(err, fs.ErrClosed) { // retired meanwhile
		return
	}
	l.mu.Lock()
	if err == nil {
		l.stats.Syncs++
		s.entered = true
		s.synced = max(s.synced, to)
	} else {
		l.stats.SyncErrors++
	}
	l.mu.Unlock()
	if err != nil {
		l.log.Error("write-ahead log not synced; batches that wait would be lost with the power", "err", err)
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
