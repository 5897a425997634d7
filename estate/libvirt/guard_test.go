package libvirt_test

import (
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/weirhq/weir/estate/libvirt"
)

// answer is a packet of libvirt's RPC that says to be n bytes long, an answer to the first call (what authentication there is).
func answer(n uint32, words ...uint32) []byte {
	var b []byte
	for _, w := range append([]uint32{n, 0x20008086, 1, 66, 1, 1, 0}, words...) {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

// Whoever listens in place of a libvirt cannot make Weir end, or make room for what does not come.
func TestHostilePackets(t *testing.T) {
	for name, c := range map[string]struct {
		says []byte
		want string
	}{
		"too short":                {answer(27), "found a packet of 27 bytes"},
		"empty":                    {make([]byte, 28), "found a packet of 0 bytes"},
		"4 GB":                     {answer(0xffffffff), "found a packet of 4294967295 bytes"},
		"32 MB that do not come":   {answer(32 << 20), ""},
		"a list of 2^31 elements":  {answer(32, 0x7fffffff), "lengths are beyond its end"},
		"another program's answer": {append(answer(28), answer(32, 0x7fffffff)...), "lengths are beyond its end"},
		"HTTP":                     {[]byte("HTTP/1.1 400 Bad Request\r\n\r\nand so on"), "is it libvirt that listens there?"},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = io.ReadFull(conn, make([]byte, 28)) // the first call
					_, _ = conn.Write(c.says)
					_ = conn.(*net.UnixConn).CloseWrite()
				}
			}()
			t.Cleanup(func() { l.Close() })
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			h, s := start(t, "test+unix:///default?socket="+socket)
			until(t, "it is refused", func() bool {
				st := h.Status()
				return st.State == libvirt.StateBackoff && strings.Contains(st.Error, c.want)
			})
			runtime.ReadMemStats(&after)
			if n := (after.TotalAlloc - before.TotalAlloc) >> 20; n > 100 {
				t.Errorf("%d MB were made room for", n)
			}
			if s.last != nil {
				t.Error("something came into the estate")
			}
		})
	}
}
