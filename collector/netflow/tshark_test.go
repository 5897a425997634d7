package netflow_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/collector/ie"
	"github.com/weirhq/weir/collector/netflow"
)

// xmlField is a field of tshark's PDML: a node of its protocol tree with the octets that it stands for.
type xmlField struct {
	Name     string     `xml:"name,attr"`
	Position int        `xml:"pos,attr"`
	Size     int        `xml:"size,attr"`
	Show     string     `xml:"show,attr"`
	Value    string     `xml:"value,attr"`
	Unmasked string     `xml:"unmaskedvalue,attr"` // the octets, where Value is some bits of them
	Fields   []xmlField `xml:"field"`
}

type xmlPacket struct {
	Protocols []xmlField `xml:"proto"`
}

const headersBefore = 14 + 20 + 8 // Ethernet, IPv4, UDP in the captures that we write

// capture puts datagrams into a pcap file, each from its exporter to port 2055.
func capture(groups []group) []byte {
	le := binary.LittleEndian
	file := le.AppendUint32(nil, 0xa1b2c3d4)
	file = le.AppendUint32(file, 2|4<<16)
	file = append(file, make([]byte, 8)...)
	file = le.AppendUint32(file, 65535)
	file = le.AppendUint32(file, 1) // Ethernet
	for _, g := range groups {
		for _, p := range g.payloads {
			n := headersBefore + len(p.data)
			for _, v := range []int{1_700_000_000, 0, n, n} {
				file = le.AppendUint32(file, uint32(v))
			}
			frame := packet{}.bytes(make([]byte, 12)).u16(0x0800)
			frame = frame.u8(0x45, 0).u16(uint16(28+len(p.data)), 0, 0).u8(64, 17).u16(0).bytes(g.exporter.AsSlice()).addr("10.1.1.1")
			frame = frame.u16(2055, 2055, uint16(8+len(p.data)), 0).bytes(p.data)
			file = append(file, frame...)
		}
	}
	return file
}

// tshark dissects a capture. It skips the test where there is no tshark, unless it must not.
func tshark(t *testing.T, pcap []byte) []xmlPacket {
	t.Helper()
	path, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("CI_REQUIRE_SERVICES") == "1" {
			t.Fatal("no tshark, and CI_REQUIRE_SERVICES is 1")
		}
		t.Skip("no tshark")
	}
	file := filepath.Join(t.TempDir(), "all.pcap")
	if err := os.WriteFile(file, pcap, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "-r", file, "-n", "-d", "udp.port==2055,cflow", "-T", "pdml")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "TZ=UTC")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("run %v: %v", cmd.Args, err)
	}
	d := xml.NewDecoder(bytes.NewReader(out))
	var packets []xmlPacket
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return packets
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "packet" {
			var p xmlPacket
			if err := d.DecodeElement(&p, &start); err != nil {
				t.Fatal(err)
			}
			packets = append(packets, p)
		}
	}
}

// tsharkNames says which elements of IANA tshark means by a field.
var tsharkNames = map[string][]uint16{
	"octets": {1}, "packets": {2}, "flows": {3}, "protocol": {4}, "tos": {5}, "tcpflags": {6}, "tcpflags16": {6}, "srcport": {7, 180, 182},
	"srcaddr": {8}, "srcmask": {9}, "inputint": {10}, "dstport": {11, 181, 183}, "dstaddr": {12}, "dstmask": {13},
	"outputint": {14}, "nexthop": {15}, "srcas": {16}, "dstas": {17}, "bgpnexthop": {18}, "timeend": {21},
	"timestart": {22}, "post_octets": {23}, "post_packets": {24}, "length_min": {25}, "length_max": {26}, "srcaddrv6": {27},
	"dstaddrv6": {28}, "icmp_type_code_ipv4": {32}, "icmp_ipv4_type": {176}, "icmp_ipv4_code": {177},
	"sampling_interval": {34}, "sampling_algorithm": {35}, "flow_active_timeout": {36}, "flow_inactive_timeout": {37},
	"octetsexp": {40}, "packetsexp": {41}, "flowsexp": {42}, "srcprefix": {44}, "sampler_id": {48},
	"ttl_max": {53}, "frag_ident": {54}, "srcmac": {56}, "post_dstmac": {57}, "vlanid": {58}, "post_vlanid": {59},
	"ip_version": {60}, "direction": {61}, "nexthopv6": {62}, "if_name": {82}, "if_descr": {83},
	"permanent_octets": {85}, "permanent_packets": {86}, "forwarding_status": {89}, "appl_desc": {94}, "appl_name": {96},
	"post_ip_diff_serv_code_point": {98}, "dstmac": {80}, "post_srcmac": {81}, "exporter_addr": {130},
	"exporter_addr_v6": {131}, "drop_total_packets": {135}, "flow_end_reason": {136}, "observation_point_id": {138},
	"mp_id": {143}, "flow_exporter": {144}, "wlan_ssid": {147}, "flow_id": {148}, "od_id": {149},
	"abstimestart": {22, 150, 152, 154, 156, 158}, "abstimeend": {21, 151, 153, 155, 157, 159}, "sys_init_time": {160},
	"timedelta": {161, 162}, "ignore_packets": {164}, "notsent_packets": {167}, "tcp_seq_num": {184},
	"ip_dscp": {195}, "ip_precedence": {196}, "mpls_label_length": {201}, "tcp_option_map": {209},
	"export_protocol_version": {214}, "exporter_protocol": {215}, "post_natsource_ipv4_address": {225},
	"post_natdestination_ipv4_address": {226}, "post_naptsource_transport_port": {227},
	"post_naptdestination_transport_port": {228}, "initiator_octets": {231}, "responder_octets": {232},
	"firewall_event": {233}, "ingress_vrfid": {234}, "egress_vrfid": {235}, "vrfname": {236}, "dot1q_vlan_id": {243},
	"ingress_physical_interface": {252}, "egress_physical_interface": {253}, "ethernet_type": {256},
	"engine_id": {39}, "selector_algorithm": {304}, "sampling_packet_interval": {305}, "sampling_packet_space": {306},
	"observation_time_milliseconds": {323}, "private_enterprise_number": {346}, "layer2_segment_id": {351},
	"sta_mac_address": {365}, "sta_ipv4_address": {366}, "wtp_mac_address": {367},
}

// tsharkPrivate says the same of elements that are not IANA's.
var tsharkPrivate = map[string][]ie.ID{
	"scope_system": {{Enterprise: ie.Scope9, Number: 1}},

	"ingress_acl_id": {{Enterprise: ie.NetFlow9, Number: 33000}}, "egress_acl_id": {{Enterprise: ie.NetFlow9, Number: 33001}},
	"fw_ext_event": {{Enterprise: ie.NetFlow9, Number: 33002}}, "aaa_username": {{Enterprise: ie.NetFlow9, Number: 40000}},
	"post_natsource_ipv4_address":         {{Enterprise: ie.NetFlow9, Number: 40001}},
	"post_natdestination_ipv4_address":    {{Enterprise: ie.NetFlow9, Number: 40002}},
	"post_naptsource_transport_port":      {{Enterprise: ie.NetFlow9, Number: 40003}},
	"post_naptdestination_transport_port": {{Enterprise: ie.NetFlow9, Number: 40004}},
	"firewall_event":                      {{Enterprise: ie.NetFlow9, Number: 40005}},

	// tshark shows reverse elements (RFC 5103) under the name of the forward ones.
	"tos": {reverse(5)}, "icmp_type_code_ipv4": {reverse(32)}, "vlanid": {reverse(58)}, "permanent_octets": {reverse(85)},
	"permanent_packets": {reverse(86)}, "tcp_seq_num": {reverse(184)},

	"pie.barracuda.timestamp":                  {{Enterprise: 10704, Number: 1}},
	"pie.barracuda.logop":                      {{Enterprise: 10704, Number: 2}},
	"pie.barracuda.traffictype":                {{Enterprise: 10704, Number: 3}},
	"pie.barracuda.fwrule":                     {{Enterprise: 10704, Number: 4}},
	"pie.barracuda.servicename":                {{Enterprise: 10704, Number: 5}},
	"pie.barracuda.reason":                     {{Enterprise: 10704, Number: 6}},
	"pie.barracuda.reasontext":                 {{Enterprise: 10704, Number: 7}},
	"pie.barracuda.bindipv4address":            {{Enterprise: 10704, Number: 8}},
	"pie.barracuda.bindtransportport":          {{Enterprise: 10704, Number: 9}},
	"pie.barracuda.connipv4address":            {{Enterprise: 10704, Number: 10}},
	"pie.barracuda.conntransportport":          {{Enterprise: 10704, Number: 11}},
	"pie.barracuda.auditcounter":               {{Enterprise: 10704, Number: 12}},
	"pie.ixia.l7-application-id":               {{Enterprise: 3054, Number: 110}},
	"pie.ixia.l7-application-name":             {{Enterprise: 3054, Number: 111}},
	"pie.ixia.source-ip-latitude":              {{Enterprise: 3054, Number: 126}},
	"pie.ixia.source-ip-longitude":             {{Enterprise: 3054, Number: 127}},
	"pie.ixia.destination-ip-latitude":         {{Enterprise: 3054, Number: 146}},
	"pie.ixia.destination-ip-longitude":        {{Enterprise: 3054, Number: 147}},
	"pie.ixia.os-device-id":                    {{Enterprise: 3054, Number: 160}},
	"pie.ixia.os-device-name":                  {{Enterprise: 3054, Number: 161}},
	"pie.ixia.browser-id":                      {{Enterprise: 3054, Number: 162}},
	"pie.ixia.browser-name":                    {{Enterprise: 3054, Number: 163}},
	"pie.ixia.reverse-octet-delta-count":       {{Enterprise: 3054, Number: 176}},
	"pie.ixia.reverse-packet-delta-count":      {{Enterprise: 3054, Number: 177}},
	"pie.ixia.src-as-name":                     {{Enterprise: 3054, Number: 186}},
	"pie.ixia.dest-as-name":                    {{Enterprise: 3054, Number: 187}},
	"pie.ixia.transact-latency-us":             {{Enterprise: 3054, Number: 188}},
	"pie.ixia.threat-ipv4":                     {{Enterprise: 3054, Number: 193}},
	"pie.netscaler.round-trip-time":            {{Enterprise: 5951, Number: 128}},
	"pie.netscaler.transaction-id":             {{Enterprise: 5951, Number: 129}},
	"pie.netscaler.http-req-url":               {{Enterprise: 5951, Number: 130}},
	"pie.netscaler.http-req-cookie":            {{Enterprise: 5951, Number: 131}},
	"pie.netscaler.flow-flags":                 {{Enterprise: 5951, Number: 132}},
	"pie.netscaler.connection-id":              {{Enterprise: 5951, Number: 133}},
	"pie.netscaler.http-req-referer":           {{Enterprise: 5951, Number: 140}},
	"pie.netscaler.http-req-method":            {{Enterprise: 5951, Number: 141}},
	"pie.netscaler.http-req-host":              {{Enterprise: 5951, Number: 142}},
	"pie.netscaler.http-req-useragent":         {{Enterprise: 5951, Number: 143}},
	"pie.netscaler.appname-app-id":             {{Enterprise: 5951, Number: 151}},
	"pie.netscaler.http-res-forw-fb":           {{Enterprise: 5951, Number: 158}},
	"pie.netscaler.http-res-forw-lb":           {{Enterprise: 5951, Number: 170}},
	"pie.netscaler.app-unit-name-appid":        {{Enterprise: 5951, Number: 171}},
	"pie.netscaler.http-contenttype":           {{Enterprise: 5951, Number: 183}},
	"pie.netscaler.http-req-authorization":     {{Enterprise: 5951, Number: 185}},
	"pie.netscaler.http-req-via":               {{Enterprise: 5951, Number: 186}},
	"pie.netscaler.http-reqx-forwardedfor":     {{Enterprise: 5951, Number: 190}},
	"pie.netscaler.connection-chain-id":        {{Enterprise: 5951, Number: 192}},
	"pie.netscaler.connection-chain-hop-count": {{Enterprise: 5951, Number: 193}},
	"pie.netscaler.aaa-username":               {{Enterprise: 5951, Number: 205}},
	"pie.netscaler.http-domain-name":           {{Enterprise: 5951, Number: 267}},
	"pie.ntop.l7_proto":                        {{Enterprise: 35632, Number: 118}},
	"pie.ntop.l7_proto_name":                   {{Enterprise: 35632, Number: 119}},
}

func reverse(number uint16) ie.ID { return ie.ID{Enterprise: ie.Reverse, Number: number} }

// tsharkUnnamed are the fields that tshark uses for elements which it does not know.
var tsharkUnnamed = []string{"unknown_field_type", "enterprise_private_entry"}

// tsharkParts are fields that repeat or take apart one that is compared as a whole, or that are no elements.
var tsharkParts = regexp.MustCompile(`^(tcpflags\..*|string_len_.*|padding|forwarding_status_.*)$`)

// tsharkExceptions are differences that are right, by payload and text.
var tsharkExceptions = []struct{ payload, problem, why string }{
	{"netflow5_test_invalid0", "tshark has", "the count in the header (55582, 163) does not fit the datagram: we take nothing of it"},
	{"h3c", "tshark nothing", "tshark ends at ipv4RouterSc (element 43), which H3C sends in two octets; RFC 3954 §8 has its lengths from the template"},
	{"ipfix", "in a later message", "tshark reads the first message of a datagram; each has its length (RFC 7011 §3.1), so that the next can be found"},
	{"netflow9_test_invalid01", "tshark nothing", "tshark reads as many flow sets as the header's count (2), which RFC 3954 §5.1 has as records; there are more"},
	{"", "paddingOctets", "tshark does not show paddingOctets (element 210, RFC 5102 §5.12.1)"},
}

func TestDescribeAgreesWithTshark(t *testing.T) {
	groups := corpora(t)
	packets := tshark(t, capture(groups))
	next, named, unnamed := 0, 0, 0
	used := make([]bool, len(tsharkExceptions))
	for _, g := range groups {
		d := netflow.NewDescriber()
		for _, p := range g.payloads {
			if next == len(packets) {
				t.Fatalf("tshark shows %d packets, want more", len(packets))
			}
			c := newTsharkCase(d.Describe(p.data, g.exporter))
			for _, proto := range packets[next].Protocols {
				if proto.Name == "cflow" {
					c.walk(proto.Fields, nil)
				}
			}
			c.finish()
			for _, problem := range c.problems {
				if i := exception(p.name, problem); i >= 0 {
					used[i] = true
				} else {
					t.Errorf("%s: %s", p.name, problem)
				}
			}
			named += c.named
			unnamed += c.unnamed
			next++
		}
	}
	for i, ok := range used {
		if !ok {
			t.Errorf("exception %+v was not needed", tsharkExceptions[i])
		}
	}
	t.Logf("%d elements are the same by name and octets, %d more by octets", named, unnamed)
	if named < 6000 {
		t.Errorf("only %d elements were compared by name", named)
	}
}

// exception returns the index of the first exception for a problem, or -1.
func exception(payload, problem string) int {
	for i, e := range tsharkExceptions {
		if strings.Contains(payload, e.payload) && strings.Contains(problem, e.problem) {
			return i
		}
	}
	return -1
}

// tsharkCase compares one payload.
type tsharkCase struct {
	elements       map[int]netflow.Element // of the records, by offset
	records        map[int]netflow.Record  // by offset
	messages       map[int]int             // number of the message of a record, by offset of the record
	seen           map[int]bool            // offsets of elements that tshark has, too
	specifiers     []string                // octets of the field specifiers of all templates, in order, as hex digits
	fields         []string                // the same of tshark
	named, unnamed int
	problems       []string
}

func newTsharkCase(g netflow.Datagram) *tsharkCase {
	c := &tsharkCase{
		elements: map[int]netflow.Element{}, records: map[int]netflow.Record{}, messages: map[int]int{},
		seen: map[int]bool{},
	}
	for i, m := range g.Messages {
		for _, s := range m.Sets {
			for _, l := range s.Layouts {
				for _, f := range l.Fields {
					if f.Enterprise != 0 {
						c.specifiers = append(c.specifiers, fmt.Sprintf("%04x%04x%08x", f.Number|0x8000, f.Length, f.Enterprise))
					} else {
						c.specifiers = append(c.specifiers, fmt.Sprintf("%04x%04x", f.Number, f.Length))
					}
				}
			}
			for _, r := range s.Records {
				c.records[r.Offset], c.messages[r.Offset] = r, i
				for _, e := range r.Elements {
					if e.Length > 0 {
						c.elements[e.Offset] = e
					}
				}
			}
		}
	}
	return c
}

func (c *tsharkCase) problem(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

var tsharkRecord = regexp.MustCompile(`^(Flow \d|pdu \d)`)

// walk looks at fields of tshark's tree, those of the record r if it is not nil.
func (c *tsharkCase) walk(fields []xmlField, r *netflow.Record) {
	for _, x := range fields {
		name := strings.TrimPrefix(x.Name, "cflow.")
		switch {
		case x.Name == "" && tsharkRecord.MatchString(x.Show):
			own, ok := c.records[x.Position-headersBefore]
			if !ok {
				own = netflow.Record{}
			}
			c.walk(x.Fields, &own)
			continue
		case r == nil && x.Name == "" && strings.HasPrefix(x.Show, "Field ("):
			c.fields = append(c.fields, x.Value)
		case r != nil && x.Name != "" && x.Size > 0 && !tsharkParts.MatchString(name) && (name != "timedelta" || len(x.Fields) == 0):
			c.field(name, x, r)
		}
		c.walk(x.Fields, r)
	}
}

func (c *tsharkCase) field(name string, x xmlField, r *netflow.Record) {
	offset := x.Position - headersBefore
	e, ok := c.elements[offset]
	if strings.HasPrefix(name, "timest") || strings.HasPrefix(name, "timeen") || strings.HasPrefix(name, "abstime") {
		// tshark puts the octets of times elsewhere if they do not stand side by side: find them by value.
		if !ok || !c.means(name, e.ID) || e.Length != x.Size || hex.EncodeToString(e.Raw) != x.Value {
			e, ok = c.byTime(name, x, r)
			offset = e.Offset
			x.Size, x.Value = e.Length, hex.EncodeToString(e.Raw)
		}
	}
	switch {
	case name == "appl_id.selector_id": // what follows the engine in an applicationId
		if e, ok = c.elements[offset-1]; !ok || e.ID != ie.Of(95) || hex.EncodeToString(e.Raw[1:]) != x.Value {
			c.problem("tshark has %s at %d", name, offset)
		}
		return
	case !ok:
		c.problem("tshark has %s (%s) at %d, %d octets: we have nothing", name, x.Show, offset, x.Size)
		return
	case name == "appl_id.classification_engine_id":
		if e.ID != ie.Of(95) || hex.EncodeToString(e.Raw[:1]) != x.Value {
			c.problem("%s at %d: we have %s", name, offset, e.Name)
		}
		c.seen[offset] = true
		c.named++
		return
	}
	c.seen[offset] = true
	value := x.Value
	if x.Unmasked != "" {
		value = x.Unmasked
	}
	if e.Length != x.Size || hex.EncodeToString(e.Raw) != value {
		c.problem("%s at %d: %d octets %s, we have %d %x", name, offset, x.Size, value, e.Length, e.Raw)
		return
	}
	if slices.Contains(tsharkUnnamed, name) {
		c.unnamed++
		return
	}
	if !c.means(name, e.ID) {
		c.problem("%s at %d: we have %s %v", name, offset, e.Name, e.ID)
		return
	}
	if problem := sameShown(e, x); problem != "" {
		c.problem("%s at %d: %s", name, offset, problem)
		return
	}
	c.named++
}

// means reports whether tshark's name is that of element id.
func (c *tsharkCase) means(name string, id ie.ID) bool {
	return id.Enterprise == ie.IANA && slices.Contains(tsharkNames[name], id.Number) || slices.Contains(tsharkPrivate[name], id)
}

// byTime finds the element of r that tshark's name means and that has the time which it shows.
func (c *tsharkCase) byTime(name string, x xmlField, r *netflow.Record) (netflow.Element, bool) {
	for _, e := range r.Elements {
		if c.means(name, e.ID) && (strings.HasPrefix(name, "time") || sameShown(e, x) == "") {
			if seconds, err := strconv.ParseFloat(x.Show, 64); strings.HasPrefix(name, "abs") ||
				err == nil && e.Value == uint64(math.Round(seconds*1000)) {
				return e, true
			}
		}
	}
	return netflow.Element{}, false
}

// sameShown compares the value with what tshark shows, for the types that both show alike. It returns the difference.
func sameShown(e netflow.Element, x xmlField) string {
	info, _ := ie.Lookup(e.ID)
	want, got := x.Show, fmt.Sprint(e.Value)
	switch {
	case x.Unmasked != "": // a part of it
		return ""
	case info.Type.Unsigned() && e.Length <= 8:
		n, err := strconv.ParseUint(want, 0, 64)
		if err != nil { // a time or octets
			return ""
		}
		want = strconv.FormatUint(n, 10)
	case info.Type == ie.IPv4Address, info.Type == ie.MACAddress:
	case info.Type == ie.IPv6Address:
	case info.Type == ie.String:
		got, _, _ = strings.Cut(got, "\x00") // tshark shows no more of a string
	case info.Type == ie.DateTimeMilliseconds, info.Type == ie.DateTimeSeconds, info.Type == ie.DateTimeMicroseconds:
		at, err := time.Parse("Jan _2, 2006 15:04:05.000000000 MST", want)
		if err != nil {
			return ""
		}
		want, got = at.Format(time.RFC3339), strings.SplitN(got, ".", 2)[0]
		got = strings.TrimSuffix(got, "Z") + "Z"
	default:
		return ""
	}
	if got != want {
		return fmt.Sprintf("tshark shows %q, we have %q", want, got)
	}
	return ""
}

// finish looks for what tshark does not have, and compares the templates.
func (c *tsharkCase) finish() {
	for offset, r := range c.records {
		for _, e := range r.Elements {
			if e.Length > 0 && !c.seen[e.Offset] {
				where := "the first message"
				if c.messages[offset] > 0 {
					where = "a later message"
				}
				c.problem("we have %s %v at %d (%d) of the record at %d in %s, tshark nothing", e.Name, e.ID, e.Offset, e.Length, offset, where)
			}
		}
	}
	slices.Sort(c.problems)
	if len(c.fields) > len(c.specifiers) || !slices.Equal(c.fields, c.specifiers[:len(c.fields)]) {
		c.problem("tshark has the field specifiers %v, we have %v", c.fields, c.specifiers)
	} else if len(c.fields) < len(c.specifiers) {
		c.problem("tshark nothing after %d of %d field specifiers", len(c.fields), len(c.specifiers))
	}
}
