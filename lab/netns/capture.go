package netns

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Capture keeps the frames that come in by an interface, until they are taken.
type Capture struct{ fd int }

// Capture begins to keep the frames that come in by an interface of n. The caller closes it.
func (n *Namespace) Capture(device string) (c *Capture, err error) {
	err = n.Do(func() error {
		i, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // nothing yet
		if err != nil {
			return err
		}
		c = &Capture{fd}
		const buffer = 8 << 20 // frames wait there until they are taken
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer); err != nil {
			return errors.Join(err, c.Close())
		}
		all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8) // network byte order
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index}); err != nil {
			return errors.Join(err, c.Close())
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("capture frames on %q: %w", device, err)
	}
	return c, nil
}

// Take calls f with each frame that came in since the last call, Ethernet header first; a VLAN tag the kernel has taken off already. f does not
// keep it. It fails if the kernel had no room for some.
func (c *Capture) Take(f func(frame []byte)) error {
	for b := make([]byte, 65536); ; {
		n, from, err := unix.Recvfrom(c.fd, b, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
			if err == nil && stats.Drops > 0 {
				err = fmt.Errorf("%d were lost", stats.Drops)
			}
			if err != nil {
				return fmt.Errorf("capture frames: %w", err)
			}
			return nil
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("capture frames: %w", err)
		default:
			if link, ok := from.(*unix.SockaddrLinklayer); !ok || link.Pkttype != unix.PACKET_OUTGOING {
				f(b[:n])
			}
		}
	}
}

// Close ends it.
func (c *Capture) Close() error { return unix.Close(c.fd) }
