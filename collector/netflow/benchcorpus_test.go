package netflow_test

import (
	"encoding/binary"
	"math/rand/v2"
)

// benchCorpus is one kind of datagram that benchmarks decode: distinct values, the same twenty fields in each.
type benchCorpus struct {
	name      string
	records   int // in a datagram
	templates [][]byte
	data      [][]byte
}

// fields20 are the fields of the corpora: what routers send of a flow. The addresses are of the given lengths.
func fields20(ipfix bool, v6 bool) []f {
	address := []f{{id: 8, length: 4}, {id: 12, length: 4}, {id: 15, length: 4}, {id: 9, length: 1}, {id: 13, length: 1}}
	if v6 {
		address = []f{{id: 27, length: 16}, {id: 28, length: 16}, {id: 62, length: 16}, {id: 29, length: 1}, {id: 30, length: 1}}
	}
	times := []f{{id: 22, length: 4}, {id: 21, length: 4}}
	counts := []f{{id: 1, length: 4}, {id: 2, length: 4}}
	if ipfix {
		times = []f{{id: 152, length: 8}, {id: 153, length: 8}}
		counts = []f{{id: 1, length: 8}, {id: 2, length: 8}}
	}
	fields := append(address[:3:3], f{id: 10, length: 4}, f{id: 14, length: 4})
	fields = append(append(fields, counts...), times...)
	fields = append(fields, f{id: 7, length: 2}, f{id: 11, length: 2}, f{id: 4, length: 1}, f{id: 6, length: 1}, f{id: 5, length: 1})
	fields = append(append(fields, address[3:]...), f{id: 16, length: 4}, f{id: 17, length: 4}, f{id: 61, length: 1}, f{id: 89, length: 1})
	return fields
}

// benchCorpora makes n distinct datagrams of each kind.
func benchCorpora(n int) []benchCorpus {
	random := rand.New(rand.NewPCG(1, 2))
	v5corpus := benchCorpus{name: "v5", records: 30}
	for range n {
		records := make([]packet, 30)
		for i := range records {
			start := uptime - random.Uint32N(60_000)
			records[i] = packet{}.u32(random.Uint32(), random.Uint32(), random.Uint32()).u16(uint16(i), 2).
				u32(random.Uint32N(1000), random.Uint32N(1<<20), start-random.Uint32N(5000), start).
				u16(uint16(random.Uint32()), 443).u8(0, 0x1b, 6, 0).u16(1, 2).u8(24, 24).u16(0)
		}
		v5corpus.data = append(v5corpus.data, v5(1, 0, records...))
	}
	corpora := []benchCorpus{v5corpus}
	for _, k := range []struct {
		name    string
		ipfix   bool
		v6      bool
		records int
	}{{"v9-IPv4", false, false, 24}, {"v9-IPv6", false, true, 15}, {"ipfix-IPv4", true, false, 19}, {"ipfix-IPv6", true, true, 13}} {
		fields := fields20(k.ipfix, k.v6)
		message, templates := v9, uint16(0)
		if k.ipfix {
			message, templates = ipfix, 2
		}
		c := benchCorpus{name: k.name, records: k.records, templates: [][]byte{message(1, set(templates, templateOf(256, fields...)))}}
		for range n {
			var body packet
			for range k.records {
				body = body.bytes(benchRecord(random, fields))
			}
			c.data = append(c.data, message(1, set(256, body)))
		}
		corpora = append(corpora, c)
	}
	return corpora
}

// benchRecord makes a record of fields with values that a router could send.
func benchRecord(random *rand.Rand, fields []f) packet {
	var p packet
	for _, x := range fields {
		v := random.Uint64()
		switch x.id {
		case 1, 2:
			v %= 1 << 20
		case 4:
			v = 6
		case 21, 22:
			v = uint64(uptime) - v%60_000
		case 152, 153:
			v = uint64(exported) - v%60_000
		case 61:
			v %= 2
		case 89:
			v = 0x40
		}
		octets := binary.BigEndian.AppendUint64(nil, v)
		if x.length == 16 {
			octets = append(binary.BigEndian.AppendUint64(nil, 0x20010db8<<32|v%64), octets...)
		}
		p = append(p, octets[len(octets)-int(x.length):]...)
	}
	return p
}
