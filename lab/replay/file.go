package replay

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"
)

const (
	maxPayload = 65507  // of UDP over IPv4
	maxFrame   = 262144 // what capture tools store at most
)

// source yields the datagrams of a file. The payload is valid until the next call; io.EOF ends it. Frames that hold
// no datagram are yielded with their verdict.
type source func() (datagram, verdict, error)

// open returns the datagrams of a file and what closes it.
func open(name string) (source, func() error, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	next, err := read(file)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read %q: %w", name, err), file.Close())
	}
	named := func() (datagram, verdict, error) {
		d, v, err := next()
		if err != nil && !errors.Is(err, io.EOF) {
			err = fmt.Errorf("read %q: %w", name, err)
		}
		return d, v, err
	}
	return named, file.Close, nil
}

// Magic numbers at the start of files.
var (
	magicGzip   = []byte{0x1f, 0x8b}
	magicPcapNG = []byte{0x0a, 0x0d, 0x0d, 0x0a}
	magicPcap   = [][]byte{
		{0xa1, 0xb2, 0xc3, 0xd4}, {0xd4, 0xc3, 0xb2, 0xa1}, // times in µs
		{0xa1, 0xb2, 0x3c, 0x4d}, {0x4d, 0x3c, 0xb2, 0xa1}, // times in ns
	}
)

// read tells the kind of file by its first bytes. None of the capture formats begins like flow data.
func read(r io.Reader) (source, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	head, _ := b.Peek(4) // a shorter file is told apart below
	if bytes.HasPrefix(head, magicGzip) {
		unzipped, err := gzip.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		b = bufio.NewReaderSize(unzipped, 1<<16)
		if head, err = b.Peek(4); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("gzip: %w", err)
		}
	}
	if bytes.HasPrefix(head, magicPcapNG) {
		return readPcapNG(b)
	}
	for _, magic := range magicPcap {
		if bytes.HasPrefix(head, magic) {
			return readPcap(b)
		}
	}
	return readRaw(b)
}

func readPcap(b io.Reader) (source, error) {
	r, err := pcapgo.NewReader(b)
	if err != nil {
		return nil, fmt.Errorf("pcap: %w", err)
	}
	r.SetSnaplen(maxFrame)
	link := linkType(r.LinkType())
	return captured("pcap", r.ZeroCopyReadPacketData, func(gopacket.CaptureInfo) linkType { return link }), nil
}

func readPcapNG(b io.Reader) (source, error) {
	r, err := pcapgo.NewNgReader(b, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
	if err != nil {
		return nil, fmt.Errorf("pcapng: %w", err)
	}
	link := func(ci gopacket.CaptureInfo) linkType {
		i, err := r.Interface(ci.InterfaceIndex)
		if err != nil {
			return ^linkType(0)
		}
		return linkType(i.LinkType)
	}
	return captured("pcapng", r.ZeroCopyReadPacketData, link), nil
}

// captured returns the datagrams of the frames that next yields. A file that ends within a frame, as that of a
// capture which was killed, ends there.
func captured(format string, next func() ([]byte, gopacket.CaptureInfo, error), link func(gopacket.CaptureInfo) linkType) source {
	return func() (datagram, verdict, error) {
		frame, ci, err := next()
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			return datagram{}, isTruncated, io.EOF
		case errors.Is(err, io.EOF):
			return datagram{}, isOther, io.EOF
		case err != nil:
			return datagram{}, isOther, fmt.Errorf("%s: %w", format, err)
		}
		d, v := parse(link(ci), frame)
		return d, v, nil
	}
}

// readRaw returns the whole file as one datagram.
func readRaw(b io.Reader) (source, error) {
	payload, err := io.ReadAll(io.LimitReader(b, maxPayload+1))
	switch {
	case err != nil:
		return nil, err
	case len(payload) == 0:
		return nil, errors.New("the file is empty")
	case len(payload) > maxPayload:
		return nil, fmt.Errorf("neither pcap nor pcapng, and longer than one datagram can be (%d bytes)", maxPayload)
	case !isFlowExport(payload):
		return nil, fmt.Errorf("neither pcap nor pcapng, nor one datagram of flows: it begins with % x", payload[:min(len(payload), 4)])
	}
	done := false
	return func() (datagram, verdict, error) {
		if done {
			return datagram{}, isOther, io.EOF
		}
		done = true
		return datagram{source: netip.AddrPort{}, payload: payload}, isUDP, nil
	}, nil
}
