package collector_test

import (
	"encoding/binary"
	"time"
)

// v9Fields is the template of the packets of tests and benchmarks: 20 fields, 55 octets.
var v9Fields = [][2]uint16{
	{8, 4},
	{12, 4},
	{15, 4},
	{10, 4},
	{14, 4},
	{2, 4},
	{1, 4},
	{22, 4},
	{21, 4},
	{7, 2},
	{11, 2},
	{6, 1},
	{4, 1},
	{5, 1},
	{16, 4},
	{17, 4},
	{9, 1},
	{13, 1},
	{61, 1},
	{48, 1},
}

const (
	v9Template = 256
	v9Flows    = 24 // of a data packet, which has 1344 octets
)

func v9Header(records int) []byte {
	b := binary.BigEndian.AppendUint16(nil, 9)
	b = binary.BigEndian.AppendUint16(b, uint16(records))
	b = binary.BigEndian.AppendUint32(b, 3_600_000) // sysUpTime
	b = binary.BigEndian.AppendUint32(b, uint32(time.Now().Unix()))
	b = binary.BigEndian.AppendUint32(b, 0) // sequence
	return binary.BigEndian.AppendUint32(b, 7)
}

// v9TemplatePacket announces v9Template.
func v9TemplatePacket() []byte {
	b := v9Header(1)
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(8+4*len(v9Fields)))
	b = binary.BigEndian.AppendUint16(b, v9Template)
	b = binary.BigEndian.AppendUint16(b, uint16(len(v9Fields)))
	for _, f := range v9Fields {
		b = binary.BigEndian.AppendUint16(b, f[0])
		b = binary.BigEndian.AppendUint16(b, f[1])
	}
	return b
}

// v9DataPacket has flows of v9Template. Flow i is from 10.0.0.i, port first+i.
func v9DataPacket(first uint16, flows int) []byte {
	b := v9Header(flows)
	b = binary.BigEndian.AppendUint16(b, v9Template)
	b = binary.BigEndian.AppendUint16(b, uint16(4+55*flows))
	for i := range flows {
		b = append(b, 10, 0, 0, byte(i))
		b = append(b, 192, 0, 2, 1)
		b = append(b, 0, 0, 0, 0)
		for _, v := range []uint32{1, 2, 10, 1500, 3_590_000, 3_595_000} {
			b = binary.BigEndian.AppendUint32(b, v)
		}
		b = binary.BigEndian.AppendUint16(b, first+uint16(i))
		b = binary.BigEndian.AppendUint16(b, 443)
		b = append(b, 0x18, 6, 0)
		b = append(b, 0, 0, 0xfd, 0xe8, 0, 0, 0xfd, 0xe9)
		b = append(b, 24, 24, 0, 0)
	}
	return b
}

// v5Packet has flows from 10.0.0.i.
func v5Packet(flows int) []byte {
	b := binary.BigEndian.AppendUint16(nil, 5)
	b = binary.BigEndian.AppendUint16(b, uint16(flows))
	b = binary.BigEndian.AppendUint32(b, 3_600_000)
	b = binary.BigEndian.AppendUint32(b, uint32(time.Now().Unix()))
	b = append(b, make([]byte, 12)...)
	for i := range flows {
		b = append(b, 10, 0, 0, byte(i), 192, 0, 2, 1, 0, 0, 0, 0, 0, 1, 0, 2)
		for _, v := range []uint32{10, 1500, 3_590_000, 3_595_000} {
			b = binary.BigEndian.AppendUint32(b, v)
		}
		b = append(b, 0x30, 0x39, 1, 187, 0, 0x18, 6, 0, 0, 0, 0, 0, 24, 24, 0, 0)
	}
	return b
}
