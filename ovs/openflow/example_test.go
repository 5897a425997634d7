package openflow_test

import (
	"fmt"
	"net/netip"

	"github.com/weirhq/weir/ovs/openflow"
)

// A flow as a compiler makes it, in the words of ovs-ofctl.
func ExampleFlow() {
	f := openflow.Flow{
		Table: 30, Priority: 7000, Cookie: 0x5745,
		Match: openflow.NewMatch(
			openflow.TCPDst(443, 0xffff), openflow.EthType(openflow.EthTypeIPv4), openflow.IPProto(openflow.ProtoTCP),
			openflow.IPv4Dst(netip.MustParsePrefix("10.1.0.0/16")), openflow.Reg(5, 3, 0xffffffff),
			openflow.CTState(openflow.CTNew|openflow.CTTracked, openflow.CTNew|openflow.CTTracked),
		),
		Actions: openflow.NewActions(
			openflow.Sample{Probability: 65535, CollectorSet: 1, Domain: 2, Point: 3},
			openflow.LoadReg(2, 7),
			openflow.CT{Commit: true, ZoneFrom: openflow.PartOf(openflow.FieldReg(1), 0, 15), Exec: []openflow.Action{
				openflow.Move{Src: openflow.Whole(openflow.FieldReg(2)), Dst: openflow.PartOf(openflow.FieldCTLabel, 0, 31)},
			}},
			openflow.Goto{Table: 40},
		),
	}
	fmt.Println(f)
	// Output:
	// table=30,priority=7000,cookie=0x5745,dl_type=0x800,nw_dst=10.1.0.0/16,nw_proto=6,tcp_dst=443,reg5=0x3,ct_state=+new+trk actions=sample(probability=65535,collector_set_id=1,obs_domain_id=2,obs_point_id=3),load:0x7->NXM_NX_REG2[],ct(commit,zone=NXM_NX_REG1[0..15],exec(move:NXM_NX_REG2[]->NXM_NX_CT_LABEL[0..31])),goto_table:40
}
