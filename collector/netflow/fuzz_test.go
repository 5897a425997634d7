package netflow_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/weirhq/weir/bench/corpus"
	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/template"
)

var update = flag.Bool("update", false, "write the seeds of fuzz targets to testdata/fuzz")

// sequence frames datagrams, so that one input of a fuzz target is several: each has its length in two octets before
// it.
func sequence(datagrams ...[]byte) []byte {
	var p packet
	for _, b := range datagrams {
		p = p.u16(uint16(len(b))).bytes(b)
	}
	return p
}

// split takes apart what sequence made, or anything else.
func split(input []byte) [][]byte {
	var list [][]byte
	for len(input) >= 2 {
		n := min(int(binary.BigEndian.Uint16(input)), len(input)-2)
		list = append(list, input[2:2+n])
		input = input[2+n:]
	}
	return list
}

// seeds are sequences of datagrams of every kind.
func seeds() map[string][]byte {
	r4 := record("10.0.0.1", "10.0.0.2", 1000, 53, 17, 500, 4)
	r5 := packet{}.addr("10.0.0.1", "10.0.0.2", "10.0.0.3").u16(7, 9).u32(3, 180, uptime-5000, uptime-1000).
		u16(1234, 443).u8(0, 0x1b, 6, 0x20).u16(65001, 65002).u8(24, 16).u16(0)
	m := map[string][]byte{
		"v5":      sequence(v5(0x4000|100, 0x0203, r5, r5), v5(0, 0)),
		"v9":      sequence(v9(1, set(0, templateOf(256, basic...)), set(256, r4, r4)), v9(1, set(256, r4))),
		"v9-late": sequence(v9(1, set(256, r4)), v9(1, set(0, templateOf(256, basic...)))),
		"v9-options": sequence(v9(1, set(1, optionsOf9(300, 1, f{id: 2, length: 4}, f{id: 48, length: 1}, f{id: 50, length: 4}, f{id: 82, length: 4})),
			set(300, packet{}.u32(7).u8(1).u32(100).bytes([]byte("eth0"))),
			set(0, templateOf(256, f{id: 8, length: 4}, f{id: 48, length: 1}, f{id: 10, length: 2}, f{id: 22, length: 4}, f{id: 21, length: 4})),
			set(256, packet{}.addr("10.0.0.1").u8(1).u16(7).u32(uptime-9, uptime)))),
		"ipfix": sequence(ipfix(1, set(2, templateOf(256, basic...)), set(256, r4)), ipfix(1, set(2, packet{}.u16(256, 0)), set(256, r4))),
		"ipfix-variable": sequence(ipfix(1, set(2, templateOf(300, f{id: 82, length: variable}, f{id: 27, length: 16}, f{id: 95, length: variable}, f{id: 1, length: 8}, f{id: 892, length: variable, enterprise: 6876})),
			set(300, packet{}.text("eth0").addr("2001:db8::1").text("\x03\x00\x50").u64(9).longText("key")))),
		"ipfix-options": sequence(ipfix(1, set(3, optionsOf(300, 1, f{id: 302, length: 2}, f{id: 305, length: 4}, f{id: 306, length: 4}), optionsOf(301, 1, f{id: 149, length: 4}, f{id: 160, length: 8})),
			set(300, packet{}.u16(1).u32(1, 99)), set(301, packet{}.u32(1).u64(uint64(exported-10_000))),
			set(2, templateOf(256, f{id: 8, length: 4}, f{id: 302, length: 2}, f{id: 22, length: 4}, f{id: 21, length: 4})),
			set(256, packet{}.addr("10.0.0.1").u16(1).u32(2000, 7000)))),
		"ipfix-lists": sequence(ipfix(1, set(2, templateOf(256, f{id: 8, length: 4}), templateOf(257, f{id: 291, length: variable}, f{id: 292, length: variable}, f{id: 293, length: variable})),
			set(257, packet{}.text("\x03\x00\x08\x00\x04\x0a\x00\x00\x01").text("\x03\x01\x00\x0a\x00\x00\x01").text("\x03\x01\x00\x00\x08\x0a\x00\x00\x01")))),
	}
	var all packet
	for _, x := range corpus.Random(1) {
		all = all.bytes(sequence(append(x.Templates, x.Data...)...))
	}
	m["benchmarks"] = all
	return m
}

// corpusSeeds adds the datagrams of the corpora, where they are there: those of a case as one sequence.
func corpusSeeds(f *testing.F, add func([]byte)) {
	files, _ := filepath.Glob(filepath.Join(corpusDir, "*.dat"))
	if len(files) == 0 {
		return
	}
	for _, g := range corpora(f) {
		var datagrams [][]byte
		for _, p := range g.payloads {
			datagrams = append(datagrams, p.data)
		}
		add(sequence(datagrams...))
	}
}

// FuzzDecode decodes a sequence of datagrams and holds every row against the slow twin.
func FuzzDecode(f *testing.F) {
	corpusSeeds(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, input []byte) {
		c, slow := newCollector(t, func(cfg *template.Config) { cfg.MaxHeld, cfg.MaxFields, cfg.MaxDomains = 0, 1<<20, 1<<20 }), newTwin()
		for i, b := range split(input) {
			first := c.out.Len()
			err := c.decoder.Decode(b, exporter, received, c.out)
			var e *netflow.Error
			if err != nil && (!errors.As(err, &e) || e.Reason == template.None || e.Error() == "") {
				t.Fatalf("datagram %d: Decode = %v (%T), want an *Error with a reason", i, err, err)
			}
			if rows := c.out.Len() - first; rows > len(b)/4 {
				t.Fatalf("datagram %d: %d rows of %d octets", i, rows, len(b))
			}
			if err := sameRows(c.out, first, slow.rows(b, exporter, received)); err != nil {
				t.Fatalf("datagram %d: %v", i, err)
			}
		}
		if err := spareRowsAreZero(c.out); err != nil {
			t.Fatal(err)
		}
		records, flows := uint64(0), uint64(0)
		for _, d := range c.store.Domains() {
			records += d.Counts.Flows + d.Counts.NoFlow + d.Counts.OptionRecords
			flows += d.Counts.Flows
		}
		if records != uint64(slow.records) || flows != uint64(c.out.Len()) {
			t.Fatalf("%d records, %d flows counted; the twin has %d records, the batch %d rows", records, flows, slow.records, c.out.Len())
		}
	})
}

// FuzzHold decodes a sequence of datagrams under tight bounds and with data that waits for templates: bounds hold
// and counters balance.
func FuzzHold(f *testing.F) {
	corpusSeeds(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, input []byte) {
		c := newCollector(t, func(cfg *template.Config) {
			cfg.MaxHeld, cfg.MaxTemplates, cfg.MaxDomains, cfg.MaxMemory = 4096, 3, 2, 64<<10
		})
		for _, b := range split(input) {
			_ = c.decoder.Decode(b, exporter, received, c.out)
		}
		if c.out.Len() > len(input)/4 {
			t.Fatalf("%d rows of %d octets", c.out.Len(), len(input))
		}
		if got := c.store.Memory(); got > int64(c.store.Config().MaxMemory) {
			t.Fatalf("the store has %d bytes, want at most %d", got, c.store.Config().MaxMemory)
		}
		if n := len(c.store.Domains()); n > 6 { // two of each protocol, at most
			t.Fatalf("%d domains", n)
		}
		for _, d := range c.store.Domains() {
			if d.Counts.Held != d.Counts.Replayed+uint64(d.HeldNow) || len(d.Templates) > 3 {
				t.Fatalf("%d held, %d replayed, %d held now, %d templates", d.Counts.Held, d.Counts.Replayed, d.HeldNow, len(d.Templates))
			}
		}
		if err := spareRowsAreZero(c.out); err != nil {
			t.Fatal(err)
		}
		c.store.Expire(received + 48*3600*1000)
		if got := c.store.Memory(); got != 0 {
			t.Fatalf("the store has %d bytes after everything expired", got)
		}
	})
}

// FuzzTemplates gives a set of template records to the decoder and to the Describer: they know the same afterwards.
func FuzzTemplates(f *testing.F) {
	for _, options := range []bool{false, true} {
		for _, is9 := range []bool{false, true} {
			f.Add([]byte(templateOf(256, basic...).bytes(templateOf(257, basic[:2]...))), options, is9)
			f.Add([]byte(optionsOf(256, 1, basic...)), options, is9)
			f.Add([]byte(optionsOf9(256, 1, basic...)), options, is9)
			f.Add([]byte(templateOf(256, basic...).u16(256, 0, 2, 0)), options, is9)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, options, is9 bool) {
		if len(body) > 60_000 {
			return
		}
		message, id := ipfix, uint16(2)
		if is9 {
			message, id = v9, 0
		}
		if options {
			id++
		}
		b := message(1, set(id, body))
		c := newCollector(t, func(cfg *template.Config) { cfg.MaxFields, cfg.MaxTemplates = 1<<20, 1<<20 })
		_ = c.decoder.Decode(b, exporter, received, c.out)
		want := map[uint16]netflow.Layout{}
		for _, m := range netflow.NewDescriber().Describe(b, exporter).Messages {
			for _, s := range m.Sets {
				for _, l := range s.Layouts {
					switch {
					case l.Problem != "" && l.ID >= 256:
						delete(want, l.ID)
					case l.Problem != "":
					case l.Withdrawal && l.ID < 256:
						clear(want)
					case l.Withdrawal:
						delete(want, l.ID)
					default:
						want[l.ID] = l
					}
				}
			}
		}
		if c.out.Len() != 0 {
			t.Fatalf("%d rows of templates", c.out.Len())
		}
		got := c.domain().Templates
		if len(got) != len(want) {
			t.Fatalf("%d templates, the Describer has %d", len(got), len(want))
		}
		for _, x := range got {
			w := want[x.ID]
			if x.Fields != len(w.Fields) || x.Options != w.Options || x.Length < 1 {
				t.Fatalf("template %+v, the Describer has %+v", x, w)
			}
		}
	})
}

// FuzzDescribe describes a sequence of datagrams: every element is in its datagram, there are not too many of them,
// and JSON takes it all.
func FuzzDescribe(f *testing.F) {
	corpusSeeds(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, input []byte) {
		d := netflow.NewDescriber()
		for _, b := range split(input) {
			g := d.Describe(b, exporter)
			n := 0
			for _, m := range g.Messages {
				for _, s := range m.Sets {
					n += checkRecords(t, b, s.Records)
				}
			}
			if n > 4096+16*len(b) {
				t.Fatalf("%d elements of %d octets", n, len(b))
			}
			if _, err := json.Marshal(g); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func checkRecords(t *testing.T, b []byte, records []netflow.Record) int {
	n := 0
	for _, r := range records {
		for _, e := range r.Elements {
			n++
			if e.Offset < r.Offset || e.Offset+e.Length > r.Offset+r.Length || string(e.Raw) != string(b[e.Offset:e.Offset+e.Length]) {
				t.Fatalf("element %+v is not in its record [%d, +%d)", e, r.Offset, r.Length)
			}
			if l, ok := e.Value.(*netflow.List); ok {
				n += len(l.Elements) + checkRecords(t, b, l.Records)
			}
		}
	}
	return n
}

// The seeds under testdata/fuzz are those that seeds makes: -update writes them.
func TestFuzzSeeds(t *testing.T) {
	for name, b := range seeds() {
		for _, target := range []string{"FuzzDecode", "FuzzHold", "FuzzDescribe"} {
			file := filepath.Join("testdata", "fuzz", target, "seed-"+name)
			want := "go test fuzz v1\n[]byte(" + strconv.Quote(string(b)) + ")\n"
			if *update {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := os.ReadFile(file); err != nil || !slices.Equal(got, []byte(want)) {
				t.Errorf("%s is not what seeds makes (%v): run go test -run TestFuzzSeeds -update", file, err)
			}
		}
	}
}
