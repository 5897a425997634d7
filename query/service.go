package query

import (
	"slices"
	"strconv"
	"strings"
)

// services are the ports that have a name in filters and tables. The first name of a port is the one that is shown.
// They are the assignments of IANA's service registry that are met in data centres, under their customary names.
var services = []struct {
	port uint16
	name string
}{
	{20, "ftp-data"},
	{21, "ftp"},
	{22, "ssh"},
	{23, "telnet"},
	{25, "smtp"},
	{37, "time"},
	{43, "whois"},
	{49, "tacacs"},
	{53, "dns"},
	{53, "domain"},
	{67, "dhcp"},
	{67, "bootps"},
	{68, "dhcp-client"},
	{68, "bootpc"},
	{69, "tftp"},
	{80, "http"},
	{88, "kerberos"},
	{110, "pop3"},
	{111, "sunrpc"},
	{111, "portmap"},
	{119, "nntp"},
	{123, "ntp"},
	{135, "msrpc"},
	{137, "netbios-ns"},
	{138, "netbios-dgm"},
	{139, "netbios-ssn"},
	{143, "imap"},
	{161, "snmp"},
	{162, "snmptrap"},
	{179, "bgp"},
	{319, "ptp-event"},
	{320, "ptp-general"},
	{389, "ldap"},
	{443, "https"},
	{445, "smb"},
	{464, "kpasswd"},
	{465, "submissions"},
	{465, "smtps"},
	{500, "ike"},
	{500, "isakmp"},
	{514, "syslog"},
	{515, "lpd"},
	{520, "rip"},
	{546, "dhcpv6-client"},
	{547, "dhcpv6"},
	{554, "rtsp"},
	{587, "submission"},
	{623, "ipmi"},
	{631, "ipp"},
	{636, "ldaps"},
	{646, "ldp"},
	{853, "dns-over-tls"},
	{873, "rsync"},
	{902, "vmware-auth"},
	{989, "ftps-data"},
	{990, "ftps"},
	{993, "imaps"},
	{995, "pop3s"},
	{1080, "socks"},
	{1194, "openvpn"},
	{1433, "mssql"},
	{1434, "mssql-browser"},
	{1521, "oracle"},
	{1701, "l2tp"},
	{1723, "pptp"},
	{1812, "radius"},
	{1813, "radius-acct"},
	{1883, "mqtt"},
	{1900, "ssdp"},
	{2049, "nfs"},
	{2055, "netflow"},
	{2181, "zookeeper"},
	{2375, "docker"},
	{2376, "docker-tls"},
	{2379, "etcd"},
	{2380, "etcd-peer"},
	{3128, "squid"},
	{3260, "iscsi"},
	{3268, "ldap-gc"},
	{3269, "ldaps-gc"},
	{3306, "mysql"},
	{3389, "rdp"},
	{3478, "stun"},
	{4500, "ipsec-nat"},
	{4739, "ipfix"},
	{4789, "vxlan"},
	{5060, "sip"},
	{5061, "sips"},
	{5222, "xmpp"},
	{5353, "mdns"},
	{5355, "llmnr"},
	{5432, "postgresql"},
	{5432, "postgres"},
	{5555, "adb"},
	{5671, "amqps"},
	{5672, "amqp"},
	{5900, "vnc"},
	{5985, "winrm"},
	{5986, "winrm-tls"},
	{6081, "geneve"},
	{6343, "sflow"},
	{6379, "redis"},
	{6443, "kube-api"},
	{6514, "syslog-tls"},
	{6640, "ovsdb"},
	{6653, "openflow"},
	{6789, "ceph-mon"},
	{8080, "http-alt"},
	{8123, "clickhouse-http"},
	{8443, "https-alt"},
	{8472, "vxlan-linux"},
	{9000, "clickhouse"},
	{9042, "cassandra"},
	{9090, "prometheus"},
	{9092, "kafka"},
	{9100, "node-exporter"},
	{9200, "elasticsearch"},
	{9300, "elasticsearch-peer"},
	{10250, "kubelet"},
	{10050, "zabbix-agent"},
	{10051, "zabbix"},
	{11211, "memcached"},
	{24007, "glusterfs"},
	{25565, "minecraft"},
	{27017, "mongodb"},
	{47808, "bacnet"},
	{51820, "wireguard"},
}

// ServiceName returns the name of a port, or "" if it has none.
func ServiceName(port uint16) string {
	for _, s := range services {
		if s.port == port {
			return s.name
		}
	}
	return ""
}

// ephemeral is where the ports that clients are given begin on Linux, the lowest of the systems in wide use
// (net.ipv4.ip_local_port_range; RFC 6335 §6 begins at 49152).
const ephemeral = 32768

// ServicePort returns the port that tells what the traffic between two ports is: the lower one if it is below 32768
// or has a name, else 0. A port of 0 was not reported; then it is the other one that counts. It is the logical column
// "service": the raw table computes the same in SQL, and rollups that store it must store this.
func ServicePort(src, dst uint16) uint16 {
	low := min(src, dst)
	if low == 0 {
		low = max(src, dst)
	}
	if low < ephemeral || slices.Contains(highServices, low) {
		return low
	}
	return 0
}

// highServices are the ports with names from ephemeral on.
var highServices = func() []uint16 {
	var ports []uint16
	for _, s := range services {
		if s.port >= ephemeral {
			ports = append(ports, s.port)
		}
	}
	return ports
}()

// serviceSQL is [ServicePort] over the columns src_port and dst_port.
func serviceSQL() string {
	known := make([]string, len(highServices))
	for i, port := range highServices {
		known[i] = strconv.Itoa(int(port))
	}
	low := "if(least(src_port, dst_port) = 0, greatest(src_port, dst_port), least(src_port, dst_port))"
	return "if(" + low + " < " + strconv.Itoa(ephemeral) + " OR " + low + " IN (" + strings.Join(known, ", ") + "), " + low + ", 0)"
}

// protocols are the IP protocols that have a name in filters and tables (IANA protocol numbers). The first name of a
// number is the one that is shown.
var protocols = []word{
	{"icmp", 1},
	{"igmp", 2},
	{"ipip", 4},
	{"ipencap", 4},
	{"tcp", 6},
	{"egp", 8},
	{"udp", 17},
	{"ipv6", 41},
	{"rsvp", 46},
	{"gre", 47},
	{"esp", 50},
	{"ah", 51},
	{"icmpv6", 58},
	{"icmp6", 58},
	{"ipv6-icmp", 58},
	{"eigrp", 88},
	{"ospf", 89},
	{"etherip", 97},
	{"pim", 103},
	{"ipcomp", 108},
	{"vrrp", 112},
	{"carp", 112},
	{"l2tp", 115},
	{"sctp", 132},
	{"udplite", 136},
	{"mpls", 137},
}

// etherTypes are the EtherTypes that have a name (IEEE registration authority).
var etherTypes = []word{
	{"ipv4", 0x0800},
	{"ip", 0x0800},
	{"arp", 0x0806},
	{"rarp", 0x8035},
	{"vlan", 0x8100},
	{"ipv6", 0x86dd},
	{"ip6", 0x86dd},
	{"lacp", 0x8809},
	{"mpls", 0x8847},
	{"pppoe", 0x8864},
	{"eapol", 0x888e},
	{"qinq", 0x88a8},
	{"lldp", 0x88cc},
	{"ptp", 0x88f7},
	{"fcoe", 0x8906},
}

// codePoints are the DiffServ code points that have a name (RFC 2474, 2597, 3246, 5865, 8622).
var codePoints = []word{
	{"cs0", 0},
	{"be", 0},
	{"le", 1},
	{"cs1", 8},
	{"af11", 10},
	{"af12", 12},
	{"af13", 14},
	{"cs2", 16},
	{"af21", 18},
	{"af22", 20},
	{"af23", 22},
	{"cs3", 24},
	{"af31", 26},
	{"af32", 28},
	{"af33", 30},
	{"cs4", 32},
	{"af41", 34},
	{"af42", 36},
	{"af43", 38},
	{"cs5", 40},
	{"voice-admit", 44},
	{"ef", 46},
	{"cs6", 48},
	{"cs7", 56},
}

// tcpFlags are the bits of the TCP header's control bits (RFC 9293 §3.1; ns is the ninth, historic).
var tcpFlags = []word{
	{"fin", 1}, {"syn", 2}, {"rst", 4}, {"psh", 8}, {"ack", 16}, {"urg", 32}, {"ece", 64}, {"cwr", 128}, {"ns", 256},
}

// ProtocolName returns the name of an IP protocol, or its number.
func ProtocolName(n uint8) string { return nameOf(protocols, uint64(n)) }

// EtherTypeName returns the name of an EtherType, or its number.
func EtherTypeName(n uint16) string { return nameOf(etherTypes, uint64(n)) }

// DSCPName returns the name of a code point, or its number.
func DSCPName(n uint8) string { return nameOf(codePoints, uint64(n)) }

// FlagNames returns the names of the TCP flags that are set, joined by "+", as "syn+ack"; "none" if there is none.
func FlagNames(flags uint16) string {
	var names []string
	rest := uint64(flags)
	for _, w := range tcpFlags {
		if rest&w.value != 0 {
			names = append(names, w.name)
			rest &^= w.value
		}
	}
	if rest != 0 {
		names = append(names, strconv.FormatUint(rest, 10))
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, "+")
}

// nameOf returns the first name of the value, or its number in decimal.
func nameOf(words []word, value uint64) string {
	for _, w := range words {
		if w.value == value {
			return w.name
		}
	}
	return strconv.FormatUint(value, 10)
}

// numberOf returns the value of a name.
func numberOf(words []word, name string) (uint64, bool) {
	for _, w := range words {
		if w.name == name {
			return w.value, true
		}
	}
	return 0, false
}
