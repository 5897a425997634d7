package feed

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sort"
)

// version is that of the form of messages. A reader refuses those of a later one, which it would misunderstand.
const version = 1

// Limits of what is read, before anything is believed.
const (
	maxLine    = 16 << 20 // of a header or a record, octets
	maxRecords = 4 << 20  // of a state
	maxLive    = 1 << 16  // exporters; as many as a collector tracks
)

// header is the first line of a message.
type header struct {
	Version  int    `json:"feed"`
	Revision uint64 `json:"revision,omitempty"` // of the state that it leads to; 0: the message is about no state
	Sum      string `json:"sum,omitempty"`      // of that state
	From     string `json:"from,omitempty"`     // sum of the state that it leads from; empty: from none
	Ops      []op   `json:"ops,omitempty"`      // how
	Records  int    `json:"records,omitempty"`  // lines that follow: those that ops put in, in order

	Live *[]netip.Addr `json:"live,omitempty"` // exporters that are live now; absent: as before
}

// op is a run of records: Keep stay as they are, then Drop go, then Insert come.
type op struct{ Keep, Drop, Insert int }

// MarshalJSON writes three numbers.
func (o op) MarshalJSON() ([]byte, error) { return json.Marshal([3]int{o.Keep, o.Drop, o.Insert}) }

// UnmarshalJSON reads three numbers.
func (o *op) UnmarshalJSON(b []byte) error {
	var n [3]int
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	*o = op{n[0], n[1], n[2]}
	return nil
}

// state is the estate at some moment. It never changes.
type state struct {
	revision uint64
	records  []*record
	sum      string // over the records, hexadecimal; "" of the state that a reader begins with

	entities, rules int // in the records
}

func newState(revision uint64, records []*record) *state {
	s := &state{revision: revision, records: records}
	h := sha256.New()
	for _, r := range records {
		h.Write(r.sum[:])
		if r.rules == 0 {
			s.entities++
		}
		s.rules += r.rules
	}
	s.sum = hex.EncodeToString(h.Sum(nil))
	return s
}

// delta returns how to get from one state to another, and the records that come: as few as can be if no two of a state are the same,
// where one that changes its place comes anew. Past what is alike at both ends it costs n log n.
func delta(from, to *state) (ops []op, inserted []*record) {
	a, b := from.records, to.records
	head := 0
	for head < len(a) && head < len(b) && a[head].sum == b[head].sum {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail].sum == b[len(b)-1-tail].sum {
		tail++
	}
	run := op{Keep: head}
	end := func() {
		if run != (op{}) {
			ops = append(ops, run)
			run = op{}
		}
	}
	i, j := head, head // in a and in b
	stay := append(staying(a[head:len(a)-tail], b[head:len(b)-tail]), [2]int{len(a) - tail - head, len(b) - tail - head})
	for _, s := range stay {
		drop, insert := s[0]+head-i, s[1]+head-j
		if drop > 0 || insert > 0 {
			run.Drop, run.Insert = drop, insert
			inserted = append(inserted, b[j:j+insert]...)
			end()
		}
		i, j = s[0]+head, s[1]+head
		if i < len(a)-tail {
			run.Keep++
			i++
			j++
		}
	}
	run.Keep += tail
	end()
	return ops, inserted
}

// staying returns the largest set of pairs of places in a and b that hold the same record and are in the same order in both, ascending.
// If a record is there more than once, its first place in a is paired with its first in b, and so on, and the set may be smaller.
func staying(a, b []*record) [][2]int {
	places := make(map[[16]byte][]int, len(a))
	for i, r := range a {
		places[r.sum] = append(places[r.sum], i)
	}
	// The longest ascending subsequence of the places in a of the records of b (patience sorting): last[k] is the end of
	// one of length k+1 whose place in a is the least.
	type link struct {
		a, b   int
		before int // in links; -1 is none
	}
	var links []link
	var last []int
	for j, r := range b {
		list := places[r.sum]
		if len(list) == 0 {
			continue
		}
		i := list[0]
		places[r.sum] = list[1:]
		k := sort.Search(len(last), func(k int) bool { return links[last[k]].a >= i })
		l := link{i, j, -1}
		if k > 0 {
			l.before = last[k-1]
		}
		links = append(links, l)
		if k == len(last) {
			last = append(last, len(links)-1)
		} else {
			last[k] = len(links) - 1
		}
	}
	pairs := make([][2]int, len(last))
	if len(last) > 0 {
		for k, at := len(last)-1, last[len(last)-1]; at >= 0; k, at = k-1, links[at].before {
			pairs[k] = [2]int{links[at].a, links[at].b}
		}
	}
	return pairs
}

// apply returns the records that ops make of those of s and of inserted.
func apply(s *state, ops []op, inserted []*record) ([]*record, error) {
	i, total := 0, len(s.records)
	for _, o := range ops {
		if o.Keep < 0 || o.Drop < 0 || o.Insert < 0 || o.Keep > len(s.records) || o.Drop > len(s.records) || o.Insert > len(inserted) {
			return nil, fmt.Errorf("run %+v: out of range", o)
		}
		i += o.Keep + o.Drop
		total += o.Insert - o.Drop
	}
	if i > len(s.records) || total < 0 || total > len(s.records)+len(inserted) {
		return nil, fmt.Errorf("runs go over %d records, the state has %d", i, len(s.records))
	}
	list := make([]*record, 0, total)
	i = 0
	for _, o := range ops {
		if o.Insert > len(inserted) || i+o.Keep > len(s.records) {
			return nil, fmt.Errorf("run %+v: out of range", o)
		}
		list = append(list, s.records[i:i+o.Keep]...)
		i += o.Keep + o.Drop
		list = append(list, inserted[:o.Insert]...)
		inserted = inserted[o.Insert:]
	}
	if i != len(s.records) || len(inserted) > 0 {
		return nil, fmt.Errorf("runs end at record %d of %d, with %d left over", i, len(s.records), len(inserted))
	}
	return list, nil
}

// write writes a message.
func write(w io.Writer, h *header, records []*record) error {
	h.Version, h.Records = version, len(records)
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 64<<10)
	_, _ = out.Write(append(b, '\n')) // Flush tells
	for _, r := range records {
		_, _ = out.Write(r.line)
		_ = out.WriteByte('\n')
	}
	return out.Flush()
}

// reader reads messages that somebody else wrote.
type reader struct {
	in    *bufio.Reader
	max   int64 // octets of the records of a state
	state *state
	size  int64 // of its records

	live []netip.Addr // that were told last
}

func newReader(in io.Reader, max int64) *reader {
	return &reader{in: bufio.NewReaderSize(in, 64<<10), max: max, state: &state{}}
}

// errGap is what next returns if a message leads from another state than the reader has.
var errGap = errors.New("the message is about another state than is here")

// next reads a message. changed tells that it led to another state. After an error the reader is of no more use; its state is that
// before the message. begun is called when the header is there: what follows comes at once.
func (r *reader) next(begun func()) (changed bool, err error) {
	line, err := r.line()
	if err != nil {
		return false, err
	}
	begun()
	var h header
	if err := json.Unmarshal(line, &h); err != nil {
		return false, fmt.Errorf("read header: %w", err)
	}
	switch {
	case h.Version != version:
		return false, fmt.Errorf("read header: found version %d, want %d: Weir is of another version there", h.Version, version)
	case h.Records < 0 || h.Records > maxRecords:
		return false, fmt.Errorf("read header: found %d records, want at most %d", h.Records, maxRecords)
	case h.Revision == 0 && (h.Records > 0 || len(h.Ops) > 0):
		return false, errors.New("read header: records of no state")
	case h.Live != nil && len(*h.Live) > maxLive:
		return false, fmt.Errorf("read header: found %d live exporters, want at most %d", len(*h.Live), maxLive)
	}
	if h.Live != nil {
		r.live = *h.Live
	}
	if h.Revision == 0 {
		return false, nil
	}
	base, size := r.state, r.size
	if h.From == "" {
		base, size = &state{}, 0
	} else if h.From != base.sum {
		return false, errGap
	}
	var inserted []*record
	for range h.Records {
		line, err := r.line()
		if err != nil {
			return false, cut(err)
		}
		if size += int64(len(line)); size > r.max {
			return false, fmt.Errorf("records are of more than %d octets together, as many as are taken", r.max)
		}
		one, err := decodeRecord(bytes.Clone(line))
		if err != nil {
			return false, err
		}
		inserted = append(inserted, one)
	}
	records, err := apply(base, h.Ops, inserted)
	if err != nil {
		return false, fmt.Errorf("apply revision %d: %w", h.Revision, err)
	}
	next := newState(h.Revision, records)
	if next.sum != h.Sum {
		return false, fmt.Errorf("apply revision %d: it is %.12s here and %.12s there", h.Revision, next.sum, h.Sum)
	}
	changed = next.sum != r.state.sum
	r.state, r.size = next, sizeOf(records)
	return changed, nil
}

func sizeOf(records []*record) (size int64) {
	for _, r := range records {
		size += int64(len(r.line))
	}
	return size
}

// line reads a line, which is valid until the next call.
func (r *reader) line() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if err == nil {
		return line[:len(line)-1], nil
	}
	if !errors.Is(err, bufio.ErrBufferFull) {
		if len(line) > 0 {
			err = cut(err)
		}
		return nil, err
	}
	long := bytes.Clone(line)
	for {
		line, err := r.in.ReadSlice('\n')
		if len(long)+len(line) > maxLine {
			return nil, fmt.Errorf("read line: longer than %d octets", maxLine)
		}
		long = append(long, line...)
		switch {
		case err == nil:
			return long[:len(long)-1], nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, cut(err)
		}
	}
}

// cut is err, of which it is known that more should have come.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
