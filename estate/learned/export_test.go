package learned

// OfDHCPv6 returns p with what tells DHCPv6 from DHCP.
func (p Packet) OfDHCPv6(six bool) Packet {
	p.v6 = six
	return p
}

// MaxAddrs is how many addresses of a VIF are remembered.
const MaxAddrs = maxAddrs

// Asked returns of how many VIFs a question of a DHCP client is remembered.
func (l *Learner) Asked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.asked)
}
