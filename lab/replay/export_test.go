package replay

// Parse is parse without what only Run needs.
func Parse(link uint32, frame []byte) (payload []byte, ok bool) {
	d, v := parse(linkType(link), frame)
	return d.payload, v == isUDP
}
