package openflow_test

import (
	"bytes"
	"testing"

	"github.com/weirhq/weir/ovs/openflow"
)

// random flows are what fuzzing begins with.
func seeds(n int) []openflow.Flow {
	r := newSource(1)
	list := make([]openflow.Flow, n)
	for i := range list {
		list[i] = r.flow()
	}
	return list
}

func FuzzMatch(f *testing.F) {
	for _, s := range seeds(100) {
		f.Add([]byte(s.Match))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := openflow.CanonicalMatch(b)
		if err != nil {
			return
		}
		if len(m) > len(b) {
			t.Fatalf("%d octets became %d", len(b), len(m))
		}
		if again, err := openflow.CanonicalMatch([]byte(m)); err != nil || again != m {
			t.Fatalf("canonical %x is %x when read again: %v", m, again, err)
		}
		if !m.Foreign() {
			var terms []openflow.Term
			for term := range m.Terms() {
				terms = append(terms, term)
			}
			if again := openflow.NewMatch(terms...); again != m {
				t.Fatalf("terms of %x make %x", m, again)
			}
		}
		_ = m.String()
	})
}

func FuzzActions(f *testing.F) {
	for _, s := range seeds(200) {
		f.Add([]byte(s.Actions))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return // no message is longer
		}
		a := openflow.CanonicalActions(b)
		if len(a) > len(b) {
			t.Fatalf("%d octets became %d", len(b), len(a))
		}
		if again := openflow.CanonicalActions([]byte(a)); again != a {
			t.Fatalf("canonical %x is %x when read again", a, again)
		}
		if again := openflow.NewActions(a.List()...); again != a {
			t.Fatalf("the list of %x makes %x", a, again)
		}
		_ = a.String()
	})
}

func FuzzFlowStats(f *testing.F) {
	var all []byte
	for _, s := range seeds(50) {
		one := openflow.EncodeFlowStats(s)
		f.Add(one)
		all = append(all, one...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		list, _ := openflow.DecodeFlowStats(b)
		if len(list) > len(b)/56 {
			t.Fatalf("%d flows of %d octets", len(list), len(b))
		}
		for _, s := range list {
			again, err := openflow.DecodeFlowStats(openflow.EncodeFlowStats(s.Flow))
			if err != nil || len(again) != 1 || again[0].Flow != s.Flow {
				t.Fatalf("%s is %v when read again: %v", s.Flow, again, err)
			}
		}
	})
}

func FuzzMessage(f *testing.F) {
	f.Add(uint8(0), []byte{0, 1, 0, 8, 0, 0, 0, 16})
	f.Add(uint8(1), []byte{0, 1, 0, 6})
	f.Add(uint8(6), make([]byte, 24))
	f.Add(uint8(10), append([]byte{0xff, 0xff, 0xff, 0xff, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 4, 0, 0, 0, 0}, 0, 0, 1))
	f.Add(uint8(11), append(make([]byte, 40), 0, 1, 0, 4, 0, 0, 0, 0))
	f.Add(uint8(12), make([]byte, 72))
	f.Fuzz(func(_ *testing.T, kind uint8, b []byte) { _, _ = openflow.DecodeAny(kind, b) })
}

func FuzzGroup(f *testing.F) {
	r := newSource(1)
	for id := range uint32(50) {
		g := r.group(id)
		f.Add(append([]byte{0, byte(8 + len(g.Buckets)), byte(g.Type), 0, 0, 0, 0, byte(id)}, g.Buckets...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := openflow.DecodeGroup(b)
		if err != nil {
			return
		}
		if again := openflow.NewBuckets(g.Buckets.List()...); again != g.Buckets {
			t.Fatalf("the list of %x makes %x", g.Buckets, again)
		}
		_ = g.String()
	})
}

// What a flow says is what its terms and actions are when they are read, in whatever order they were given.
func TestValues(t *testing.T) {
	r := newSource(2)
	for range 5000 {
		p := r.packet()
		m := openflow.NewMatch(p.terms...)
		r.Shuffle(len(p.terms), func(i, j int) { p.terms[i], p.terms[j] = p.terms[j], p.terms[i] })
		if again := openflow.NewMatch(p.terms...); again != m {
			t.Fatalf("%s in another order is %s", m, again)
		}
		for _, want := range p.terms {
			if got := m.Term(want.Field); got.Mask != want.Mask || got.Value != want.Value.And(want.Mask) {
				t.Fatalf("%s says %s of %s, want %s", m, got, want.Field, want)
			}
		}
		f := r.flow()
		if got := openflow.CanonicalActions([]byte(f.Actions)); got != f.Actions {
			t.Fatalf("%s is read as %s", f.Actions, got)
		}
	}
}

// Fields that say nothing are not there, and a foreign field or action is kept as it is.
func TestCanonical(t *testing.T) {
	want := openflow.NewMatch(openflow.InPort(5), openflow.EthType(0x800))
	if got := openflow.NewMatch(openflow.EthType(0x800), openflow.Reg(1, 7, 0), openflow.InPort(5), openflow.InPort(5)); got != want {
		t.Errorf("match with a field of mask 0, and one twice: %s, want %s", got, want)
	}
	foreign := []byte{0, 1, 120 << 1, 4, 1, 2, 3, 4} // ct_nw_src
	m, err := openflow.CanonicalMatch(append(bytes.Clone(foreign), want...))
	if err != nil || !m.Foreign() || string(m) != string(want)+string(foreign) {
		t.Errorf("match with a foreign field: %x, %v", m, err)
	}
	if got := m.String(); got != "in_port=5,dl_type=0x800,unknown(0001f00401020304)" {
		t.Errorf("match with a foreign field is written %s", got)
	}
	unknown := []byte{0, 4, 0, 24, 0, 0, 0, 0, 0xff, 0xff, 0, 16, 0, 0, 0x23, 0x20, 0, 99, 1, 2, 3, 4, 5, 6}
	a := openflow.CanonicalActions(unknown)
	if string(a) != string(unknown) || a.String() != "unknown(ffff0010000023200063010203040506)" {
		t.Errorf("foreign action: %x, written %s", string(a), a)
	}
}
