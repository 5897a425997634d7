package netflow_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/flow"
)

// Times of the packets that tests make, in ms since the epoch: exported at the whole second, received a little later.
const (
	exported = int64(1_790_000_000_000)
	received = exported + 250
	uptime   = uint32(3_600_000)
)

var exporter = netip.MustParseAddr("192.0.2.1")

// f is a field specifier: an element of IANA, or of an enterprise.
type f struct {
	id, length uint16
	enterprise uint32
}

const variable = template.Variable

// packet puts octets together, big endian.
type packet []byte

func (p packet) u8(vs ...uint8) packet { return append(p, vs...) }

func (p packet) u16(vs ...uint16) packet {
	for _, v := range vs {
		p = binary.BigEndian.AppendUint16(p, v)
	}
	return p
}

func (p packet) u32(vs ...uint32) packet {
	for _, v := range vs {
		p = binary.BigEndian.AppendUint32(p, v)
	}
	return p
}

func (p packet) u64(vs ...uint64) packet {
	for _, v := range vs {
		p = binary.BigEndian.AppendUint64(p, v)
	}
	return p
}

func (p packet) addr(as ...string) packet {
	for _, a := range as {
		p = append(p, netip.MustParseAddr(a).AsSlice()...)
	}
	return p
}

func (p packet) bytes(b []byte) packet { return append(p, b...) }

// text is a field of variable length with its one-octet length.
func (p packet) text(s string) packet { return append(append(p, uint8(len(s))), s...) }

// longText is the same with the length in three octets.
func (p packet) longText(s string) packet { return append(p.u8(255).u16(uint16(len(s))), s...) }

// v9 makes a NetFlow 9 datagram of sets.
func v9(domain uint32, sets ...packet) []byte {
	return v9At(domain, uint32(exported/1000), uptime, sets...)
}

func v9At(domain, seconds, uptime uint32, sets ...packet) []byte {
	p := packet{}.u16(9, uint16(len(sets))).u32(uptime, seconds, 1, domain)
	for _, s := range sets {
		p = append(p, s...)
	}
	return p
}

// ipfix makes an IPFIX message of sets.
func ipfix(domain uint32, sets ...packet) []byte {
	p := packet{}.u16(10, 0).u32(uint32(exported/1000), 1, domain)
	for _, s := range sets {
		p = append(p, s...)
	}
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	return p
}

// set puts records into a set.
func set(id uint16, records ...packet) packet {
	p := packet{}.u16(id, 0)
	for _, r := range records {
		p = append(p, r...)
	}
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	return p
}

func specifiers(p packet, fields []f) packet {
	for _, x := range fields {
		if x.enterprise != 0 {
			p = p.u16(x.id|0x8000, x.length).u32(x.enterprise)
		} else {
			p = p.u16(x.id, x.length)
		}
	}
	return p
}

// templateOf is a template record, of either protocol.
func templateOf(id uint16, fields ...f) packet {
	return specifiers(packet{}.u16(id, uint16(len(fields))), fields)
}

// optionsOf9 is an options template record of NetFlow 9.
func optionsOf9(id uint16, scopes int, fields ...f) packet {
	return specifiers(packet{}.u16(id, uint16(4*scopes), uint16(4*(len(fields)-scopes))), fields)
}

// optionsOf is an options template record of IPFIX.
func optionsOf(id uint16, scopes int, fields ...f) packet {
	return specifiers(packet{}.u16(id, uint16(len(fields)), uint16(scopes)), fields)
}

// v5 makes a NetFlow 5 datagram.
func v5(sampling uint16, engine uint16, records ...packet) []byte {
	p := packet{}.u16(5, uint16(len(records))).u32(uptime, uint32(exported/1000), 0, 1).u16(engine, sampling)
	for _, r := range records {
		p = append(p, r...)
	}
	return p
}

// collector is a decoder with its store.
type collector struct {
	testing.TB
	store   *template.Store
	decoder *netflow.Decoder
	out     *flow.Batch
}

func newCollector(t testing.TB, change ...func(*template.Config)) *collector {
	cfg := template.DefaultConfig()
	for _, c := range change {
		c(&cfg)
	}
	store := template.New(cfg)
	return &collector{t, store, netflow.New(netflow.Config{}, store), flow.NewBatch(4)}
}

// decode decodes datagrams that must have no fault.
func (c *collector) decode(datagrams ...[]byte) *flow.Batch {
	c.Helper()
	for i, b := range datagrams {
		if err := c.decoder.Decode(b, exporter, received, c.out); err != nil {
			c.Fatalf("decode datagram %d: %v", i, err)
		}
	}
	return c.out
}

// domain describes the only domain of the store.
func (c *collector) domain() template.Info {
	c.Helper()
	infos := c.store.Domains()
	if len(infos) != 1 {
		c.Fatalf("the store has %d domains, want 1", len(infos))
	}
	return infos[0]
}

// expect compares columns of row i with values in the order name, value, name, value, …
func expect(t testing.TB, b *flow.Batch, i int, pairs ...any) {
	t.Helper()
	if i >= b.Len() {
		t.Fatalf("the batch has %d rows, want a row %d", b.Len(), i)
	}
	for j := 0; j < len(pairs); j += 2 {
		name := pairs[j].(string)
		got := b.Value(name, i)
		if a, ok := got.(flow.Addr); ok {
			got = netip.AddrFrom16(a).Unmap().String()
		}
		if got != pairs[j+1] {
			t.Errorf("row %d: %s = %v (%T), want %v (%T)", i, name, got, got, pairs[j+1], pairs[j+1])
		}
	}
}
