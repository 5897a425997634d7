package flowgen

import (
	"math"
	"time"
)

// Party is one end of a profile: the VMs of a role, all VMs, or a population outside of the estate.
type Party string

// Parties that are not a role.
const (
	AnyVM    Party = "any"
	Internet Party = "internet" // thousands of clients, by Zipf's law
	Offices  Party = "offices"
	Partners Party = "partners"
	Mirrors  Party = "mirrors"
	Everyone Party = "everyone" // multicast or broadcast: all hosts with the network see it
)

// populations are the address groups of the parties outside of the estate, with their weights.
var populations = map[Party][]struct {
	group  string
	weight float64
}{
	Internet: {{"internet-europe", 0.55}, {"internet-americas", 0.3}, {"internet-asia", 0.15}},
	Offices:  {{"office-berlin", 0.7}, {"office-oslo", 0.3}},
	Partners: {{"partners", 1}},
	Mirrors:  {{"mirrors", 1}},
}

// Amount is a log-normal distribution.
type Amount struct {
	Median float64
	Spread float64 // standard deviation of the natural logarithm
	Max    float64 // larger values are cut off to it; 0 is no bound
}

func (a Amount) draw(r *random) int64 {
	v := a.Median
	if a.Spread > 0 {
		v *= math.Exp(a.Spread * r.normal())
	}
	if a.Max > 0 {
		v = min(v, a.Max)
	}
	return int64(v)
}

// Rhythm is how the rate of a profile changes over the day (UTC). Its mean is 1.
type Rhythm uint8

// Rhythms.
const (
	Steady  Rhythm = iota
	Diurnal        // most at 15:00, least at 03:00, 4 to 1
	Hourly         // all of it within the first six minutes of an hour
)

// at returns the factor at t, ms since epoch UTC.
func (r Rhythm) at(t int64) float64 {
	const hour, day = int64(time.Hour / time.Millisecond), int64(24 * time.Hour / time.Millisecond)
	switch r {
	case Diurnal:
		return 1 + 0.6*math.Sin(2*math.Pi*float64(t%day-9*hour)/float64(day))
	case Hourly:
		if t%hour < hour/10 {
			return 10
		}
		return 0
	default:
		return 1
	}
}

// peak returns the largest factor.
func (r Rhythm) peak() float64 {
	switch r {
	case Diurnal:
		return 1.6
	case Hourly:
		return 10
	default:
		return 1
	}
}

// Form is the shape of a conversation.
type Form uint8

// Forms.
const (
	Stream   Form = iota // TCP: Request and Response are bytes of payload
	Datagram             // UDP, one or more datagrams each way
	Echo                 // ICMP or ICMPv6: Request is the number of echos, all answered
	Probe                // one TCP SYN to any port of the server, mostly unanswered
	Announce             // UDP multicast, one datagram
	Resolve              // ARP in IPv4, neighbour solicitation in IPv6
)

// Profile is one kind of traffic.
type Profile struct {
	Name           string
	Share          float64 // of all conversations, relative to the other profiles
	Client, Server Party
	Network        int // where it is seen: Front or Back
	Form           Form
	Port           uint16
	IPv6           float64 // share of IPv6
	Request        Amount  // client to server, bytes of payload
	Response       Amount
	Duration       Amount // ms
	Rhythm         Rhythm
	TOS            uint8
}

// Profiles returns the traffic of every estate.
func Profiles() []Profile {
	const kB, MB, second, minute = 1e3, 1e6, 1e3, 60e3
	return []Profile{
		{
			Name: "web", Share: 28, Client: Internet, Server: "web", Network: Front, Port: 443, IPv6: 0.3, Rhythm: Diurnal,
			Request: Amount{900, 0.8, MB}, Response: Amount{30 * kB, 1.8, 500 * MB}, Duration: Amount{400, 1.3, 10 * minute},
		},
		{
			Name: "web-redirect", Share: 3, Client: Internet, Server: "web", Network: Front, Port: 80, IPv6: 0.1, Rhythm: Diurnal,
			Request: Amount{350, 0.4, 4 * kB}, Response: Amount{500, 0.3, 4 * kB}, Duration: Amount{90, 0.8, minute},
		},
		{
			Name: "web-office", Share: 2.5, Client: Offices, Server: "web", Network: Front, Port: 443, IPv6: 0.5, Rhythm: Diurnal,
			Request: Amount{1500, 1, MB}, Response: Amount{40 * kB, 1.5, 200 * MB}, Duration: Amount{2 * second, 1.3, 10 * minute},
		},
		{
			Name: "web-upload", Share: 0.7, Client: Partners, Server: "web", Network: Front, Port: 443, IPv6: 0.2, Rhythm: Steady,
			Request: Amount{300 * kB, 1.5, 500 * MB}, Response: Amount{900, 0.4, 10 * kB}, Duration: Amount{3 * second, 1, 10 * minute},
		},
		{
			Name: "app", Share: 15, Client: "web", Server: "app", Network: Back, Port: 8080, IPv6: 0.4, Rhythm: Diurnal,
			Request: Amount{1200, 0.8, 10 * MB}, Response: Amount{9 * kB, 1.3, 100 * MB}, Duration: Amount{60, 1.2, minute},
		},
		{
			Name: "database", Share: 9, Client: "app", Server: "db", Network: Back, Port: 5432, IPv6: 0.4, Rhythm: Diurnal,
			Request: Amount{4 * kB, 1.4, 20 * MB}, Response: Amount{30 * kB, 1.7, 500 * MB}, Duration: Amount{4 * second, 1.6, 20 * minute},
		},
		{
			Name: "replication", Share: 0.12, Client: "db", Server: "db", Network: Back, Port: 5432, IPv6: 0.4, Rhythm: Steady,
			Request: Amount{2 * kB, 0.3, 0}, Response: Amount{10 * MB, 1, 500 * MB}, Duration: Amount{4 * minute, 0.5, 20 * minute},
		},
		{
			Name: "cache", Share: 7, Client: "app", Server: "cache", Network: Back, Port: 6379, IPv6: 0.4, Rhythm: Diurnal,
			Request: Amount{400, 0.8, MB}, Response: Amount{3 * kB, 1.2, 10 * MB}, Duration: Amount{30, 1.2, minute},
		},
		{
			Name: "dns", Share: 11, Client: AnyVM, Server: "dns", Network: Back, Form: Datagram, Port: 53, IPv6: 0.4, Rhythm: Diurnal,
			Request: Amount{44, 0.2, 255}, Response: Amount{120, 0.5, 1200}, Duration: Amount{1, 1, second},
		},
		{
			Name: "dns-recursion", Share: 4, Client: "dns", Server: Internet, Network: Front, Form: Datagram, Port: 53, IPv6: 0.4, Rhythm: Diurnal,
			Request: Amount{48, 0.2, 255}, Response: Amount{180, 0.6, 1200}, Duration: Amount{18, 0.9, 5 * second},
		},
		{
			Name: "mail", Share: 1.2, Client: Internet, Server: "mail", Network: Front, Port: 25, IPv6: 0.15, Rhythm: Diurnal,
			Request: Amount{22 * kB, 1.6, 30 * MB}, Response: Amount{600, 0.3, 5 * kB}, Duration: Amount{2 * second, 1, 5 * minute},
		},
		{
			Name: "mailbox", Share: 1, Client: Offices, Server: "mail", Network: Front, Port: 993, IPv6: 0.5, Rhythm: Diurnal,
			Request: Amount{2 * kB, 0.8, MB}, Response: Amount{25 * kB, 1.6, 50 * MB}, Duration: Amount{40 * second, 1.2, 20 * minute},
		},
		{
			Name: "vpn", Share: 0.3, Client: Offices, Server: "vpn", Network: Front, Form: Datagram, Port: 51820, Rhythm: Diurnal,
			Request: Amount{MB, 1.3, 200 * MB}, Response: Amount{6 * MB, 1.3, 500 * MB}, Duration: Amount{5 * minute, 0.8, 20 * minute},
		},
		{
			Name: "files", Share: 0.8, Client: "app", Server: "files", Network: Back, Port: 2049, IPv6: 0.4, Rhythm: Diurnal,
			Request: Amount{80 * kB, 1.8, 200 * MB}, Response: Amount{200 * kB, 1.8, 500 * MB}, Duration: Amount{90 * second, 1, 20 * minute},
		},
		{
			Name: "git", Share: 0.8, Client: "build", Server: "git", Network: Back, Port: 22, IPv6: 0.4, Rhythm: Diurnal, TOS: 0x08,
			Request: Amount{6 * kB, 0.6, MB}, Response: Amount{400 * kB, 1.8, 500 * MB}, Duration: Amount{1500, 1, 5 * minute},
		},
		{
			Name: "build-download", Share: 1.2, Client: "build", Server: Mirrors, Network: Back, Port: 443, IPv6: 0.5, Rhythm: Diurnal,
			Request: Amount{1500, 0.6, 50 * kB}, Response: Amount{2 * MB, 1.8, 800 * MB}, Duration: Amount{2 * second, 1.1, 10 * minute},
		},
		{
			Name: "deploy", Share: 0.3, Client: "build", Server: AnyVM, Network: Back, Port: 22, IPv6: 0.4, Rhythm: Diurnal, TOS: 0x10,
			Request: Amount{300 * kB, 1.6, 100 * MB}, Response: Amount{8 * kB, 0.8, MB}, Duration: Amount{6 * second, 0.8, 5 * minute},
		},
		{
			Name: "backup", Share: 0.05, Client: AnyVM, Server: "backup", Network: Back, Port: 873, IPv6: 0.4, Rhythm: Hourly, TOS: 0x08,
			Request: Amount{80 * MB, 1.2, 2000 * MB}, Response: Amount{40 * kB, 0.5, MB}, Duration: Amount{50 * second, 0.8, 20 * minute},
		},
		{
			Name: "monitoring", Share: 5, Client: "monitor", Server: AnyVM, Network: Back, Port: 9100, IPv6: 0.4, Rhythm: Steady,
			Request: Amount{280, 0.05, kB}, Response: Amount{22 * kB, 0.3, MB}, Duration: Amount{25, 0.5, 5 * second},
		},
		{
			Name: "syslog", Share: 3, Client: AnyVM, Server: "monitor", Network: Back, Form: Datagram, Port: 514, Rhythm: Diurnal,
			Request: Amount{900, 1.2, 500 * kB}, Duration: Amount{3 * second, 1.2, 5 * minute},
		},
		{
			Name: "ntp", Share: 0.8, Client: AnyVM, Server: "dns", Network: Back, Form: Datagram, Port: 123, IPv6: 0.4, Rhythm: Steady, TOS: 0xb8,
			Request: Amount{48, 0, 0}, Response: Amount{48, 0, 0}, Duration: Amount{1, 0.5, 100},
		},
		{
			Name: "ping", Share: 2.5, Client: "monitor", Server: AnyVM, Network: Back, Form: Echo, IPv6: 0.4, Rhythm: Steady,
			Request: Amount{3, 0, 0}, Duration: Amount{2 * second, 0, 0},
		},
		{
			Name: "scan", Share: 1.5, Client: Internet, Server: AnyVM, Network: Front, Form: Probe, Rhythm: Steady,
		},
		{
			Name: "mdns", Share: 0.5, Client: AnyVM, Server: Everyone, Network: Back, Form: Announce, Port: 5353, IPv6: 0.5, Rhythm: Steady,
			Request: Amount{160, 0.5, 1200},
		},
		{
			Name: "neighbours", Share: 1.5, Client: AnyVM, Server: Everyone, Network: Back, Form: Resolve, IPv6: 0.4, Rhythm: Steady,
		},
	}
}
