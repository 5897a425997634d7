package netns

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Others counts the frames on an interface that are of other EtherTypes than given, as ARP: interface counters hold
// them, flow exporters leave them out. It is for one goroutine.
type Others struct {
	fd      int
	counted Counters
}

// EtherTypes of IP.
const (
	EtherTypeIPv4 = unix.ETH_P_IP
	EtherTypeIPv6 = unix.ETH_P_IPV6
)

// Others begins to count the frames on an interface of n, in both directions, that are not of etherTypes. The caller
// closes it.
func (n *Namespace) Others(device string, etherTypes ...uint16) (o *Others, err error) {
	err = n.Do(func() error {
		i, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // nothing yet
		if err != nil {
			return err
		}
		o = &Others{fd: fd}
		if err := except(fd, etherTypes); err != nil {
			return errors.Join(err, o.Close())
		}
		const buffer = 8 << 20 // frames wait there until Counts
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer); err != nil {
			return errors.Join(err, o.Close())
		}
		all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8) // network byte order
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index}); err != nil {
			return errors.Join(err, o.Close())
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count other frames on %q: %w", device, err)
	}
	return o, nil
}

// except makes the kernel pass to fd only frames that are not of etherTypes.
func except(fd int, etherTypes []uint16) error {
	code := []bpf.Instruction{bpf.LoadAbsolute{Off: 12, Size: 2}}
	for _, t := range etherTypes {
		code = append(code, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(t), SkipTrue: 1}, bpf.RetConstant{Val: 0})
	}
	program, err := bpf.Assemble(append(code, bpf.RetConstant{Val: 1 << 18})) // bytes of the frame to keep: its length is told by them
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, x := range program {
		filter[i] = unix.SockFilter{Code: x.Op, Jt: x.Jt, Jf: x.Jf, K: x.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

// Counts returns what of the interface's counters since the beginning are other frames. It fails if the kernel had no room
// for some.
func (o *Others) Counts() (Counters, error) {
	b := make([]byte, 64)
	for {
		n, from, err := unix.Recvfrom(o.fd, b, unix.MSG_TRUNC) // returns the whole length
		switch {
		case errors.Is(err, unix.EAGAIN):
			stats, err := unix.GetsockoptTpacketStats(o.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
			if err != nil {
				return Counters{}, fmt.Errorf("count other frames: %w", err)
			}
			if stats.Drops > 0 {
				return Counters{}, fmt.Errorf("count other frames: %d were lost", stats.Drops)
			}
			return o.counted, nil
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return Counters{}, fmt.Errorf("count other frames: %w", err)
		default:
			if link, ok := from.(*unix.SockaddrLinklayer); ok && link.Pkttype == unix.PACKET_OUTGOING {
				o.counted.TxPackets++
				o.counted.TxBytes += uint64(n)
			} else {
				o.counted.RxPackets++
				o.counted.RxBytes += uint64(n)
			}
		}
	}
}

// Close ends counting.
func (o *Others) Close() error { return unix.Close(o.fd) }

// Inject sends a frame, Ethernet header included, by an interface of n as many times as said.
func (n *Namespace) Inject(device string, frame []byte, times int) error {
	err := n.Do(func() error {
		i, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // receives nothing
		if err != nil {
			return err
		}
		for range times {
			if err = unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: i.Index}); err != nil {
				break
			}
		}
		return errors.Join(err, unix.Close(fd))
	})
	if err != nil {
		return fmt.Errorf("inject frames by %q: %w", device, err)
	}
	return nil
}
