package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/policyd/audit"
)

// ListenAdmin binds the socket at which calls that change something are taken: a unix socket of this user only. One that an earlier
// run left is replaced; the caller holds the lock of the data directory.
func ListenAdmin(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen for administration: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		if len(path) > 107 { // sun_path of unix(7)
			err = fmt.Errorf("%w: the path has %d bytes, at most 107 are possible: choose a shorter data directory", err, len(path))
		}
		return nil, fmt.Errorf("listen for administration at %q: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for administration: %w", err), l.Close())
	}
	return l, nil
}

type whoKey struct{}

// withPeer notes in the context of a connection which user is at its other end.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return ctx
	}
	var peer *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) { peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil || failed != nil {
		return ctx
	}
	name := "uid " + strconv.FormatUint(uint64(peer.Uid), 10)
	if u, err := user.LookupId(strconv.FormatUint(uint64(peer.Uid), 10)); err == nil {
		name = u.Username
	}
	return context.WithValue(ctx, whoKey{}, name)
}

// who is the user that asks, over the admin socket.
func who(ctx context.Context) audit.Actor {
	name, ok := ctx.Value(whoKey{}).(string)
	if !ok {
		name = "unknown"
	}
	return audit.Actor{User: name, Source: "socket"}
}

// local refuses what a browser could be made to send: the socket is for programs.
func local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
