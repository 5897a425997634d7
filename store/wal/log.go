package wal

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/strictyaml"
)

// Errors to branch on.
var (
	ErrFull   = errors.New("write-ahead log is full")
	ErrClosed = errors.New("write-ahead log is closed")
	ErrLocked = errors.New("another process has it open")
)

// LostError is what Next returns for records that were there and cannot be read. They are gone, and counted in Stats.
type LostError struct {
	Records int
	Rows    uint64
	Err     error
}

func (e *LostError) Error() string {
	return fmt.Sprintf("read write-ahead log: %d records with %d flows lost: %v", e.Records, e.Rows, e.Err)
}

// Unwrap returns the cause.
func (e *LostError) Unwrap() error { return e.Err }

// Deps are what a Log uses and does not own.
type Deps struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none
	Boot    string                // differs between two starts of the machine; empty: the kernel's boot_id
}

// Log is an open write-ahead log. Its methods are safe for concurrent use.
type Log struct {
	cfg  Config
	log  *slog.Logger
	boot [16]byte
	lock *os.File // held by flock while the log is open

	life      sync.RWMutex // held by those who use the files, wholly by Close; before the others
	appending sync.Mutex   // one Append at a time; before mu
	table     []byte       // scratch; guarded by appending

	reading sync.Mutex        // one reader at a time; before mu
	strings map[string]string // names of tables and partitions; guarded by reading

	more chan struct{} // holds a token when there may be a record for Next
	room chan struct{} // holds a token when space was freed
	done chan struct{} // closed by Close
	end  sync.WaitGroup

	mu        sync.Mutex
	closed    bool       // guarded by mu, like all that follows
	segments  []*segment // by number, ascending
	active    *segment   // the last of segments, or nil: the next Append starts one
	number    uint64     // of the next segment
	cursor    position   // records before it were handed out; changed with reading held, too
	recent    []*Record  // in memory and not handed out, in order
	out       []*Record  // handed out and not retired
	free      []*Record  // for New
	bytes     int64      // of segments
	memory    int64      // of recent and out, as far as they count
	diskRetry time.Time  // while the disk is full or broken: when it is tried again
	stats     Stats
}

// Stats is how a log does. Waiting are records that are not retired.
type Stats struct {
	Bytes    int64     `json:"bytes"` // of all segments
	MaxBytes int64     `json:"max_bytes"`
	Segments int       `json:"segments"`
	Waiting  int       `json:"waiting"`         // records
	Rows     uint64    `json:"waiting_rows"`    // flows in them
	Volatile int       `json:"volatile"`        // of the waiting, those that are in memory only, for the disk did not take them
	Oldest   time.Time `json:"oldest,omitzero"` // time_received of the oldest waiting flow; zero if none waits

	Recovered     uint64 `json:"recovered"`      // records that waited when the log was opened
	RecoveredRows uint64 `json:"recovered_rows"` // flows in them
	Appended      uint64 `json:"appended"`       // records
	AppendedBytes uint64 `json:"appended_bytes"`
	Retired       uint64 `json:"retired"` // records
	Syncs         uint64 `json:"syncs"`
	SyncErrors    uint64 `json:"sync_errors"`
	Torn          uint64 `json:"torn"`    // ends of segments that were cut off at Open: records whose Append had not returned
	Corrupt       uint64 `json:"corrupt"` // damaged places that were skipped: records or segments

	FullSince time.Time `json:"full_since,omitzero"` // since when Append returns ErrFull; zero while it does not
	Problem   string    `json:"problem"`             // why the disk does not take records; empty while it does
}

// position is a place in the log: records have ascending ones.
type position struct {
	segment uint64
	offset  int64
}

func (p position) before(q position) bool {
	return p.segment < q.segment || p.segment == q.segment && p.offset < q.offset
}

// segment is one file of the log. What changes is guarded by Log.mu.
type segment struct {
	number uint64
	file   *os.File
	salt   uint64
	found  bool // was there at Open: marks in it count
	doubt  bool // was written before the machine started: marks may be missing

	size    int64 // where the next record goes
	synced  int64 // what is before it is on disk
	entered bool  // the directory's entry is on disk
	waiting int   // records that are not retired

	// Of those that wait, the ones that are to be read from the file.
	ahead      int
	aheadRows  uint64
	aheadFirst int64 // smallest Record.First of them; also of some that were handed out since
}

// Open opens the log in cfg.Dir, which it makes if it is not there, and takes in what a former process left.
// errors.Is(err, ErrLocked) tells that another one has it.
func Open(cfg Config, d Deps) (*Log, error) {
	l, err := open(cfg, d)
	if err != nil {
		return nil, fmt.Errorf("open write-ahead log %q: %w", cfg.Dir, err)
	}
	return l, nil
}

func open(cfg Config, d Deps) (*Log, error) {
	if err := strictyaml.Validate(&cfg); err != nil {
		return nil, err
	}
	if cfg.Dir == "" || d.Log == nil {
		return nil, errors.New("a directory and a logger are needed")
	}
	l := &Log{
		cfg: cfg, log: d.Log.With("part", "wal"), boot: bootHash(d.Boot), strings: map[string]string{},
		more: make(chan struct{}, 1), room: make(chan struct{}, 1), done: make(chan struct{}), number: 1,
	}
	l.stats.MaxBytes = int64(cfg.MaxSize)
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if l.lock, err = lock(cfg.Dir); err != nil {
		return nil, err
	}
	if err := l.recover(); err != nil {
		return nil, errors.Join(err, l.closeFiles())
	}
	if d.Metrics != nil {
		if err := d.Metrics.Register(metrics{l}); err != nil {
			return nil, errors.Join(fmt.Errorf("register metrics: %w", err), l.closeFiles())
		}
	}
	if s := l.Stats(); s.Waiting > 0 || s.Torn > 0 || s.Corrupt > 0 {
		l.log.Info("write-ahead log found", "records", s.Waiting, "flows", s.Rows, "size", bytesize.Size(s.Bytes), "torn", s.Torn, "corrupt", s.Corrupt)
	}
	if cfg.Sync == SyncInterval {
		l.end.Go(l.syncRegularly)
	}
	return l, nil
}

func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// bootHash names this start of the machine. Where the kernel does not tell, every Open counts as one.
func bootHash(id string) [16]byte {
	if id == "" {
		b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			b = []byte(rand.Text())
		}
		id = string(b)
	}
	sum := sha256.Sum256([]byte(id))
	return [16]byte(sum[:16])
}

// recover takes in the segments that are there. Appends go to a new one.
func (l *Log) recover() error {
	entries, err := os.ReadDir(l.cfg.Dir) // sorted by name: by number, for all names have the same length
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), suffix)
		number, err := strconv.ParseUint(name, 16, 64)
		if !ok || err != nil || len(name) != 16 || number == math.MaxUint64 {
			continue
		}
		l.number = number + 1
		if err := l.take(number); err != nil {
			return fmt.Errorf("segment %q: %w", entry.Name(), err)
		}
	}
	l.cursor = position{}
	l.stats.Recovered, l.stats.RecoveredRows = uint64(l.stats.Waiting), l.stats.Rows
	return nil
}

const suffix = ".wal"

func (l *Log) path(number uint64) string {
	return filepath.Join(l.cfg.Dir, fmt.Sprintf("%016x%s", number, suffix))
}

// take opens one segment and counts what waits in it.
func (l *Log) take(number uint64) error {
	path := l.path(number)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if info.Size() < headerSize { // the process died while it made the file
		l.stats.Torn++
		return errors.Join(f.Close(), os.Remove(path))
	}
	var b [headerSize]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return errors.Join(err, f.Close())
	}
	head, err := parseSegmentHeader(b[:])
	if errors.Is(err, errNoSegment) {
		if b == [headerSize]byte{} { // the machine died before the header was written
			l.stats.Torn++
			return errors.Join(f.Close(), os.Remove(path))
		}
		l.stats.Corrupt++
		l.log.Error("segment of the write-ahead log has no good header; it is put aside", "file", path+".damaged")
		return errors.Join(f.Close(), os.Rename(path, path+".damaged"))
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s := &segment{number: number, file: f, salt: head.salt, found: true, doubt: head.boot != l.boot, aheadFirst: math.MaxInt64, entered: true}
	result, err := scan(f, info.Size(), s.salt, func(_ int64, h header) {
		if h.state == stateRetired {
			return
		}
		s.waiting++
		s.ahead++
		s.aheadRows += uint64(h.rows)
		s.aheadFirst = min(s.aheadFirst, h.first)
	})
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.size = result.end
	l.stats.Corrupt += uint64(result.gaps)
	if result.torn {
		l.stats.Torn++
		if err := f.Truncate(result.end); err != nil {
			return errors.Join(fmt.Errorf("cut off a torn record: %w", err), f.Close())
		}
	}
	if s.waiting == 0 {
		return errors.Join(f.Close(), os.Remove(path))
	}
	l.segments = append(l.segments, s)
	l.bytes += s.size
	l.stats.Waiting += s.waiting
	l.stats.Rows += s.aheadRows
	return nil
}

// New returns an empty record.
func (l *Log) New() *Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.free)
	if n == 0 {
		return &Record{}
	}
	r := l.free[n-1]
	l.free = l.free[:n-1]
	return r
}

// maxFree bounds the records that are kept for New: as many as are under way at a time.
const maxFree = 16

// recycle takes back a record; mu is held.
func (l *Log) recycle(r *Record) {
	if len(l.free) < maxFree {
		r.reset()
		l.free = append(l.free, r)
	}
}

// Append takes over r, which has at least one piece, and returns when it is safe as far as Config.Sync says. When it
// returns an error the record stays the caller's. errors.Is(err, ErrFull) tells that trying again later can help;
// Freed tells when.
func (l *Log) Append(r *Record) error {
	l.life.RLock()
	defer l.life.RUnlock()
	l.appending.Lock()
	defer l.appending.Unlock()
	if len(r.Pieces) == 0 || len(r.buf) > maxBlocks {
		return fmt.Errorf("append to write-ahead log: record of %d pieces and %d bytes, want 1 to %d and at most %d", len(r.Pieces), len(r.buf), maxPieces, maxBlocks)
	}
	l.table = appendTable(slices.Grow(l.table[:0], headerSize)[:headerSize], r.Pieces)
	h := header{
		batch: r.Batch, first: r.First, last: r.Last, rows: uint32(r.Rows), pieces: uint32(len(r.Pieces)),
		table: uint32(len(l.table) - headerSize), blocks: uint32(len(r.buf)),
	}
	if h.table > maxTable {
		return fmt.Errorf("append to write-ahead log: names of %d pieces take %d bytes, want at most %d", len(r.Pieces), h.table, maxTable)
	}
	s, err := l.segmentFor(h.size())
	if err == nil {
		err = l.write(s, &h, r.buf)
	}
	switch {
	case err == nil:
	case errors.Is(err, ErrFull):
		l.full()
		return fmt.Errorf("append to write-ahead log: %w", err)
	case errors.Is(err, ErrClosed):
		return fmt.Errorf("append to write-ahead log: %w", err)
	default:
		return l.appendVolatile(r, err)
	}
	if l.cfg.Sync == SyncEvery {
		l.sync(s, s.size+h.size()) // nobody else changes the size of the active segment
	}
	l.admit(r, s, h.size())
	return nil
}

// Waiting returns how many records are not retired.
func (l *Log) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats.Waiting
}

// Freed receives when Append may have room again, and sometimes when it has not.
func (l *Log) Freed() <-chan struct{} { return l.room }

// diskRetry is how long a disk that did not take a record is left alone.
const diskRetry = time.Second

// segmentFor returns the segment for a record of size bytes. An error that is neither ErrFull nor ErrClosed is the disk's.
func (l *Log) segmentFor(size int64) (*segment, error) {
	l.mu.Lock()
	var dead *segment
	if l.closed {
		l.mu.Unlock()
		return nil, ErrClosed
	}
	now := time.Now()
	waitForDisk := now.Before(l.diskRetry)
	s := l.active
	over := l.bytes > 0 && l.bytes+size > int64(l.cfg.MaxSize)
	if s != nil && (s.size > headerSize && s.size+size > l.cfg.segmentSize() || over && s.waiting == 0) {
		l.active = nil
		if s.waiting == 0 {
			dead = l.detach(s)
			over = l.bytes > 0 && l.bytes+size > int64(l.cfg.MaxSize)
		}
		s = nil
	}
	problem := l.stats.Problem
	l.mu.Unlock()
	l.remove(dead)
	if over {
		return nil, ErrFull
	}
	if waitForDisk {
		return nil, errors.New(problem)
	}
	if err := l.checkFree(size); err != nil || s != nil {
		return s, err
	}
	return l.create()
}

// checkFree tells whether size more bytes leave Config.KeepFree.
func (l *Log) checkFree(size int64) error {
	if l.cfg.KeepFree == 0 {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(l.cfg.Dir, &st); err != nil {
		return fmt.Errorf("ask for free space: %w", err)
	}
	if free := int64(st.Bavail) * st.Bsize; free-size < int64(l.cfg.KeepFree) {
		return fmt.Errorf("%s are free on the disk, keep_free is %s: free some, or set store.wal.keep_free", bytesize.Size(free).Short(), l.cfg.KeepFree)
	}
	return nil
}

// create starts a segment. Only Append calls it.
func (l *Log) create() (*segment, error) {
	var salt [8]byte
	_, _ = rand.Read(salt[:]) // it never fails
	head := segmentHeader{salt: binary.LittleEndian.Uint64(salt[:]), boot: l.boot}
	f, err := os.OpenFile(l.path(l.number), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(head.encode(), 0); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	s := &segment{number: l.number, file: f, salt: head.salt, size: headerSize, aheadFirst: math.MaxInt64}
	l.mu.Lock()
	l.number++
	l.segments = append(l.segments, s)
	l.active = s
	l.bytes += headerSize
	l.mu.Unlock()
	return s, nil
}

// write writes one record behind the last of s: its header last, so that it is there whole or not at all.
func (l *Log) write(s *segment, h *header, blocks []byte) error {
	table := l.table[headerSize:]
	h.bodyCRC = crc32.Update(crc32.Checksum(table, castagnoli), castagnoli, blocks)
	h.encode(l.table, s.salt, s.size)
	_, err := s.file.WriteAt(blocks, s.size+int64(len(l.table)))
	if err == nil {
		_, err = s.file.WriteAt(l.table, s.size)
	}
	if err != nil {
		// What is there of the record has no header that holds. The truncation only gives its space back.
		return errors.Join(err, s.file.Truncate(s.size))
	}
	return nil
}

// admit makes a written record one that waits.
func (l *Log) admit(r *Record, s *segment, size int64) {
	l.mu.Lock()
	r.segment, r.offset, r.size, r.place = s, s.size, size, position{s.number, s.size}
	s.size += size
	s.waiting++
	l.bytes += size
	l.stats.AppendedBytes += uint64(size)
	l.enlist(r)
	if l.keep(r) {
		l.recent = append(l.recent, r)
	} else {
		s.ahead++
		s.aheadRows += uint64(r.Rows)
		s.aheadFirst = min(s.aheadFirst, r.First)
		l.recycle(r)
	}
	since, problem := l.stats.FullSince, l.stats.Problem
	l.stats.FullSince, l.stats.Problem = time.Time{}, ""
	l.mu.Unlock()
	signal(l.more)
	if problem != "" {
		l.log.Info("write-ahead log is on disk again")
	}
	if !since.IsZero() {
		l.log.Info("write-ahead log has room again", "full", time.Since(since).Round(time.Millisecond))
	}
}

// keep tells whether r fits into the memory that there is, and takes it; mu is held.
func (l *Log) keep(r *Record) bool {
	n := int64(cap(r.buf))
	if l.memory+n > l.cfg.memory() {
		return false
	}
	r.kept = n
	l.memory += n
	return true
}

// enlist counts a record that waits from now on; mu is held.
func (l *Log) enlist(r *Record) {
	l.stats.Appended++
	l.stats.Waiting++
	l.stats.Rows += uint64(r.Rows)
}

// appendVolatile takes r into memory only, for the disk did not take it.
func (l *Log) appendVolatile(r *Record, cause error) error {
	l.mu.Lock()
	first := l.stats.Problem == ""
	if now := time.Now(); !now.Before(l.diskRetry) {
		l.diskRetry = now.Add(diskRetry)
		l.stats.Problem = cause.Error()
	}
	fits := l.keep(r)
	if fits {
		r.segment, r.offset, r.size, r.place = nil, 0, 0, l.tail()
		l.recent = append(l.recent, r)
		l.stats.Volatile++
		l.enlist(r)
		l.stats.FullSince = time.Time{}
	}
	l.mu.Unlock()
	if first {
		l.log.Error("write-ahead log cannot be written; batches wait in memory only, and are lost if the process ends", "dir", l.cfg.Dir, "err", cause)
	}
	if !fits {
		l.full()
		return fmt.Errorf("append to write-ahead log: %w: %w", ErrFull, cause)
	}
	signal(l.more)
	return nil
}

// full remembers that a record was not taken.
func (l *Log) full() {
	l.mu.Lock()
	first := l.stats.FullSince.IsZero()
	if first {
		l.stats.FullSince = time.Now()
	}
	waiting, rows := l.stats.Waiting, l.stats.Rows
	l.mu.Unlock()
	if first {
		l.log.Warn("write-ahead log is full; batches wait in front of it", "records", waiting, "flows", rows, "max_size", l.cfg.MaxSize)
	}
}

// tail is where the next record would be; mu is held.
func (l *Log) tail() position {
	if l.active != nil {
		return position{l.active.number, l.active.size}
	}
	return position{l.number, headerSize}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Next returns the oldest record that it did not return yet, and waits for one until ctx is done; one that is there is
// returned also then. The record is the caller's until Retire. A *LostError is not the end: the call after it goes on.
func (l *Log) Next(ctx context.Context) (*Record, error) {
	for {
		r, err := l.next()
		if r != nil || err != nil {
			signal(l.more) // there may be another one for another caller
			return r, err
		}
		select {
		case <-l.more:
		case <-l.done:
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// next returns the next record, or nil if there is none.
func (l *Log) next() (*Record, error) {
	l.life.RLock()
	defer l.life.RUnlock()
	l.reading.Lock()
	defer l.reading.Unlock()
	for {
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			return nil, ErrClosed
		}
		if len(l.recent) > 0 && !l.cursor.before(l.recent[0].place) {
			r := l.recent[0]
			l.recent = slices.Delete(l.recent, 0, 1)
			l.out = append(l.out, r)
			if r.segment != nil {
				l.cursor = position{r.place.segment, r.place.offset + r.size}
			}
			l.mu.Unlock()
			l.mark(r.segment, r.offset, handed)
			return r, nil
		}
		s, from, to, again, lost := l.seek()
		l.mu.Unlock()
		switch {
		case lost != nil:
			return nil, lost
		case s != nil:
			if r, err := l.read(s, from, to); r != nil || err != nil {
				return r, err
			}
		case !again:
			return nil, nil
		}
	}
}

// seek moves the cursor to the next record that is not in memory and returns the segment that has it between from and to.
// again means that the cursor was moved to where a record in memory may be. mu is held.
func (l *Log) seek() (s *segment, from, to int64, again bool, lost error) {
	i, _ := slices.BinarySearchFunc(l.segments, l.cursor.segment, func(s *segment, n uint64) int {
		if s.number < n {
			return -1
		}
		return 1
	})
	if i == len(l.segments) {
		if tail := l.tail(); l.cursor.before(tail) {
			l.cursor = tail
			return nil, 0, 0, true, nil
		}
		return nil, 0, 0, false, nil
	}
	s = l.segments[i]
	if s.number > l.cursor.segment {
		l.cursor = position{s.number, headerSize}
		return nil, 0, 0, true, nil
	}
	from, to = l.cursor.offset, s.size
	if len(l.recent) > 0 && l.recent[0].place.segment == s.number {
		to = min(to, l.recent[0].place.offset)
	}
	switch {
	case from < to && s.ahead > 0:
		return s, from, to, false, nil
	case from < to: // all of it was retired before
		l.cursor.offset = to
		return nil, 0, 0, true, nil
	case s == l.active:
		return nil, 0, 0, false, nil
	}
	// The end of a segment that gets no further record.
	l.cursor = position{s.number + 1, headerSize}
	if s.ahead > 0 { // more was counted than there is now
		lost = l.lose(s, s.ahead, s.aheadRows, errors.New("header damaged since the log was opened"))
	}
	return nil, 0, 0, true, lost
}

// lose counts records of s that cannot be read. mu is held.
func (l *Log) lose(s *segment, records int, rows uint64, cause error) *LostError {
	rows = min(rows, s.aheadRows)
	s.ahead -= records
	s.aheadRows -= rows
	s.waiting -= records
	l.stats.Waiting -= records
	l.stats.Rows -= rows
	l.stats.Corrupt += uint64(records)
	if s.waiting == 0 && s != l.active {
		// Rare enough to delete the file with mu held.
		l.remove(l.detach(s))
	}
	return &LostError{Records: records, Rows: rows, Err: cause}
}

// read reads the next record of s between from and to and moves the cursor behind it. It returns nil and no error where
// there is none that waits. reading is held.
func (l *Log) read(s *segment, from, to int64) (*Record, error) {
	offset, h, err := find(s.file, from, to, s.salt)
	if err != nil || offset < 0 || h.state == stateRetired {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.cursor.offset = to
		if err == nil && offset >= 0 {
			l.cursor.offset = offset + h.size()
		}
		return nil, nil
	}
	r := l.New()
	err = l.load(r, s, offset, &h)
	if err != nil {
		l.mark(s, offset, retired) // it would be counted again after a restart
	}
	l.mu.Lock()
	l.cursor.offset = offset + h.size()
	if err != nil {
		lost := l.lose(s, 1, uint64(h.rows), err)
		l.recycle(r)
		l.mu.Unlock()
		return nil, lost
	}
	s.ahead--
	s.aheadRows -= min(s.aheadRows, uint64(h.rows))
	l.out = append(l.out, r)
	l.mu.Unlock()
	l.mark(s, offset, handed)
	return r, nil
}

var errBodyCRC = errors.New("checksum of the record does not hold")

// load reads the record whose header is h, and nothing is allocated for it that its file does not have.
func (l *Log) load(r *Record, s *segment, offset int64, h *header) error {
	n := int(h.table) + int(h.blocks)
	r.buf = slices.Grow(r.buf[:0], n)[:n]
	if _, err := s.file.ReadAt(r.buf, offset+headerSize); err != nil {
		return err
	}
	if crc32.Checksum(r.buf, castagnoli) != h.bodyCRC {
		return errBodyCRC
	}
	var err error
	r.Pieces, err = parseTable(r.Pieces[:0], r.buf[:h.table], int(h.pieces), int(h.table), int(h.blocks), l.intern)
	if err != nil {
		return err
	}
	r.Batch, r.First, r.Last, r.Rows = h.batch, h.first, h.last, int(h.rows)
	r.Doubt = s.doubt || s.found && h.state != 0
	r.segment, r.offset, r.size, r.place = s, offset, h.size(), position{s.number, offset}
	return nil
}

// intern returns b as a string. The names of tables and partitions are few.
func (l *Log) intern(b []byte) string {
	if s, ok := l.strings[string(b)]; ok {
		return s
	}
	if len(l.strings) >= 1024 {
		clear(l.strings)
	}
	s := string(b)
	l.strings[s] = s
	return s
}

// mark writes a state over the record's own. A mark that cannot be written is no harm: after a restart the store is asked.
func (l *Log) mark(s *segment, offset int64, state []byte) {
	if s == nil {
		return // in memory only
	}
	if _, err := s.file.WriteAt(state, offset+4); err != nil {
		l.log.Warn("mark in the write-ahead log not written; the store will be asked for the batch after a restart", "err", err)
	}
}

// Retire takes back a record of Next that the store has, or never will. It is not handed out again, not after a restart
// either. After Close it does nothing.
func (l *Log) Retire(r *Record) {
	l.life.RLock()
	defer l.life.RUnlock()
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return
	}
	l.mark(r.segment, r.offset, retired)
	l.mu.Lock()
	i := slices.Index(l.out, r)
	if i < 0 {
		panic("BUG: a record is retired that is not handed out")
	}
	l.out = slices.Delete(l.out, i, i+1)
	l.stats.Retired++
	l.stats.Waiting--
	l.stats.Rows -= uint64(r.Rows)
	var dead *segment
	s := r.segment
	if s == nil {
		l.stats.Volatile--
	} else if s.waiting--; s.waiting == 0 && s != l.active {
		dead = l.detach(s)
	}
	l.memory -= r.kept
	freed := dead != nil || s == nil || s == l.active && s.waiting == 0
	l.recycle(r)
	l.mu.Unlock()
	l.remove(dead)
	if freed {
		signal(l.room)
	}
}

// detach takes s out of the log; its file is to be removed. mu is held.
func (l *Log) detach(s *segment) *segment {
	i := slices.Index(l.segments, s)
	l.segments = slices.Delete(l.segments, i, i+1)
	l.bytes -= s.size
	return s
}

// remove deletes the file of a segment that was detached.
func (l *Log) remove(s *segment) {
	if s == nil {
		return
	}
	if err := errors.Join(os.Remove(s.file.Name()), s.file.Close()); err != nil {
		l.log.Warn("segment of the write-ahead log not deleted; its batches are stored", "err", err)
	}
}

// Oldest returns the smallest time_received of the flows that wait, in ms since epoch UTC, or false if none does. Of
// records that are on disk only it may be one that was retired lately: never too large.
func (l *Log) Oldest() (int64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.oldest()
}

func (l *Log) oldest() (int64, bool) {
	first := int64(math.MaxInt64)
	for _, r := range l.out {
		first = min(first, r.First)
	}
	for _, r := range l.recent {
		first = min(first, r.First)
	}
	for _, s := range l.segments {
		if s.ahead > 0 {
			first = min(first, s.aheadFirst)
		}
	}
	return first, first != math.MaxInt64
}

// Settled waits until no record that was there when it was called waits any more. It returns ErrClosed if the log is
// closed, and ctx's error if it is done before.
func (l *Log) Settled(ctx context.Context) error {
	const look = 50 * time.Millisecond
	tick := time.NewTicker(look)
	defer tick.Stop()
	l.mu.Lock()
	mark := l.tail()
	l.mu.Unlock()
	for {
		l.mu.Lock()
		closed, waits := l.closed, l.waitsUpTo(mark)
		l.mu.Unlock()
		switch {
		case closed:
			return ErrClosed
		case !waits:
			return nil
		}
		select {
		case <-tick.C:
		case <-l.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waitsUpTo tells whether a record waits that is not behind mark. One at mark itself counts, for records in memory only
// have the place of the next one in a file. mu is held.
func (l *Log) waitsUpTo(mark position) bool {
	within := func(r *Record) bool { return !mark.before(r.place) }
	if slices.ContainsFunc(l.out, within) || slices.ContainsFunc(l.recent, within) {
		return true
	}
	return slices.ContainsFunc(l.segments, func(s *segment) bool {
		first := position{s.number, headerSize}
		if s.number == l.cursor.segment {
			first = l.cursor
		}
		return s.ahead > 0 && !mark.before(first)
	})
}

// Stats returns the counters.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	if s.Problem != "" && s.Volatile == 0 && l.checkFree(0) == nil {
		s.Problem = "" // over, though no record has come since that the disk could take
	}
	s.Bytes, s.Segments = l.bytes, len(l.segments)
	if ms, ok := l.oldest(); ok {
		s.Oldest = time.UnixMilli(ms).UTC()
	}
	return s
}

// Close syncs what waits, closes the files and gives up the lock. Records that were handed out are not to be retired any
// more; they will be in doubt. It is idempotent.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	close(l.done)
	l.mu.Unlock()
	l.end.Wait()
	l.life.Lock()
	defer l.life.Unlock()
	var dead *segment
	l.mu.Lock()
	if s := l.active; s != nil && s.waiting == 0 {
		dead = l.detach(s)
	}
	l.active = nil
	left := slices.Clone(l.segments)
	l.mu.Unlock()
	l.remove(dead)
	if l.cfg.Sync != SyncNone {
		for _, s := range left {
			l.sync(s, s.size)
		}
	}
	return l.closeFiles()
}

func (l *Log) closeFiles() error {
	var errs []error
	for _, s := range l.segments {
		errs = append(errs, s.file.Close())
	}
	l.segments = nil
	if err := errors.Join(append(errs, l.lock.Close())...); err != nil && !errors.Is(err, fs.ErrClosed) {
		return fmt.Errorf("close write-ahead log %q: %w", l.cfg.Dir, err)
	}
	return nil
}
