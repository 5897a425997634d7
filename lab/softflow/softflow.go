// Package softflow runs softflowd, a flow exporter that nobody here wrote, on an interface of a namespace, and knows
// what its flows must add up to.
//
//	exporter, err := softflow.Start(ctx, softflow.Config{Namespace: a, Device: "eth0", Collector: …, Version: 9, …})
//	… traffic …
//	totals, err := exporter.Truth(ctx)   from the counters of the interface
//	err = exporter.Stop(ctx)             exports everything
//
// What softflowd 1.1.0 (Debian 12) does, by experiment:
//
//   - It counts IP packets of both directions, by the total length in their header; ARP is left out, neighbour
//     discovery and multicast listener reports are ICMPv6 flows like others. With NetFlow 5 it leaves IPv6 out.
//   - libpcap keeps the packets of the last, unfilled block for ever, and they are lost at the end. Truth fills it.
//   - Interface indexes are 0 unless the argument is "-i INDEX:DEVICE" (Config.Index). MAC addresses and VLANs are there with
//     "-T ether" only.
//   - NetFlow 9 and IPFIX send four templates: IPv4 and IPv6, each with ports (1024, 2048) or with icmpTypeCode (1025,
//     2049), all with times since boot; an options template with the sampling rate, and for IPFIX the boot time that
//     the times are relative to. "-A milli" makes the times of IPFIX absolute.
//   - The header of NetFlow 5 says no sampling rate at all (0); ICMP type and code are in the destination port.
//   - A connection's last packets may come a while after the program that sent them was told that all is well; Settle
//     of lab/traffic waits for that.
package softflow

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/weirhq/weir/lab/netns"
)

// Config of an exporter.
type Config struct {
	Namespace *netns.Namespace
	Device    string         // whose packets it counts, both directions
	Index     int            // interface index that its flows say; 0: none
	Collector netip.AddrPort // reachable from Namespace
	Version   uint8          // 5, 9 or 10
	Dir       string         // for its socket and log, e.g. that of the bed
	Args      []string       // further arguments of softflowd
}

// Exporter is a softflowd that runs.
type Exporter struct {
	cfg     Config
	process *netns.Process
	socket  string
	base    netns.Counters // at the moment from which softflowd counts
	others  *netns.Others  // frames that it does not count
}

const (
	startTimeout = time.Minute
	drainTimeout = time.Minute
	poll         = 20 * time.Millisecond

	ethernetHeader = 14
	captureBuffer  = "67108864" // bytes; libpcap's 2 MiB overflow while a busy machine lets softflowd wait
)

// Check says why there can be no exporter on this machine, or nil.
func Check() error {
	for _, tool := range []string{"softflowd", "softflowctl"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("check softflowd: %s is not installed (Debian package softflowd)", tool)
		}
	}
	return nil
}

// Start starts softflowd and returns once it captures. It begins at a moment when nothing passes, so that Truth knows
// from where it counts. The caller stops it.
func Start(ctx context.Context, cfg Config) (*Exporter, error) {
	for {
		e, err := try(ctx, cfg)
		if e != nil || err != nil {
			return e, err
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("start softflowd: packets pass all the time: %w", err)
		}
	}
}

// try starts softflowd and what counts beside it. Both results are nil if a packet passed meanwhile.
func try(ctx context.Context, cfg Config) (e *Exporter, err error) {
	counted := []uint16{netns.EtherTypeIPv4, netns.EtherTypeIPv6}
	if cfg.Version == 5 {
		counted = counted[:1]
	}
	before, err := cfg.Namespace.Counters(cfg.Device)
	if err != nil {
		return nil, fmt.Errorf("start softflowd: %w", err)
	}
	others, err := cfg.Namespace.Others(cfg.Device, counted...)
	if err != nil {
		return nil, fmt.Errorf("start softflowd: %w", err)
	}
	if e, err = start(ctx, cfg); err != nil {
		return nil, errors.Join(err, others.Close())
	}
	e.others = others
	if e.base, err = cfg.Namespace.Counters(cfg.Device); err == nil && e.base == before {
		return e, nil
	}
	// Killed, it exports nothing.
	return nil, errors.Join(err, e.process.Stop(syscall.SIGKILL, time.Second), others.Close())
}

func start(ctx context.Context, cfg Config) (*Exporter, error) {
	name := fmt.Sprintf("softflowd-%s-%s-%d", cfg.Namespace.Name(), cfg.Device, cfg.Version)
	e := &Exporter{cfg: cfg, socket: filepath.Join(cfg.Dir, name+".ctl")}
	if err := os.Remove(e.socket); err != nil && !errors.Is(err, os.ErrNotExist) { // of one that was killed
		return nil, fmt.Errorf("start softflowd: %w", err)
	}
	device := cfg.Device
	if cfg.Index != 0 {
		device = strconv.Itoa(cfg.Index) + ":" + device
	}
	args := []string{
		"-d", "-B", captureBuffer, "-i", device, "-v", strconv.Itoa(int(cfg.Version)), "-n", cfg.Collector.String(),
		"-c", e.socket, "-p", filepath.Join(cfg.Dir, name+".pid"),
	}
	var err error
	if e.process, err = cfg.Namespace.Start(filepath.Join(cfg.Dir, name+".log"), "softflowd", append(args, cfg.Args...)...); err != nil {
		return nil, fmt.Errorf("start softflowd: %w", err)
	}
	deadline := time.Now().Add(startTimeout)
	for {
		_, err := e.Statistics(ctx)
		if err == nil {
			return e, nil
		}
		select {
		case <-e.process.Done():
			return nil, fmt.Errorf("start softflowd: it ended: %s", strings.TrimSpace(e.process.Log()))
		case <-time.After(poll):
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, errors.Join(fmt.Errorf("start softflowd: %w: %s", err, strings.TrimSpace(e.process.Log())), e.process.Stop(syscall.SIGKILL, time.Second))
		}
	}
}

// Control gives a command of softflowctl and returns the answer.
func (e *Exporter) Control(ctx context.Context, command string) (string, error) {
	out, err := exec.CommandContext(ctx, "softflowctl", "-c", e.socket, command).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("softflowctl %s: %w: %s", command, err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// Statistics are what softflowd says of itself, in packets.
type Statistics struct {
	Received  uint64 // by libpcap
	Processed uint64 // counted in flows
	Ignored   uint64 // not IP, or too short; of version 5, IPv6 too
	Dropped   uint64 // by libpcap or the interface
	Failed    uint64 // export datagrams
}

var statistics = map[string]*regexp.Regexp{
	"received":  regexp.MustCompile(`Packets received by libpcap: (\d+)`),
	"processed": regexp.MustCompile(`Packets processed: (\d+)`),
	"ignored":   regexp.MustCompile(`Ignored packets: (\d+)`),
	"dropped":   regexp.MustCompile(`Packets dropped by libpcap: (\d+)`),
	"lost":      regexp.MustCompile(`Packets dropped by interface: (\d+)`),
	"failed":    regexp.MustCompile(`in \d+ packets \((\d+) failures\)`),
}

// Statistics asks softflowd.
func (e *Exporter) Statistics(ctx context.Context) (Statistics, error) {
	said, err := e.Control(ctx, "statistics")
	if err != nil {
		return Statistics{}, err
	}
	values := map[string]uint64{}
	for name, form := range statistics {
		m := form.FindStringSubmatch(said)
		if m == nil {
			return Statistics{}, fmt.Errorf("read statistics of softflowd: nothing like %q in %q", form, said)
		}
		if values[name], err = strconv.ParseUint(m[1], 10, 64); err != nil {
			return Statistics{}, fmt.Errorf("read statistics of softflowd: %s: %w", name, err)
		}
	}
	return Statistics{
		Received: values["received"], Processed: values["processed"], Ignored: values["ignored"],
		Dropped: values["dropped"] + values["lost"], Failed: values["failed"],
	}, nil
}

// Log is what softflowd wrote.
func (e *Exporter) Log() string { return e.process.Log() }

// Totals are IP packets of both directions and their bytes from the IP header on.
type Totals struct{ Packets, Bytes uint64 }

// filler is a frame that softflowd ignores: of an EtherType for local experiments (IEEE 802), to nobody.
var filler = append([]byte{2, 0, 0, 0, 0, 0xfe, 2, 0, 0, 0, 0, 0xff, 0x88, 0xb5}, make([]byte, 1000)...)

// Truth returns what the interface counted since Start: what the flows must add up to, once nothing passes any more.
// It returns when softflowd has counted all of it, and fails if softflowd lost packets.
//
// libpcap hands over packets by the block, and the last block stays where it is until others fill it: Truth fills it
// with frames that are not IP.
func (e *Exporter) Truth(ctx context.Context) (Totals, error) {
	deadline := time.Now().Add(drainTimeout)
	for {
		others, err := e.others.Counts()
		if err != nil {
			return Totals{}, err
		}
		now, err := e.cfg.Namespace.Counters(e.cfg.Device)
		if err != nil {
			return Totals{}, err
		}
		link := now.Sub(e.base).Sub(others)
		s, err := e.Statistics(ctx)
		switch {
		case err != nil:
			return Totals{}, err
		case s.Dropped > 0:
			return Totals{}, fmt.Errorf("drain softflowd: it lost packets: %+v", s)
		case s.Processed == link.Packets():
			return Totals{s.Processed, link.Bytes() - ethernetHeader*s.Processed}, nil
		case time.Now().After(deadline):
			return Totals{}, fmt.Errorf("drain softflowd: IP packets on the interface: %+v, and it says %+v", link, s)
		}
		if err := e.cfg.Namespace.Inject(e.cfg.Device, filler, 100); err != nil {
			return Totals{}, err
		}
		select {
		case <-ctx.Done():
			return Totals{}, fmt.Errorf("drain softflowd: %w", ctx.Err())
		case <-time.After(poll):
		}
	}
}

// Flush makes softflowd export all flows now.
func (e *Exporter) Flush(ctx context.Context) error {
	_, err := e.Control(ctx, "expire-all")
	return err
}

// Stop makes softflowd export all flows and end. What it has not counted by then, it never will: see Truth.
func (e *Exporter) Stop(ctx context.Context) error {
	return errors.Join(e.stop(ctx), e.others.Close())
}

func (e *Exporter) stop(ctx context.Context) error {
	if _, err := e.Control(ctx, "shutdown"); err != nil {
		return errors.Join(err, e.process.Stop(syscall.SIGTERM, 30*time.Second))
	}
	select {
	case <-e.process.Done():
		return nil
	case <-ctx.Done():
	case <-time.After(startTimeout):
	}
	return e.process.Stop(syscall.SIGTERM, 30*time.Second)
}
