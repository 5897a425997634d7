package embedded

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"
)

// credentials returns what the client gave as name and password: headers X-ClickHouse-User and -Key, basic authentication, or the URL
// parameters user and password, and only one of these. given is false when there is none.
func credentials(r *http.Request, args url.Values) (c Credentials, given bool, err error) {
	ways := 0
	if user, key := r.Header.Get("X-ClickHouse-User"), r.Header.Get("X-ClickHouse-Key"); user != "" || key != "" {
		c, ways = Credentials{user, key}, ways+1
	}
	if r.Header.Get("Authorization") != "" {
		user, password, ok := r.BasicAuth()
		if !ok {
			return c, true, refuse(codeAuthFailed, "Invalid authentication: only HTTP Basic is supported in the Authorization header")
		}
		c, ways = Credentials{user, password}, ways+1
	}
	if args.Has("user") || args.Has("password") {
		// Clients repeat in the URL what they said in the header; the same user once more is no contradiction.
		if u := (Credentials{args.Get("user"), args.Get("password")}); ways == 0 || u.Password != "" {
			c, ways = u, ways+1
		}
	}
	if ways > 1 {
		return c, true, refuse(codeAuthFailed, "Invalid authentication: it is not allowed to use several authentication methods (X-ClickHouse headers, Authorization header, URL parameters) at the same time")
	}
	return c, ways == 1, nil
}

// check says which user c is. It takes the same time whatever is wrong.
func (u Users) check(c Credentials) (writer, ok bool) {
	equal := func(a, b string) int {
		x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
		return subtle.ConstantTimeCompare(x[:], y[:])
	}
	w := equal(c.Name, u.Writer.Name) & equal(c.Password, u.Writer.Password)
	r := equal(c.Name, u.ReadOnly.Name) & equal(c.Password, u.ReadOnly.Password)
	return w == 1, w|r == 1
}

const (
	throttleFailures = 20          // wrong logins of one address before it has to wait
	throttleWindow   = time.Minute // after which one address starts anew
	throttleEntries  = 4096        // addresses remembered
	throttlePrefix6  = 64          // an IPv6 client has a whole /64
)

// throttle counts wrong logins per address. It is safe for concurrent use.
type throttle struct {
	now func() time.Time

	mu   sync.Mutex
	seen map[netip.Prefix]*failures // guarded by mu
}

type failures struct {
	count int
	since time.Time
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, seen: make(map[netip.Prefix]*failures)}
}

func throttleKey(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = throttlePrefix6
	}
	p, _ := a.Prefix(bits)
	return p
}

// blocked says how long logins from a are refused without looking, 0 for not at all.
func (t *throttle) blocked(a netip.Addr) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.seen[throttleKey(a)]
	if f == nil || f.count < throttleFailures {
		return 0
	}
	return max(0, f.since.Add(throttleWindow).Sub(t.now()))
}

// failed notes a wrong login from a.
func (t *throttle) failed(a netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, key := t.now(), throttleKey(a)
	f := t.seen[key]
	if f == nil {
		if len(t.seen) >= throttleEntries {
			for k, old := range t.seen {
				if now.Sub(old.since) >= throttleWindow {
					delete(t.seen, k)
				}
			}
			for k := range t.seen { // all are recent: any one makes room
				if len(t.seen) < throttleEntries {
					break
				}
				delete(t.seen, k)
			}
		}
		f = &failures{since: now}
		t.seen[key] = f
	}
	if now.Sub(f.since) >= throttleWindow {
		f.count, f.since = 0, now
	}
	f.count++
}
