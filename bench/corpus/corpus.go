// Package corpus makes the datagrams that benchmarks decode and send: what routers export, as full as an Ethernet frame
// allows.
//
// Random makes records of twenty fields whose values do not repeat, so that no cache and no branch predictor learns
// them. Estate makes flows of a simulated estate, for when it matters whose they are.
package corpus

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/weirhq/weir/lab/export"
	"github.com/weirhq/weir/lab/flowgen"
)

// Corpus is the datagrams of one exporter.
type Corpus struct {
	Name      string
	Version   uint8
	Exporter  netip.Addr
	Records   int      // in each of Data
	Templates [][]byte // come before Data
	Data      [][]byte
}

// Exported is when random datagrams were exported, ms since epoch UTC.
const Exported = 1_790_000_000_000

const (
	maxPayload = 1472 // octets of UDP over IPv4 in an Ethernet frame
	uptime     = 40 * 24 * time.Hour
)

// Kinds are the names of what Random makes.
var Kinds = []string{"v5", "v9-IPv4", "v9-IPv6", "ipfix-IPv4", "ipfix-IPv6"}

// Random makes n distinct datagrams of each kind: the same ones at every call.
func Random(n int) []Corpus {
	random := rand.New(rand.NewPCG(1, 2))
	wide := func(templates []export.Template) []export.Template { // counters of eight octets, as in most IPFIX
		for t := range templates {
			for i := range templates[t].Fields {
				if f := &templates[t].Fields[i]; f.ID == 1 || f.ID == 2 {
					f.Len = 8
				}
			}
		}
		return templates
	}
	v9 := export.Config{Version: export.NetFlow9, Templates: export.Router(export.UptimeTimes)}
	ipfix := export.Config{Version: export.IPFIX, Templates: wide(export.Router(export.MillisecondTimes))}
	corpora := []Corpus{
		{Version: export.NetFlow5, Records: 30},
		{Version: export.NetFlow9, Records: 24},
		{Version: export.NetFlow9, Records: 15},
		{Version: export.IPFIX, Records: 19},
		{Version: export.IPFIX, Records: 13},
	}
	for i := range corpora {
		c := &corpora[i]
		c.Name, c.Exporter = Kinds[i], netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})
		config := map[uint8]export.Config{export.NetFlow5: {Version: export.NetFlow5}, export.NetFlow9: v9, export.IPFIX: ipfix}[c.Version]
		v6 := c.Name == "v9-IPv6" || c.Name == "ipfix-IPv6"
		switch {
		case v6:
			config.Templates = config.Templates[1:]
		case c.Version != export.NetFlow5:
			config.Templates = config.Templates[:1]
		}
		c.encode(config, Exported, n, func(r *export.Record) { randomRecord(random, r, v6) })
	}
	return corpora
}

// Estate makes n datagrams for each host of estate, exported at now: its IPv4 flows in NetFlow 9 with the twenty fields
// of a router, 24 in a datagram.
func Estate(estate *flowgen.Estate, now time.Time, n int) ([]Corpus, error) {
	const records, warmup = 24, 2 * time.Minute
	generator, err := flowgen.New(flowgen.Config{Estate: estate, Start: now.Add(-warmup), Rate: 1000, Warmup: warmup})
	if err != nil {
		return nil, err
	}
	corpora := make([]Corpus, len(estate.Hosts))
	flows := make([][]export.Record, len(estate.Hosts))
	for missing := len(flows); missing > 0; {
		var o flowgen.Observation
		generator.Next(&o)
		if list := &flows[o.Host]; o.Src.Is4() && len(*list) < n*records {
			o.Start, o.End = o.Start+now.UnixMilli()-o.At, o.End+now.UnixMilli()-o.At // as if it were given up now
			if *list = append(*list, o.Record); len(*list) == n*records {
				missing--
			}
		}
	}
	for i := range corpora {
		c := &corpora[i]
		*c = Corpus{Name: estate.Hosts[i].Name, Version: export.NetFlow9, Exporter: estate.Hosts[i].Exporter, Records: records}
		next := 0
		config := export.Config{Version: c.Version, Domain: estate.Hosts[i].Domain, Templates: export.Router(export.UptimeTimes)}
		c.encode(config, now.UnixMilli(), n, func(r *export.Record) {
			*r = flows[i][next]
			next++
		})
	}
	return corpora, nil
}

// encode fills Templates and Data with n datagrams of records that draw makes.
func (c *Corpus) encode(config export.Config, now int64, n int, draw func(*export.Record)) {
	config.Boot, config.MaxPayload = now-uptime.Milliseconds(), maxPayload
	e, err := export.New(config)
	if err != nil {
		panic(fmt.Sprintf("BUG: %v", err))
	}
	encode := func(records []export.Record) (datagrams [][]byte) {
		skipped, err := e.Encode(now, records, func(b []byte) error {
			datagrams = append(datagrams, slices.Clone(b))
			return nil
		})
		if skipped != 0 || err != nil {
			panic(fmt.Sprintf("BUG: encode %s: %d records skipped, %v", c.Name, skipped, err))
		}
		return datagrams
	}
	c.Templates = encode(nil)
	records := make([]export.Record, c.Records)
	for range n {
		for i := range records {
			draw(&records[i])
		}
		c.Data = append(c.Data, encode(records)...)
	}
	if len(c.Data) != n {
		panic(fmt.Sprintf("BUG: %d records of %s take more than a datagram", c.Records, c.Name))
	}
}

// randomRecord sets r to a TCP connection of random ends, volumes and times.
func randomRecord(random *rand.Rand, r *export.Record, v6 bool) {
	address := func() netip.Addr {
		if !v6 {
			return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, random.Uint32())))
		}
		subnet := uint64(0x20010db8)<<32 | random.Uint64N(64)
		return netip.AddrFrom16([16]byte(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, subnet), random.Uint64())))
	}
	end := Exported - random.Int64N(60_000)
	packets := 1 + random.Uint64N(1<<12)
	*r = export.Record{
		Start: end - random.Int64N(5000), End: end, Packets: packets, Bytes: packets * (40 + random.Uint64N(1460)),
		Src: address(), Dst: address(), NextHop: address(), SrcMask: 24, DstMask: 24,
		SrcPort: uint16(random.Uint32()), DstPort: uint16(random.Uint32()), Protocol: 6, TCPFlags: 0x1b, TOS: uint8(random.Uint32()) &^ 3,
		InIf: random.Uint32N(1 << 14), OutIf: random.Uint32N(1 << 14), SrcAS: random.Uint32N(1 << 16), DstAS: random.Uint32N(1 << 16),
		Observed: 1, ForwardingStatus: 0x40,
	}
}

// SetSequence writes the sequence number that datagram has as number i, from 0, of those that follow Templates.
func (c *Corpus) SetSequence(datagram []byte, i int) {
	switch c.Version {
	case export.NetFlow5:
		binary.BigEndian.PutUint32(datagram[16:], uint32(i*c.Records))
	case export.NetFlow9:
		binary.BigEndian.PutUint32(datagram[12:], uint32(len(c.Templates)+i))
	default:
		binary.BigEndian.PutUint32(datagram[8:], uint32(i*c.Records))
	}
}
