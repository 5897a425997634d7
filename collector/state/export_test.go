package state

import (
	"hash/maphash"
	"log/slog"
	"time"

	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/template"
)

// Read reads the contents b of a file into store, as Open does.
func Read(b []byte, store *template.Store, now time.Time) error {
	c, err := scan(b)
	f := &File{
		log: slog.New(slog.DiscardHandler), seed: maphash.MakeSeed(), kept: map[slot]kept{},
		deps: Deps{Store: store, Parse: netflow.ParseTemplate, Now: func() time.Time { return now }},
	}
	f.recall(&c)
	return err
}

// Content returns the contents of a file that keeps store.
func Content(store *template.Store) []byte {
	b := appendHeader(nil)
	store.Each(func(d *template.Domain) {
		at := len(b)
		var ok bool
		if b, ok = d.AppendMemory(beginFrame(b, kindDomain)); ok {
			endFrame(b, at)
		} else {
			b = b[:at]
		}
	})
	return b
}

// MostBatch is what one Save appends at most, about.
const MostBatch = mostBatch

// Repair returns b with a right header and right CRCs of frames.
func Repair(b []byte) []byte {
	b = append(appendHeader(nil), b[min(len(b), headerSize):]...)
	for at := headerSize; len(b)-at >= frameSize; {
		length := int(min(le.Uint32(b[at+4:]), maxContents))
		if length > len(b)-at-frameSize {
			break
		}
		end := at + frameSize + length
		endFrame(b[:end], at)
		at = end
	}
	return b
}
