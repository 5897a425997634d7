package feed

import (
	"bytes"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/weirhq/weir/estate"
)

// Hasten makes f lose its patience sooner.
func (f *Follower) Hasten(silence, message, retry time.Duration) {
	f.silence, f.messageTime, f.retryMax = silence, message, retry
}

// Records is the form in which records are compared.
type Records = []*record

// Encode returns the records of m.
func Encode(m *estate.Model) Records {
	e, err := new(encoded).next(m)
	if err != nil {
		panic(err)
	}
	return e.records()
}

// Model returns what records say, each read from its line.
func Model(list Records) *estate.Model {
	var read []*record
	for _, r := range list {
		one, err := decodeRecord(r.line)
		if err != nil {
			panic(err)
		}
		read = append(read, one)
	}
	return model(read)
}

// Delta goes from one list to another, and returns where it came to and how many records it took.
func Delta(from, to Records) (got Records, inserted, runs int, err error) {
	ops, records := delta(newState(1, from), newState(2, to))
	got, err = apply(newState(1, from), ops, records)
	return got, len(records), len(ops), err
}

// Message returns the message that leads from one list, nil for none, to another, without compression.
func Message(from, to Records, revision uint64) []byte {
	h := &header{Revision: revision, Sum: newState(0, to).sum}
	base := &state{}
	if from != nil {
		base = newState(1, from)
	}
	h.From = base.sum
	ops, records := delta(base, newState(0, to))
	h.Ops = ops
	var b bytes.Buffer
	if err := write(&b, h, records); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Compressed is b as it goes over the wire.
func Compressed(b []byte) []byte {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(windowSize))
	if err != nil {
		panic(err)
	}
	return z.EncodeAll(b, nil)
}

// ContentType is that of a stream.
const ContentType = contentType

// ReadAll reads messages, and returns the last state's records, the octets that they take, and why it ended.
func ReadAll(in io.Reader, max int64) (list Records, octets int64, err error) {
	r := newReader(in, max)
	for {
		if _, err := r.next(func() {}); err != nil {
			return r.state.records, sizeOf(r.state.records), err
		}
	}
}
