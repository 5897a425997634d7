package netflow_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	goflow "github.com/cloudflare/goflow/v3/decoders/netflow"
	"github.com/cloudflare/goflow/v3/decoders/netflowlegacy"
	"github.com/cloudflare/goflow/v3/producer"

	"github.com/weirhq/weir/bench/corpus"
	"github.com/weirhq/weir/bench/turns"
	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/flow"
)

const (
	benchDatagrams = 1024
	benchRows      = 4096 // of a batch
)

// BenchmarkDecode measures a datagram; ns/flow is what matters.
func BenchmarkDecode(b *testing.B) {
	for _, c := range corpus.Random(benchDatagrams) {
		b.Run(c.Name, func(b *testing.B) {
			decode := weirDecoder(b, c)
			b.SetBytes(int64(len(c.Data[0])))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				decode(c.Data[i%len(c.Data)])
				i++
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.Records), "ns/flow")
		})
	}
}

// BenchmarkRatios compares the decoder, by turns on the same datagrams, with goflow v3 and with a loop that only copies
// the fields to columns. goflow decodes to records of fields that are octets still; its producer makes messages with typed
// fields of them, as the columns of a batch are typed.
func BenchmarkRatios(b *testing.B) {
	for _, c := range corpus.Random(benchDatagrams) {
		b.Run(c.Name, func(b *testing.B) {
			each := func(decode func([]byte)) func() {
				return func() {
					for _, datagram := range c.Data {
						decode(datagram)
					}
				}
			}
			least := turns.Least(b, each(weirDecoder(b, c)), each(bareLoop(c)), each(goflowDecoder(b, c, false)), each(goflowDecoder(b, c, true)))
			perFlow := func(i int) float64 { return float64(least[i]) / float64(len(c.Data)*c.Records) }
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(perFlow(0), "ns/flow")
			b.ReportMetric(perFlow(1), "bare-ns/flow")
			b.ReportMetric(perFlow(0)/perFlow(1), "x-bare")
			b.ReportMetric(perFlow(2), "goflow3-ns/flow")
			b.ReportMetric(perFlow(2)/perFlow(0), "x-goflow3")
			b.ReportMetric(perFlow(3), "goflow3-produced-ns/flow")
			b.ReportMetric(perFlow(3)/perFlow(0), "x-goflow3-produced")
		})
	}
}

func weirDecoder(tb testing.TB, c corpus.Corpus) func([]byte) {
	d := netflow.New(netflow.Config{}, template.New(template.DefaultConfig()))
	out := flow.NewBatch(benchRows)
	decode := func(b []byte) {
		if out.Len()+c.Records > out.Cap() {
			out.Reset()
		}
		if err := d.Decode(b, exporter, received, out); err != nil {
			tb.Fatal(err)
		}
	}
	for _, b := range c.Templates {
		decode(b)
	}
	return decode
}

// goflowDecoder decodes with goflow v3, and with produce makes its flow messages, too.
func goflowDecoder(tb testing.TB, c corpus.Corpus, produce bool) func([]byte) {
	templates, sampling := goflow.CreateTemplateSystem(), producer.CreateSamplingSystem()
	decode := func(b []byte) int {
		if c.Name == "v5" {
			m, err := netflowlegacy.DecodeMessage(bytes.NewBuffer(b))
			if err == nil && produce {
				flows, err := producer.ProcessMessageNetFlowLegacy(m)
				if err != nil {
					tb.Fatal(err)
				}
				return len(flows)
			}
			return c.Records
		}
		m, err := goflow.DecodeMessage(bytes.NewBuffer(b), templates)
		if err != nil {
			tb.Fatal(err)
		}
		if !produce {
			return c.Records
		}
		flows, err := producer.ProcessMessageNetFlow(m, sampling)
		if err != nil {
			tb.Fatal(err)
		}
		return len(flows)
	}
	for _, b := range c.Templates {
		decode(b)
	}
	return func(b []byte) {
		if n := decode(b); n != c.Records {
			tb.Fatalf("goflow made %d flows, want %d", n, c.Records)
		}
	}
}

// bareLoop copies every field of the records to a column of its own width, and does nothing else: no header, no
// look-up, no check.
func bareLoop(c corpus.Corpus) func([]byte) {
	var widths []int
	skip := 0
	if c.Name == "v5" {
		widths, skip = []int{4, 4, 4, 2, 2, 4, 4, 4, 4, 2, 2, 1, 1, 1, 1, 2, 2, 1, 1, 2}, 24
	} else {
		first := c.Templates[0]
		skip = 24
		if binary.BigEndian.Uint16(first) == 10 {
			skip = 20
		}
		for at := skip + 4; at < len(first); at += 4 {
			widths = append(widths, int(binary.BigEndian.Uint16(first[at+2:])))
		}
	}
	stride := 0
	for _, w := range widths {
		stride += w
	}
	const rows = benchRows
	bytes1, bytes2, bytes4 := make([][]uint8, len(widths)), make([][]uint16, len(widths)), make([][]uint32, len(widths))
	bytes8, bytes16 := make([][]uint64, len(widths)), make([][]flow.Addr, len(widths))
	for i, w := range widths {
		switch w {
		case 1:
			bytes1[i] = make([]uint8, rows)
		case 2:
			bytes2[i] = make([]uint16, rows)
		case 4:
			bytes4[i] = make([]uint32, rows)
		case 8:
			bytes8[i] = make([]uint64, rows)
		case 16:
			bytes16[i] = make([]flow.Addr, rows)
		default:
			panic(fmt.Sprintf("BUG: no column for %d octets", w))
		}
	}
	row := 0
	return func(b []byte) {
		if row+c.Records > rows {
			row = 0
		}
		at := skip
		for i, w := range widths {
			src := b[at:]
			switch w {
			case 1:
				dst := bytes1[i][row : row+c.Records]
				for r := range dst {
					dst[r] = src[r*stride]
				}
			case 2:
				dst := bytes2[i][row : row+c.Records]
				for r := range dst {
					dst[r] = binary.BigEndian.Uint16(src[r*stride:])
				}
			case 4:
				dst := bytes4[i][row : row+c.Records]
				for r := range dst {
					dst[r] = binary.BigEndian.Uint32(src[r*stride:])
				}
			case 8:
				dst := bytes8[i][row : row+c.Records]
				for r := range dst {
					dst[r] = binary.BigEndian.Uint64(src[r*stride:])
				}
			default:
				dst := bytes16[i][row : row+c.Records]
				for r := range dst {
					dst[r] = flow.Addr(src[r*stride:][:16])
				}
			}
			at += w
		}
		row += c.Records
	}
}
