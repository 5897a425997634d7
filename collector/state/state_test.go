package state_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/state"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/chance"
)

// rig is a store and the file that keeps it. restart makes a new one of both, from the file.
type rig struct {
	*testing.T
	cfg   state.Config
	store *template.Store
	file  *state.File
	now   time.Time
	log   bytes.Buffer
	parts []state.Part
}

func newRig(t *testing.T, change ...func(*rig)) *rig {
	t.Helper()
	r := &rig{T: t, cfg: state.Default(), now: time.UnixMilli(1_790_000_000_000)}
	r.cfg.File = filepath.Join(t.TempDir(), "sub", "collector.state")
	for _, c := range change {
		c(r)
	}
	r.restart()
	return r
}

// restart begins anew with what is in the file, as after a kill: the file was not closed.
func (r *rig) restart() {
	r.Helper()
	r.store = template.New(template.DefaultConfig())
	var err error
	r.file, err = state.Open(r.cfg, state.Deps{
		Log: slog.New(slog.NewTextHandler(&r.log, nil)), Store: r.store, Parse: netflow.ParseTemplate, Parts: r.parts,
		Now: func() time.Time { return r.now },
	})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(r.file.Close)
}

func key(n int) template.Key {
	return template.Key{Exporter: netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), Protocol: 10, Domain: uint32(n % 3)}
}

// tell makes the exporter n send a template of so many fields, and say a sampling rate.
func (r *rig) tell(n int, id uint16, fields int, rate uint32) {
	r.Helper()
	d, why := r.store.Domain(key(n), r.now.UnixMilli())
	if why != template.None {
		r.Fatal(why)
	}
	d.Heard(r.now.UnixMilli())
	wire := binary.BigEndian.AppendUint16(nil, id)
	wire = binary.BigEndian.AppendUint16(wire, uint16(fields))
	for i := range fields {
		wire = binary.BigEndian.AppendUint32(wire, uint32(i+1)<<16|4)
	}
	t, why := netflow.ParseTemplate(10, false, wire)
	if why != template.None {
		r.Fatal(why)
	}
	d.Put([]*template.Template{t}, r.now.UnixMilli())
	d.SetRates([]template.Rate{{Scope: template.OfSampler, ID: uint64(id), Rate: rate}})
}

// known is everything that the store knows and a file keeps, as text.
func known(s *template.Store) string {
	var b strings.Builder
	s.Each(func(d *template.Domain) {
		if memory, ok := d.AppendMemory(nil); ok {
			fmt.Fprintf(&b, "%v %x\n", d.Key, memory)
		}
	})
	return b.String()
}

func (r *rig) save() {
	r.Helper()
	for r.file.Save() {
	}
	if s := r.file.Stats(); s.Problem != "" {
		r.Fatalf("Save: %s", s.Problem)
	}
}

func (r *rig) size() int64 {
	r.Helper()
	info, err := os.Stat(r.cfg.File)
	if err != nil {
		r.Fatal(err)
	}
	if got := r.file.Stats().Bytes; got != info.Size() {
		r.Fatalf("Stats say %d bytes, the file has %d", got, info.Size())
	}
	return info.Size()
}

func TestWhatWasLearntOutlivesARestart(t *testing.T) {
	r := newRig(t)
	for n := range 20 {
		r.tell(n, 256, 5+n, 100)
		r.tell(n, 257, 7, 1000)
	}
	d, _ := r.store.Domain(key(3), 0)
	d.SetRates([]template.Rate{{Scope: template.OfDomain, Rate: 64}, {Scope: template.OfInterface, ID: 7, Rate: 32}})
	d.SetInitTime(1_780_000_000_000)
	r.save()
	want := known(r.store)
	r.now = r.now.Add(time.Hour)
	r.restart()
	if got := known(r.store); got != want {
		t.Errorf("after a restart the store knows\n%s\nwant\n%s", got, want)
	}
	for _, i := range r.store.Domains() {
		for _, l := range i.Templates {
			if !l.Restored {
				t.Errorf("template %d of %s is not marked as restored", l.ID, i.Exporter)
			}
		}
		if i.Counts.Changes != 0 {
			t.Errorf("restoring counts as %d changes of templates", i.Counts.Changes)
		}
	}
	if got := r.file.Stats().Restored; got != (state.Restored{Domains: 20, Templates: 40}) {
		t.Errorf("Restored = %+v, want 20 domains, 40 templates", got)
	}
	d, _ = r.store.Domain(key(3), 0)
	if s := d.Sampling(); s.Domain() != 64 || s.Interface(7) != 32 || s.Sampler(256) != 100 || s.Sampler(257) != 1000 || d.InitTime() != 1_780_000_000_000 {
		t.Errorf("rates %v, initialised %d", s.Rates(), d.InitTime())
	}
	// What the exporter sends again is no longer from before the restart.
	r.tell(3, 256, 8, 100)
	d.Template(257).Renew(r.now.UnixMilli())
	for _, x := range d.Templates() {
		if x.Restored() {
			t.Errorf("template %d is marked as restored after it was sent", x.ID)
		}
	}
}

// The slow twin of the file: at any time, a restart knows what the store knew at the last save.
func TestRandomHistories(t *testing.T) {
	rnd := rand.New(rand.NewPCG(chance.Seed(t), 0))
	r := newRig(t)
	want := ""
	for range 1000 {
		r.now = r.now.Add(time.Duration(rnd.IntN(120)) * time.Second)
		switch x := rnd.IntN(100); {
		case x < 60:
			r.tell(rnd.IntN(30), uint16(256+rnd.IntN(5)), 1+rnd.IntN(20), 1+rnd.Uint32N(1000))
		case x < 70:
			if d, why := r.store.Domain(key(rnd.IntN(30)), r.now.UnixMilli()); why == template.None {
				d.Withdraw(uint16(256 + rnd.IntN(5)))
			}
		case x < 73: // an exporter falls silent for good
			r.store.Expire(r.now.Add(23 * time.Hour).UnixMilli())
		case x < 95:
			r.save()
			want = settled(r.store)
		default:
			r.restart()
			if got := settled(r.store); got != want {
				t.Fatalf("after a restart the store knows\n%s\nwant what it knew at the last save\n%s", got, want)
			}
		}
	}
	if s := r.file.Stats(); s.SetAside != "" {
		t.Errorf("%+v", s)
	}
}

// settled is known without times, which are written now and then only.
func settled(s *template.Store) string {
	var b strings.Builder
	s.Each(func(d *template.Domain) {
		if _, ok := d.AppendMemory(nil); !ok {
			return
		}
		fmt.Fprintf(&b, "%v %v", d.Key, d.Sampling().Rates())
		for _, t := range d.Templates() {
			fmt.Fprintf(&b, " %x", t.Wire)
		}
		b.WriteString("\n")
	})
	return b.String()
}

func TestWorkIsThatOfTheChanges(t *testing.T) {
	r := newRig(t)
	for n := range 200 {
		r.tell(n, 256, 20, 100)
	}
	r.save()
	before := r.file.Stats()
	size := r.size()
	for range 10 {
		r.save()
	}
	if got := r.file.Stats(); got.Written != before.Written || r.size() != size {
		t.Errorf("%d octets written where nothing had changed", got.Written-before.Written)
	}
	r.tell(100, 256, 21, 100)
	r.save()
	if got := r.file.Stats().Written - before.Written; got == 0 || got > 300 {
		t.Errorf("%d octets written for one template of 21 fields, want some 200", got)
	}
	// Templates that are only sent again are written once in a while, so that they do not expire.
	wrote := r.file.Stats().Written
	for range 24 * 6 {
		r.now = r.now.Add(10 * time.Minute)
		r.store.Each(func(d *template.Domain) {
			d.Heard(r.now.UnixMilli())
			for _, x := range d.Templates() {
				x.Renew(r.now.UnixMilli())
			}
		})
		r.file.Save()
	}
	wrote = r.file.Stats().Written - wrote
	if least, most := uint64(size)*18, uint64(size)*60; wrote < least || wrote > most {
		t.Errorf("%d octets written in a day of a file of %d, want %d to %d", wrote, size, least, most)
	}
	r.now = r.now.Add(22 * time.Hour)
	r.restart()
	if got := r.file.Stats().Restored; got.Templates != 200 {
		t.Errorf("%+v after a day of refreshes and 22 hours, want all 200", got)
	}
}

func TestTemplatesThatWereNotSentForLong(t *testing.T) {
	r := newRig(t)
	r.tell(1, 256, 5, 100)
	r.now = r.now.Add(20 * time.Hour)
	r.tell(1, 257, 5, 100)
	r.tell(2, 256, 5, 100)
	r.save()
	r.now = r.now.Add(5 * time.Hour)
	r.restart()
	if got := r.file.Stats().Restored; got != (state.Restored{Domains: 2, Templates: 2, Expired: 1}) {
		t.Errorf("Restored = %+v, want 2 templates, 1 expired", got)
	}
	r.now = r.now.Add(25 * time.Hour)
	r.restart()
	if got := r.file.Stats().Restored; got != (state.Restored{Expired: 3}) || len(r.store.Domains()) != 0 {
		t.Errorf("Restored = %+v with %d domains, want 3 expired and none", got, len(r.store.Domains()))
	}
	r.save()
	r.restart()
	if got := r.file.Stats().Restored; got != (state.Restored{}) {
		t.Errorf("Restored = %+v, want nothing: what expired is no longer in the file", got)
	}
}

// A clock that was set back must not make templates immortal, or of the future.
func TestClockThatWasSetBack(t *testing.T) {
	r := newRig(t)
	r.tell(1, 256, 5, 100)
	r.save()
	r.now = r.now.Add(-365 * 24 * time.Hour)
	r.restart()
	i := r.store.Domains()
	if len(i) != 1 || i[0].LastSeen > r.now.UnixMilli() || i[0].Templates[0].Seen > r.now.UnixMilli() {
		t.Errorf("%+v, want times that are not after now", i)
	}
}

func TestFileIsBounded(t *testing.T) {
	r := newRig(t, func(r *rig) { r.cfg.MaxSize = bytesize.MiB })
	for round := range 10 {
		for n := range 200 {
			r.tell(n, 256, 100+round, 100)
		}
		r.save()
		if got := r.size(); got > int64(r.cfg.MaxSize) {
			t.Fatalf("the file has %d octets, want at most %d", got, int64(r.cfg.MaxSize))
		}
	}
	for n := range 2000 { // more than fits
		r.tell(n, 256, 300, 100)
	}
	r.save()
	s := r.file.Stats()
	if got := r.size(); got > int64(r.cfg.MaxSize) || s.Unsaved == 0 || s.Domains == 0 || s.Unsaved+s.Domains != 2000 {
		t.Errorf("%d octets, %d domains saved, %d not; want at most %d octets and 2000 domains in all", got, s.Domains, s.Unsaved, int64(r.cfg.MaxSize))
	}
	r.restart()
	if got := r.file.Stats(); got.Restored.Domains != s.Domains {
		t.Errorf("%d domains restored, want the %d that were saved", got.Restored.Domains, s.Domains)
	}
}

// A Save that would write very much leaves something to the next, and in the end nothing is left out.
func TestManyChangesAtOnce(t *testing.T) {
	r := newRig(t)
	r.tell(0, 256, 5, 100)
	r.save()
	for n := range 1300 { // some 5 MB
		for id := range uint16(2) {
			r.tell(n, 256+id, 500, 100)
		}
	}
	saves, before := 1, r.file.Stats().Written
	for r.file.Save() {
		saves++
		if wrote := r.file.Stats().Written - before; wrote > 2*state.MostBatch*uint64(saves) {
			t.Errorf("%d octets in %d saves", wrote, saves)
		}
	}
	want := known(r.store)
	r.restart()
	if known(r.store) != want {
		t.Error("something was left out")
	}
	t.Logf("%d saves, %d octets", saves, r.size())
}

func (r *rig) wantAside(why string) {
	r.Helper()
	s := r.file.Stats()
	if s.SetAside != r.cfg.File+".bad" || !strings.Contains(r.log.String(), why) {
		r.Errorf("set aside as %q, want %q with %q in the log:\n%s", s.SetAside, r.cfg.File+".bad", why, r.log.String())
	}
	if _, err := os.Stat(s.SetAside); err != nil {
		r.Error(err)
	}
	r.tell(77, 300, 3, 7) // it goes on
	r.save()
	want := known(r.store)
	r.restart()
	if got := known(r.store); got != want || r.file.Stats().SetAside != "" {
		r.Errorf("the new file does not keep what the store knows")
	}
}

func TestForeignFilesAreSetAside(t *testing.T) {
	for name, x := range map[string]struct{ content, why string }{
		"text":          {"not a state at all, but something else", "not a state file of Weir"},
		"short":         {"w", "not a state file of Weir"},
		"zeros":         {strings.Repeat("\x00", 100), "not a state file of Weir"},
		"bad header":    {"weirstat\x01\x00\x00\x00\x00\x00\x00\x00", "damaged"},
		"later version": {"weirstat\x02\x00\x00\x00\x00\x00\x00\x00", "format is version 2"},
		"too large":     {strings.Repeat("x", 3<<20), "more than twice max_size"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(r *rig) {
				r.cfg.MaxSize = bytesize.MiB
				if err := os.MkdirAll(filepath.Dir(r.cfg.File), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(r.cfg.File, []byte(x.content), 0o600); err != nil {
					t.Fatal(err)
				}
			})
			r.wantAside(x.why)
		})
	}
}

// Whatever was cut off or turned over in a file, what came before it is known again, and the collector goes on.
func TestDamage(t *testing.T) {
	r := newRig(t)
	var ends []int64   // of frames
	var after []string // what is known up to there
	for n := range 4 {
		r.tell(n, 256, 3, 100)
		r.save()
		ends, after = append(ends, r.size()), append(after, settled(r.store))
	}
	whole, err := os.ReadFile(r.cfg.File)
	if err != nil {
		t.Fatal(err)
	}
	check := func(t *testing.T, content []byte, bad int, torn bool) {
		r := newRig(t, func(r *rig) {
			if err := errorsOf(os.MkdirAll(filepath.Dir(r.cfg.File), 0o700), os.WriteFile(r.cfg.File, content, 0o600)); err != nil {
				t.Fatal(err)
			}
		})
		i, _ := slices.BinarySearch(ends, int64(bad)+1) // the frame that is bad
		want := ""
		if i > 0 {
			want = after[i-1]
		}
		if got := settled(r.store); got != want {
			t.Fatalf("octet %d of %d: the store knows\n%s\nwant\n%s", bad, len(content), got, want)
		}
		if aside := r.file.Stats().SetAside != ""; torn && aside {
			t.Fatalf("octet %d: a file that is only not complete was set aside", bad)
		}
		r.tell(77, 300, 3, 7)
		r.save()
		want = settled(r.store)
		r.restart()
		if got := settled(r.store); got != want {
			t.Fatalf("octet %d: after going on and a restart the store knows\n%s\nwant\n%s", bad, got, want)
		}
	}
	for cut := int(ends[0]); cut < len(whole); cut += 5 {
		check(t, whole[:cut], cut, true)
	}
	for at := 16; at < len(whole); at += 7 {
		turned := slices.Clone(whole)
		turned[at] ^= 0x55
		check(t, turned, at, false)
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// A disk that takes nothing stops nobody, is told, and is forgiven.
func TestDiskThatFails(t *testing.T) {
	r := newRig(t)
	r.tell(1, 256, 5, 100)
	r.save()
	dir := filepath.Dir(r.cfg.File)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for n := range 2000 { // until it is written anew
		r.tell(n%50, 256, 400+n%100, 100)
		if n%50 == 49 && r.file.Stats().Failures == 0 {
			r.file.Save()
		}
	}
	s := r.file.Stats()
	if s.Failures != 1 || s.Problem == "" || strings.Count(r.log.String(), "not saved") != 1 {
		t.Errorf("%+v, log\n%s\nwant a failure, shown and logged once", s, r.log.String())
	}
	r.file.Save()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r.save()
	want := known(r.store)
	r.restart()
	if known(r.store) != want || !strings.Contains(r.log.String(), "saved again") {
		t.Errorf("not kept after the disk came back; log\n%s", r.log.String())
	}
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	_, err := state.Open(state.Config{File: dir, Interval: time.Second, MaxSize: bytesize.MiB}, state.Deps{
		Log: slog.New(slog.DiscardHandler), Store: template.New(template.DefaultConfig()), Parse: netflow.ParseTemplate, Now: time.Now,
	})
	if err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("Open of a directory: %v", err)
	}
}

// Others may keep something beside each domain.
func TestParts(t *testing.T) {
	value := map[template.Key]string{}
	recalled := map[template.Key]string{}
	r := newRig(t, func(r *rig) {
		r.parts = []state.Part{{
			Kind:   state.FirstPart,
			Append: func(b []byte, k template.Key) []byte { return append(b, value[k]...) },
			Recall: func(k template.Key, b []byte) { recalled[k] = string(b) },
		}}
	})
	for n := range 5 {
		r.tell(n, 256, 5, 100)
		value[key(n)] = fmt.Sprint("sequence ", n)
	}
	r.save()
	value[key(3)] = "sequence 33"
	delete(value, key(4))
	r.save()
	wrote := r.file.Stats().Written
	r.save()
	if r.file.Stats().Written != wrote {
		t.Error("parts that did not change were written again")
	}
	want := fmt.Sprint(value)
	value = map[template.Key]string{}
	r.restart()
	if got := fmt.Sprint(recalled); got != want {
		t.Errorf("recalled %s, want %s", got, want)
	}
	r.parts = nil // a Weir that does not know the part
	r.restart()
	if got := r.file.Stats(); got.Restored.Domains != 5 || got.SetAside != "" {
		t.Errorf("%+v, want the 5 domains", got)
	}
}

// Saving takes nothing away from those who write to the store at the same time.
func TestSaveBesideWriters(t *testing.T) {
	r := newRig(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range 2000 {
			r.tell(n%20, 256+uint16(n%3), 1+n%30, 1+uint32(n))
		}
	}()
	for saving := true; saving; {
		select {
		case <-done:
			saving = false
		default:
			r.file.Save()
		}
	}
	r.save()
	want := settled(r.store)
	r.restart()
	if got := settled(r.store); got != want {
		t.Errorf("the store knows\n%s\nwant\n%s", got, want)
	}
}

func TestValidate(t *testing.T) {
	c := state.Config{}
	err := c.Validate()
	if err == nil || !strings.Contains(err.Error(), "interval: found 0s") || !strings.Contains(err.Error(), "max_size: found 0,") {
		t.Errorf("Validate = %v, want both problems", err)
	}
	if c = state.Default(); c.Validate() != nil {
		t.Errorf("the default: %v", c.Validate())
	}
}

// FuzzRead reads any file: nothing panics, memory is bounded by the file, and what it is understood to say is what the
// next file says.
func FuzzRead(f *testing.F) {
	now := time.UnixMilli(1_790_000_000_000)
	cfg := template.DefaultConfig()
	cfg.MaxMemory = bytesize.MiB
	store := template.New(cfg)
	f.Add(state.Content(store))
	for n := range 3 {
		d, _ := store.Domain(key(n), now.UnixMilli())
		t, why := netflow.ParseTemplate(10, false, []byte{1, 0, 0, 2, 0, 8, 0, 4, 0, 12, 0, 4})
		if why != template.None {
			f.Fatal(why)
		}
		d.Put([]*template.Template{t}, now.UnixMilli())
		d.SetRates([]template.Rate{{Scope: template.SamplingScope(n), ID: 3, Rate: 100}})
	}
	f.Add(state.Content(store))
	f.Fuzz(func(t *testing.T, b []byte) {
		// The CRCs are made right too, or no mutation would get further.
		for _, content := range [][]byte{b, state.Repair(b)} {
			store := template.New(cfg)
			_ = state.Read(content, store, now) // damage is no reason to forget what came before
			if most := 200 * int64(len(content)); store.Memory() > min(most, int64(cfg.MaxMemory)) {
				t.Fatalf("%d octets remembered of a file of %d", store.Memory(), len(content))
			}
			again := template.New(cfg)
			if err := state.Read(state.Content(store), again, now); err != nil {
				t.Fatalf("read the file that was made of it: %v", err)
			}
			if got, want := known(again), known(store); got != want {
				t.Fatalf("the store knows\n%s\nand from its own file\n%s", want, got)
			}
			store.Expire(now.Add(cfg.Timeout + time.Second).UnixMilli())
			if got := store.Memory(); got != 0 {
				t.Fatalf("%d octets are charged after everything expired", got)
			}
		}
	})
}

// BenchmarkSave saves the state of ten thousand exporters, of which so many have changed.
func BenchmarkSave(b *testing.B) {
	for _, changed := range []int{0, 1, 1000} {
		b.Run(fmt.Sprint(changed), func(b *testing.B) {
			store := template.New(template.DefaultConfig())
			cfg := state.Default()
			cfg.File = filepath.Join(b.TempDir(), "state")
			file, err := state.Open(cfg, state.Deps{Log: slog.New(slog.DiscardHandler), Store: store, Parse: netflow.ParseTemplate, Now: time.Now})
			if err != nil {
				b.Fatal(err)
			}
			defer file.Close()
			wire := []byte{1, 0, 0, 20}
			for i := range byte(20) {
				wire = append(wire, 0, i+1, 0, 4)
			}
			tell := func(n int, rate uint32) {
				d, why := store.Domain(key(n), 0)
				if why != template.None {
					b.Fatal(why)
				}
				if len(d.Templates()) == 0 {
					for id := range byte(5) {
						wire[1] = id
						t, why := netflow.ParseTemplate(10, false, wire)
						if why != template.None {
							b.Fatal(why)
						}
						d.Put([]*template.Template{t}, 0)
					}
				}
				d.SetRates([]template.Rate{{Scope: template.OfDomain, Rate: rate}})
			}
			for n := range 10_000 {
				tell(n, 1)
			}
			for file.Save() {
			}
			before, rate := file.Stats().Written, uint32(1)
			for b.Loop() {
				rate++
				for n := range changed {
					tell(n, rate)
				}
				file.Save()
			}
			b.ReportMetric(float64(file.Stats().Written-before)/float64(b.N), "B-written/op")
		})
	}
}
