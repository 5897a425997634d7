package replay

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// Datagram is the UDP payload of one frame, or one raw file.
type Datagram struct {
	Frame   int            // number of the frame in its file, from 1
	Source  netip.AddrPort // who sent it; invalid for a raw file
	Port    uint16         // destination; 0 for a raw file
	Payload []byte         // valid until f returns
}

// Datagrams calls f with every datagram of flows in a file, in order: those to one of ports, or, where none is named,
// those that look like NetFlow, IPFIX or sFlow. It returns the first error, of reading or of f.
func Datagrams(file string, ports []uint16, f func(Datagram) error) (err error) {
	next, closeFile, err := open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeFile()) }()
	cfg := Config{Ports: ports}
	for frame := 1; ; frame++ {
		d, v, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if v != isUDP || !cfg.wants(&d) {
			continue
		}
		if err := f(Datagram{Frame: frame, Source: d.source, Port: d.port, Payload: d.payload}); err != nil {
			return fmt.Errorf("%s: frame %d: %w", file, frame, err)
		}
	}
}
