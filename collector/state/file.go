package state

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/internal/bytesize"
)

// Deps are what a File uses and does not own.
type Deps struct {
	Log   *slog.Logger
	Store *template.Store
	Parse template.Parse
	Parts []Part // of different kinds
	Now   func() time.Time
}

// Part is something else that is kept of each domain of the store, in frames of its own.
type Part struct {
	Kind uint8 // FirstPart or more; a kind keeps its meaning for ever
	// Append appends what is to be kept of a domain to b; nothing, if there is nothing. It is called for every domain with
	// every Save, and what has not changed since the last one is not written again.
	Append func(b []byte, key template.Key) []byte
	// Recall gives back what Append made, in Open. b is as hostile as a datagram, and valid during the call only.
	Recall func(key template.Key, b []byte)
}

// File keeps the state of a template store. Stats may be called at any time; everything else is for one goroutine.
type File struct {
	cfg  Config
	deps Deps
	log  *slog.Logger
	seed maphash.Seed

	file    *os.File // nil: to be written anew
	size    int64    // of file
	live    int64    // octets of frames that count
	kept    map[slot]kept
	rounds  uint64    // of Save
	version uint64    // of the store, when all of it was last in the file …
	looked  time.Time // … which was then
	buf     []byte
	failed  bool // the last Save

	mu    sync.Mutex // guards stats
	stats Stats
}

// kept is what the file holds of a slot.
type kept struct {
	version uint64 // of the domain, or a hash of the part, when it was written
	heard   int64  // template.Domain.LastHeard at that time
	size    int64  // of the frame; 0: it has none
	noRoom  bool   // therefore
	round   uint64 // in which it was written
	seen    uint64 // the last round in which the store had it
}

// Stats say what is kept.
type Stats struct {
	File     string    `json:"file"`
	Bytes    int64     `json:"bytes"`             // of the file
	Domains  int       `json:"domains"`           // in it
	Unsaved  int       `json:"unsaved_domains"`   // for which it has no room
	SavedAt  time.Time `json:"saved_at,omitzero"` // when everything was last on disk
	Written  uint64    `json:"written_bytes"`
	Rewrites uint64    `json:"rewrites"`
	Failures uint64    `json:"failures"`
	Problem  string    `json:"problem,omitempty"` // of the last Save
	Restored Restored  `json:"restored"`
	SetAside string    `json:"set_aside,omitempty"` // file that could not be read as a whole, under its new name
}

// Restored says what became of the templates that the file held at the start.
type Restored struct {
	Domains   int `json:"domains"`
	Templates int `json:"templates"`
	Expired   int `json:"expired"` // templates that were not sent for too long
	Refused   int `json:"refused"` // templates that cannot be read, or for which there was no room
}

// Open reads the file into the store and goes on to keep it. What is wrong with the contents of the file is logged and is
// no error; that there is something that is not a file, or that may not be read, is.
func Open(cfg Config, d Deps) (*File, error) {
	f := &File{cfg: cfg, deps: d, log: d.Log.With("part", "state", "file", cfg.File), seed: maphash.MakeSeed(), kept: map[slot]kept{}}
	f.stats.File = cfg.File
	b, damage, err := f.read()
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	var c contents
	if damage == nil {
		c, damage = scan(b)
	}
	f.recall(&c)
	switch {
	case damage != nil:
		err = f.setAside(damage)
	case c.good > 0:
		err = f.resume(int64(c.good), int64(len(b)))
	}
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	if f.file == nil {
		f.Save() // makes the file: if it cannot be made, one hears of it now
	}
	f.account()
	return f, nil
}

// read returns the contents of the file; none if it is not there.
func (f *File) read() (b []byte, damage, err error) {
	info, err := os.Stat(f.cfg.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, os.MkdirAll(filepath.Dir(f.cfg.File), 0o700)
	case err != nil:
		return nil, nil, err
	case !info.Mode().IsRegular():
		return nil, nil, fmt.Errorf("%q is not a file: %s", f.cfg.File, info.Mode())
	case info.Size() > 2*int64(f.cfg.MaxSize):
		return nil, fmt.Errorf("it has %s, more than twice max_size", bytesize.Size(info.Size())), nil
	}
	b, err = os.ReadFile(f.cfg.File)
	return b, nil, err
}

// recall gives what the file holds to the store and to the parts.
func (f *File) recall(c *contents) {
	now := f.deps.Now().UnixMilli()
	did := &f.stats.Restored
	for _, s := range c.order {
		b, counts := c.frames[s]
		if !counts {
			continue
		}
		delete(c.frames, s) // order may have it twice
		size := frameSize + int64(len(b))
		switch s.kind {
		case kindDomain:
			r, err := f.deps.Store.Recall(b, now, f.deps.Parse)
			if err != nil {
				f.log.Warn("what is kept of a domain cannot be read", "exporter", s.key.Exporter, "domain", s.key.Domain, "err", err)
			}
			did.Templates, did.Expired, did.Refused = did.Templates+r.Templates, did.Expired+r.Expired, did.Refused+r.Refused
		default:
			size += int64(len(template.AppendKey(nil, s.key)))
			for _, p := range f.deps.Parts {
				if p.Kind == s.kind {
					p.Recall(s.key, b)
				}
			}
		}
		f.keep(s, kept{size: size, version: f.hash(b)})
	}
	f.deps.Store.Each(func(d *template.Domain) {
		s := slot{kindDomain, d.Key}
		if k, known := f.kept[s]; known {
			k.version, k.heard = d.Version(), d.LastHeard()
			f.kept[s] = k
			did.Domains++
		}
	})
	if len(f.kept) > 0 {
		f.log.Info("templates and sampling rates restored", "domains", did.Domains, "templates", did.Templates, "expired", did.Expired, "refused", did.Refused)
	}
}

// resume goes on with a file that is whole up to good.
func (f *File) resume(good, size int64) error {
	file, err := os.OpenFile(f.cfg.File, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if good < size {
		f.log.Info("the end of the state was being written when Weir ended, and is cut off", "bytes", size-good)
		err = file.Truncate(good)
	}
	if err == nil {
		_, err = file.Seek(good, io.SeekStart)
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.file, f.size = file, good
	return nil
}

// setAside renames the file.
func (f *File) setAside(why error) error {
	aside := f.cfg.File + ".bad"
	if err := os.Rename(f.cfg.File, aside); err != nil {
		return err
	}
	f.stats.SetAside = aside
	f.log.Warn("the state cannot be read as a whole; it is set aside and begun anew", "err", why, "set_aside", aside)
	return nil
}

// keep notes what the file holds of a slot; of size 0, that it holds nothing.
func (f *File) keep(s slot, k kept) {
	f.live += k.size - f.kept[s].size
	f.kept[s] = k
}

const (
	mostBatch = 4 << 20 // octets that one Save appends at most, before it leaves the rest to the next
	slack     = 1 << 20 // octets that a file may have in vain, however little it holds
)

// Save writes what has changed since the last one, and reports whether something is left for the next. What fails is
// logged and shown by Stats, and tried again with the next.
func (f *File) Save() (more bool) {
	more, err := f.save()
	f.mu.Lock()
	f.stats.Problem = ""
	if err != nil {
		f.stats.Failures++
		f.stats.Problem = err.Error()
	} else if !more {
		f.stats.SavedAt = f.deps.Now()
	}
	f.mu.Unlock()
	f.account()
	switch failed := err != nil; {
	case failed && !f.failed:
		f.log.Warn("templates and sampling rates are not saved, tried again", "err", err)
	case !failed && f.failed:
		f.log.Info("templates and sampling rates are saved again")
	}
	f.failed = err != nil
	return more && err == nil
}

func (f *File) save() (more bool, err error) {
	version, now := f.deps.Store.Version(), f.deps.Now()
	since := now.Sub(f.looked)
	if f.file != nil && len(f.deps.Parts) == 0 && version == f.version && since >= 0 && since < f.coarse()/12 {
		return false, nil // the usual case
	}
	if more, err = f.write(); err == nil && !more {
		f.version, f.looked = version, now
	}
	return more, err
}

func (f *File) write() (more bool, err error) {
	f.rounds++
	if f.file != nil {
		more = f.collect()
		if err := f.append(); err != nil {
			return more, err
		}
	}
	if f.file == nil {
		return false, f.rewrite()
	}
	return more, nil
}

// account brings the stats up to date.
func (f *File) account() {
	domains, unsaved := 0, 0
	for s, k := range f.kept {
		switch {
		case s.kind != kindDomain:
		case k.size > 0:
			domains++
		case k.noRoom:
			unsaved++
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats.Bytes, f.stats.Domains, f.stats.Unsaved = f.size, domains, unsaved
}

// due is something to be written.
type due struct {
	slot
	kept
	domain *template.Domain
	part   *Part
}

// changed lists what differs from what the file holds, longest not written first, and notes what the store has.
func (f *File) changed() []due {
	var list []due
	note := func(x due, changed bool) {
		if changed {
			list = append(list, x)
			return
		}
		k := f.kept[x.slot]
		k.seen = f.rounds
		f.kept[x.slot] = k
	}
	coarse := f.coarse().Milliseconds()
	f.deps.Store.Each(func(d *template.Domain) {
		s := slot{kindDomain, d.Key}
		k, known := f.kept[s]
		now := kept{version: d.Version(), heard: d.LastHeard(), size: k.size, round: k.round, seen: f.rounds}
		if known || now.version != 0 {
			note(due{s, now, d, nil}, now.version != k.version || now.heard-k.heard > coarse)
		}
		for i := range f.deps.Parts {
			p := &f.deps.Parts[i]
			s := slot{p.Kind, d.Key}
			k, known := f.kept[s]
			f.buf = p.Append(f.buf[:0], d.Key)
			if now := f.hash(f.buf); len(f.buf) > 0 {
				note(due{s, kept{version: now, size: k.size, round: k.round, seen: f.rounds}, d, p}, !known || now != k.version)
			}
		}
	})
	f.buf = f.buf[:0]
	slices.SortStableFunc(list, func(a, b due) int { return cmp.Compare(a.round, b.round) })
	return list
}

// coarse is the time that must have passed since a domain was written for times alone to be a reason to write it.
func (f *File) coarse() time.Duration { return f.deps.Store.Config().Timeout / 24 }

// collect puts frames of what has changed into buf; true if there are more than one Save should write.
func (f *File) collect() (more bool) {
	list := f.changed() // which leaves buf empty
	for i := range list {
		x := &list[i]
		if len(f.buf) > mostBatch {
			more = true
			if k, known := f.kept[x.slot]; known {
				k.seen = f.rounds
				f.kept[x.slot] = k
			}
			continue
		}
		at := len(f.buf)
		x.round = f.rounds
		before := x.size
		if f.frame(x); len(f.buf) == at && before > 0 {
			f.forgotten(x.slot)
		}
		f.keep(x.slot, x.kept)
	}
	for s, k := range f.kept {
		if k.seen != f.rounds {
			if k.size > 0 {
				f.forgotten(s)
			}
			f.keep(s, kept{})
			delete(f.kept, s)
		}
	}
	return more
}

// frame appends the frame of x to buf, and sets its size: 0 if there is nothing to keep, or no room.
func (f *File) frame(x *due) {
	at := len(f.buf)
	f.buf = beginFrame(f.buf, x.kind)
	ok := true
	if x.part == nil {
		f.buf, ok = x.domain.AppendMemory(f.buf)
	} else {
		f.buf = x.part.Append(template.AppendKey(f.buf, x.key), x.key)
	}
	size := int64(len(f.buf) - at)
	x.noRoom = ok && (size > maxContents || f.live-f.kept[x.slot].size+size > int64(f.cfg.MaxSize)/2)
	if !ok || x.noRoom {
		f.buf, x.size = f.buf[:at], 0
		return
	}
	endFrame(f.buf, at)
	x.size = size
}

func (f *File) forgotten(s slot) {
	at := len(f.buf)
	f.buf = template.AppendKey(append(beginFrame(f.buf, kindForgotten), s.kind), s.key)
	endFrame(f.buf, at)
}

// append writes buf after what the file has. Where the file would become too long, or the write fails, it gives the
// file up instead, to be written anew.
func (f *File) append() error {
	if len(f.buf) == 0 {
		return nil
	}
	if next := f.size + int64(len(f.buf)); next > 2*f.live+slack || next > int64(f.cfg.MaxSize) {
		f.giveUp()
		return nil
	}
	n, err := f.file.Write(f.buf)
	f.wrote(n)
	f.size += int64(n)
	if err == nil {
		err = f.file.Sync()
	}
	if err != nil {
		f.giveUp()
	}
	return err
}

func (f *File) wrote(n int) {
	f.mu.Lock()
	f.stats.Written += uint64(n)
	f.mu.Unlock()
}

// giveUp closes the file, which is then written anew.
func (f *File) giveUp() {
	_ = f.file.Close() // what it holds is not relied on
	f.file = nil
}

// rewrite makes a new file of all that is to be kept, and puts it in the place of the old one, which is whole until then.
func (f *File) rewrite() error {
	temp, err := os.OpenFile(f.cfg.File+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	f.kept, f.live, f.size = map[slot]kept{}, 0, 0
	if err := errors.Join(f.writeAll(temp), temp.Sync()); err != nil {
		return errors.Join(err, temp.Close(), os.Remove(temp.Name()))
	}
	if err := os.Rename(temp.Name(), f.cfg.File); err != nil {
		return errors.Join(err, temp.Close(), os.Remove(temp.Name()))
	}
	f.file = temp
	f.mu.Lock()
	f.stats.Rewrites++
	f.mu.Unlock()
	return syncDir(filepath.Dir(f.cfg.File))
}

func (f *File) writeAll(w io.Writer) error {
	list := f.changed() // all: nothing is kept yet
	f.buf = appendHeader(f.buf[:0])
	for i := range list {
		x := &list[i]
		x.round = f.rounds
		f.frame(x)
		f.keep(x.slot, x.kept)
		if len(f.buf) > slack || i == len(list)-1 {
			if err := f.flush(w); err != nil {
				return err
			}
		}
	}
	return f.flush(w)
}

func (f *File) flush(w io.Writer) error {
	n, err := w.Write(f.buf)
	f.wrote(n)
	f.size += int64(n)
	f.buf = f.buf[:0]
	return err
}

// syncDir makes a rename in dir outlive a loss of power.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (f *File) hash(b []byte) uint64 { return maphash.Bytes(f.seed, b) }

// Stats returns what is kept as of the last Save.
func (f *File) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stats
}

// Close saves what is left, and closes the file. What fails is logged. Nothing may change any more.
func (f *File) Close() {
	for f.Save() {
	}
	if f.file != nil {
		f.giveUp()
	}
}
