package store_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// gate is a way to a server that can be shut: connections break then, and new ones are ended at once.
type gate struct {
	addr string // of the gate
	to   string // of the server

	mu    sync.Mutex
	shut  bool                  // guarded by mu
	conns map[net.Conn]struct{} // guarded by mu: those of open ways, both ends

	// answer, if not nil, is called with the bytes of each answer of the server; it returns false to break the way instead of
	// handing them on. Guarded by mu.
	answer func([]byte) bool
}

func newGate(t testing.TB, to string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{addr: l.Addr().String(), to: to, conns: map[net.Conn]struct{}{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { g.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		g.close()
		wg.Wait()
	})
	return g
}

func (g *gate) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", g.to)
	if err != nil {
		return
	}
	defer server.Close()
	if !g.enter(client, server) {
		return
	}
	defer g.leave(client, server)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(server, client)
		server.Close()
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if n > 0 && g.passes(buf[:n]) {
			_, _ = client.Write(buf[:n])
		} else if err == nil {
			break
		}
		if err != nil {
			break
		}
	}
	client.Close()
	wg.Wait()
}

func (g *gate) passes(b []byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.answer == nil || g.answer(b)
}

// watch makes f the judge of answers.
func (g *gate) watch(f func([]byte) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = f
}

func (g *gate) enter(conns ...net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range conns {
		g.conns[c] = struct{}{}
	}
	return !g.shut
}

func (g *gate) leave(conns ...net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range conns {
		delete(g.conns, c)
	}
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	for c := range g.conns {
		c.Close()
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = false
}
