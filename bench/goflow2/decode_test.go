package goflow2_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/netsampler/goflow2/v2/decoders/netflow"
	"github.com/netsampler/goflow2/v2/decoders/netflowlegacy"
	"github.com/netsampler/goflow2/v2/producer"
	protoproducer "github.com/netsampler/goflow2/v2/producer/proto"

	"github.com/weirhq/weir/bench/corpus"
	"github.com/weirhq/weir/bench/turns"
	weir "github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/flow"
)

// BenchmarkRatios decodes the same datagrams by turns. goflow2 decodes to records of fields that are octets still; its
// producer makes messages with typed fields of them, as Weir's columns are typed.
func BenchmarkRatios(b *testing.B) {
	for _, c := range corpus.Random(1024) {
		b.Run(c.Name, func(b *testing.B) {
			each := func(decode func(datagram []byte, flows int)) func() {
				for _, datagram := range c.Templates {
					decode(datagram, 0)
				}
				return func() {
					for _, datagram := range c.Data {
						decode(datagram, c.Records)
					}
				}
			}
			least := turns.Least(b, each(decodeWeir(b, c)), each(decode2(b, c, false)), each(decode2(b, c, true)))
			flows := float64(len(c.Data) * c.Records)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(least[0])/flows, "ns/flow")
			b.ReportMetric(float64(least[1])/flows, "goflow2-ns/flow")
			b.ReportMetric(float64(least[1])/float64(least[0]), "x-goflow2")
			b.ReportMetric(float64(least[2])/flows, "goflow2-produced-ns/flow")
			b.ReportMetric(float64(least[2])/float64(least[0]), "x-goflow2-produced")
		})
	}
}

func decodeWeir(b *testing.B, c corpus.Corpus) func([]byte, int) {
	d, out := weir.New(weir.Config{}, template.New(template.DefaultConfig())), flow.NewBatch(4096)
	return func(datagram []byte, flows int) {
		if out.Len()+flows > out.Cap() {
			out.Reset()
		}
		before := out.Len()
		if err := d.Decode(datagram, c.Exporter, corpus.Exported, out); err != nil || out.Len() != before+flows {
			b.Fatalf("weir decoded %d flows, want %d: %v", out.Len()-before, flows, err)
		}
	}
}

// decode2 decodes with goflow2 as its own binary does without a configuration, and with produce makes its messages.
func decode2(b *testing.B, c corpus.Corpus, produce bool) func([]byte, int) {
	templates := netflow.CreateTemplateSystem()
	var none *protoproducer.ProducerConfig
	compiled, err := none.Compile()
	if err != nil {
		b.Fatal(err)
	}
	messages, err := protoproducer.CreateProtoProducer(compiled, protoproducer.CreateSamplingSystem)
	if err != nil {
		b.Fatal(err)
	}
	args := &producer.ProduceArgs{
		Src: netip.AddrPortFrom(c.Exporter, 1000), SamplerAddress: c.Exporter, TimeReceived: time.UnixMilli(corpus.Exported),
	}
	return func(datagram []byte, flows int) {
		var packet any
		var err error
		switch buf := bytes.NewBuffer(datagram); binary.BigEndian.Uint16(datagram) {
		case 5:
			p := &netflowlegacy.PacketNetFlowV5{}
			packet, err = p, netflowlegacy.DecodeMessageVersion(buf, p)
		case 9:
			p := &netflow.NFv9Packet{Version: 9}
			buf.Next(2)
			packet, err = p, netflow.DecodeMessageNetFlow(buf, templates, p)
		default:
			p := &netflow.IPFIXPacket{Version: 10}
			buf.Next(2)
			packet, err = p, netflow.DecodeMessageIPFIX(buf, templates, p)
		}
		if err != nil {
			b.Fatal(err)
		}
		if !produce {
			return
		}
		made, err := messages.Produce(packet, args)
		if err != nil || len(made) != flows {
			b.Fatalf("goflow2 made %d flows, want %d: %v", len(made), flows, err)
		}
		messages.Commit(made)
	}
}
