package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"
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

// peerOf is the user at the other end of a socket.
func peerOf(ctx context.Context) string {
	if name, ok := ctx.Value(whoKey{}).(string); ok {
		return name
	}
	return "unknown"
}
