package feed_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/feed"
	"github.com/weirhq/weir/internal/chance"
)

// fill gives every field of v a value that is not zero.
func fill(v reflect.Value, n *int) {
	*n++
	switch x := v.Addr().Interface().(type) {
	case *netip.Addr:
		*x = netip.AddrFrom4([4]byte{192, 0, 2, byte(*n)})
		return
	case *netip.Prefix:
		*x = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, 0}), 24)
		return
	case *time.Time:
		*x = time.Unix(int64(1e9+*n), 5).UTC()
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, f := range v.Fields() {
			fill(f, n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{fmt.Sprint("k", *n): "ä\n\"<&>\u2028"}))
	case reflect.String:
		v.SetString(fmt.Sprint("s", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Int8:
		v.SetInt(1)
	default:
		panic("a model has a field of type " + v.Type().String() + ": say here what to fill it with")
	}
}

func TestEveryFieldTravels(t *testing.T) {
	want := &estate.Model{}
	n := 0
	fill(reflect.ValueOf(want).Elem(), &n)
	got := feed.Model(feed.Encode(want))
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("model after the way: -want +got\n%s", diff)
	}
	if n < 80 {
		t.Errorf("%d values were filled in; the test shows nothing", n)
	}
}

// site is an estate of n VMs of two VIFs each.
func site(n int) *estate.Model {
	m := &estate.Model{Merged: true, Pools: []estate.Pool{{Key: "pool1", Name: "pool1"}}, Networks: []estate.Network{{Key: "net0", Name: "prod", Pool: "pool1"}}}
	hosts := max(1, n/50)
	for i := range hosts {
		m.Hosts = append(m.Hosts, estate.Host{
			Key: fmt.Sprintf("host%d", i), Name: fmt.Sprintf("xcp%d", i), Pool: "pool1",
			Exporters: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}, Bridges: []estate.Bridge{{Name: "xenbr0"}},
		})
	}
	for i := range n {
		m.VMs = append(m.VMs, vm(i, hosts))
	}
	return m
}

func vm(i, hosts int) estate.VM {
	uuid := func(kind int) string { return fmt.Sprintf("%08x-%04x-4c06-9a53-%012x", uint32(i)*2654435761, kind, i) }
	v := estate.VM{
		Key: uuid(0), UUID: uuid(0), Name: fmt.Sprintf("vm-%05d", i), Pool: "pool1", Host: fmt.Sprintf("host%d", i%hosts), Origin: "file,host",
		Tags: []string{"prod"}, Attributes: map[string]string{"power_state": "running"},
	}
	for k := range 2 {
		v.VIFs = append(v.VIFs, estate.VIF{
			Key: uuid(k + 1), UUID: uuid(k + 1), Device: fmt.Sprint(k), Network: "net0", MAC: estate.MAC(0x020000000000 + 2*i + k), Origin: "host",
			IPs:   []netip.Addr{netip.AddrFrom4([4]byte{10, byte(100 + k), byte(i >> 8), byte(i)})},
			Ports: []estate.Port{{Host: v.Host, Bridge: "xenbr0", OFPort: uint32(i*2 + k + 1), Name: fmt.Sprintf("vif%d.%d", i, k), Since: time.Unix(1_800_000_000, 0).UTC()}},
		})
	}
	return v
}

// A delta leads to the same records in the same order, and is as long as what changed.
func TestDelta(t *testing.T) {
	r := rand.New(rand.NewPCG(chance.Seed(t), 1))
	from := feed.Encode(site(300))
	created := 1000 // no two records of an estate are the same
	for range 60 {
		m := feed.Model(from)
		changes := r.IntN(6)
		for range changes {
			i := r.IntN(len(m.VMs))
			switch r.IntN(4) {
			case 0:
				m.VMs[i].Name += "x"
			case 1:
				m.VMs = append(m.VMs[:i], m.VMs[i+1:]...)
			case 2:
				m.VMs = append(m.VMs[:i], append([]estate.VM{vm(created, 6)}, m.VMs[i:]...)...)
				created++
			case 3: // moves
				v := m.VMs[i]
				m.VMs = append(append(m.VMs[:i:i], m.VMs[i+1:]...), v)
			}
		}
		to := feed.Encode(m)
		got, inserted, runs, err := feed.Delta(from, to)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(to) || inserted > len(to) {
			t.Fatalf("delta leads to %d records, want %d", len(got), len(to))
		}
		for i := range to {
			if got[i] != to[i] && !bytes.Equal(feed.Message(nil, got[i:i+1], 1), feed.Message(nil, to[i:i+1], 1)) {
				t.Fatalf("record %d differs", i)
			}
		}
		if changes <= 1 && (inserted > 1 || runs > 4) {
			t.Errorf("one change took %d records and %d runs", inserted, runs)
		}
		from = to
	}
}

// What is read of hostile text is bounded by what may be read, and what is believed hashes to what was said.
func FuzzRead(f *testing.F) {
	a, b := feed.Encode(site(3)), feed.Encode(site(5))
	f.Add(append(feed.Message(nil, a, 1), feed.Message(a, b, 2)...))
	f.Add(feed.Message(nil, nil, 1))
	f.Add([]byte(`{"feed":1}` + "\n"))
	f.Add([]byte(`{"feed":1,"revision":1,"records":4000000,"ops":[[0,0,4000000]],"sum":"x"}` + "\n"))
	f.Add([]byte(`{"feed":1,"revision":1,"ops":[[-1,2,3],[9223372036854775807,9223372036854775807,1]],"sum":"x"}` + "\n"))
	f.Add([]byte(`{"feed":1,"live":["192.0.2.1",""]}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		const most = 1 << 12
		list, octets, err := feed.ReadAll(bytes.NewReader(text), most)
		if err == nil || octets > most {
			t.Errorf("%d octets of records were taken, at most %d are: %v", octets, most, err)
		}
		m := feed.Model(list)
		m.Merged = true
		if _, err := estate.Compile(m); err != nil {
			t.Errorf("a merged estate was refused: %v", err)
		}
	})
}

func TestReadRefuses(t *testing.T) {
	two := feed.Encode(site(2))
	good := feed.Message(nil, two, 7)
	other := feed.Message(two, feed.Encode(site(3)), 8)
	replace := func(b []byte, old, with string) []byte { return bytes.Replace(b, []byte(old), []byte(with), 1) }
	for name, c := range map[string]struct {
		text []byte
		want string
	}{
		"garbage":                {[]byte("\x00\x01\x02\n"), "read header"},
		"later version":          {replace(good, `"feed":1`, `"feed":2`), "found version 2, want 1"},
		"cut":                    {good[:len(good)-5], io.ErrUnexpectedEOF.Error()},
		"another sum":            {replace(good, `"sum":"`, `"sum":"0`), "it is "},
		"changed record":         {replace(good, "vm-00001", "vm-00002"), "it is "},
		"too many":               {replace(good, `"records":`, `"records":9`), "unexpected EOF"},
		"run too long":           {replace(good, `"ops":[[0,0,`, `"ops":[[0,0,9`), "out of range"},
		"run into none":          {replace(good, `"ops":[[0,`, `"ops":[[0,1`), "out of range"},
		"a gap":                  {other, "another state"},
		"records of no revision": {replace(good, `"revision":7,`, ``), "records of no state"},
	} {
		if _, _, err := feed.ReadAll(bytes.NewReader(c.text), 1<<20); err == nil || !bytes.Contains([]byte(err.Error()), []byte(c.want)) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.want)
		}
	}
	if _, _, err := feed.ReadAll(bytes.NewReader(good), 100); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("records of more than 100 octets were taken: %v", err)
	}
	unknown := append(bytes.Clone(bytes.TrimSuffix(replace(good, `"feed":1`, `"feed":1,"of_tomorrow":[{}]`), nil)), `{"feed":1,"what":"else"}`+"\n"...)
	if list, _, err := feed.ReadAll(bytes.NewReader(unknown), 1<<20); !errors.Is(err, io.EOF) || len(list) != len(two) {
		t.Errorf("what is not known was not passed over: %d records, %v", len(list), err)
	}
}
