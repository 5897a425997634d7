package netflow_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	goflow "github.com/cloudflare/goflow/v3/decoders/netflow"
	"github.com/cloudflare/goflow/v3/decoders/netflowlegacy"
	flowpb "github.com/cloudflare/goflow/v3/pb"
	"github.com/cloudflare/goflow/v3/producer"
	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/bench/corpus"
	"github.com/weirhq/weir/flow"
)

// goflowDiffers says in which cases of the corpora goflow v3 is no oracle, and why.
var goflowDiffers = map[string]string{
	"ipfix":                                          "it reads one message of a datagram",
	"ipfix_test_barracuda_extended_uniflow":          "it takes enterprise numbers in templates for fields",
	"ipfix_test_ixia":                                "the same",
	"ipfix_test_netscaler":                           "the same",
	"ipfix_test_nokia_bras":                          "the same",
	"ipfix_test_procera":                             "the same",
	"ipfix_test_viptela":                             "the same",
	"ipfix_test_vmware_vds":                          "the same",
	"ipfix_test_yaf":                                 "the same",
	"netflow5_test_invalid02":                        "it reads on after the end of a datagram whose count is wrong",
	"netflow9_test_0length_fields":                   "records of no length would keep it for ever; it is not given fields of no length at all",
	"netflow9_test_cisco_asa_1":                      "it does not know octetTotalCount, which is all that the ASA sends",
	"netflow9_test_cisco_asa_2":                      "nor initiatorOctets",
	"netflow9_test_cisco_wlc":                        "it does not know the station's elements",
	"netflow9_test_fortigate_fortios_521":            "it takes postOctetDeltaCount for octetDeltaCount",
	"netflow9_test_h3c_netstream_varstring":          "it does not know fields of variable length",
	"netflow9_test_invalid01":                        "it reads as many sets as the header counts records",
	"netflow9_test_iptnetflow_reduced_size_encoding": "it drops the rest of a datagram after a set of an unknown template",
}

// goflowFlows returns the flows of datagrams by goflow v3, as text. Templates, options and data must be harmless: it
// does not end for records of no length.
func goflowFlows(datagrams ...[]byte) []string {
	templates, sampling := goflow.CreateTemplateSystem(), producer.CreateSamplingSystem()
	var list []string
	for _, b := range datagrams {
		var flows []*flowpb.FlowMessage
		if len(b) > 1 && b[1] == 5 {
			if m, err := netflowlegacy.DecodeMessage(bytes.NewBuffer(b)); err == nil {
				flows, _ = producer.ProcessMessageNetFlowLegacy(m)
			}
		} else if m, err := goflow.DecodeMessage(bytes.NewBuffer(b), templates); err == nil {
			flows, _ = producer.ProcessMessageNetFlow(m, sampling)
		}
		for _, x := range flows {
			src, _ := netip.AddrFromSlice(x.SrcAddr)
			dst, _ := netip.AddrFromSlice(x.DstAddr)
			list = append(list, fmt.Sprintf("%v:%d > %v:%d proto %d bytes %d packets %d", src.Unmap(), x.SrcPort, dst.Unmap(), x.DstPort, x.Proto, x.Bytes, x.Packets))
		}
	}
	return list
}

// weirFlows returns the rows of a batch in the same form.
func weirFlows(b *flow.Batch) []string {
	address := func(a flow.Addr) string {
		if a == (flow.Addr{}) {
			return netip.Addr{}.String()
		}
		return netip.AddrFrom16(a).Unmap().String()
	}
	var list []string
	for i := range b.Len() {
		list = append(list, fmt.Sprintf("%v:%d > %v:%d proto %d bytes %d packets %d", address(b.SrcAddr[i]), b.SrcPort[i],
			address(b.DstAddr[i]), b.DstPort[i], b.Protocol[i], b.Bytes[i], b.Packets[i]))
	}
	return list
}

func TestGoflowAgrees(t *testing.T) {
	agreed := 0
	for _, g := range corpora(t) {
		if _, ok := goflowDiffers[g.name]; ok {
			continue
		}
		t.Run(g.name, func(t *testing.T) {
			c := newCollector(t)
			var datagrams [][]byte
			for _, p := range g.payloads {
				_ = c.decoder.Decode(p.data, g.exporter, received, c.out) // errors are seen as missing flows
				datagrams = append(datagrams, p.data)
			}
			if diff := cmp.Diff(goflowFlows(datagrams...), weirFlows(c.out)); diff != "" {
				t.Errorf("flows differ (-goflow +weir):\n%s", diff)
			}
			agreed += c.out.Len()
		})
	}
	if agreed < 300 {
		t.Errorf("only %d flows were compared", agreed)
	}
}

// The packets of the benchmarks mean the same to both: what is timed is the same work.
func TestGoflowAgreesOnBenchmarks(t *testing.T) {
	for _, x := range corpus.Random(4) {
		c := newCollector(t)
		datagrams := append(slices.Clone(x.Templates), x.Data...)
		if diff := cmp.Diff(goflowFlows(datagrams...), weirFlows(c.decode(datagrams...))); diff != "" {
			t.Errorf("%s: flows differ (-goflow +weir):\n%s", x.Name, diff)
		}
	}
}
