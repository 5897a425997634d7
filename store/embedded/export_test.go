package embedded

import (
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// What the tests look at besides the exported names.

type Statement struct {
	Insert             bool
	Text, Format, Head string
	Data               int
	WithOutput         string
}

func ParseStatement(text string) Statement {
	st := parse(text)
	s := Statement{Insert: st.insert, Text: st.text, Format: st.format, Head: st.head, Data: st.data}
	if !st.insert && st.text != "" {
		s.WithOutput, _ = st.withOutput("P", "F")
	}
	return s
}

func Screen(text string) error { return screen(text) }

type Request struct {
	ID, Query, Database, Format, Encoding, BlockMethod string
	Params, Settings                                   [][2]string
	Revision                                           uint64
	Blocks, Unblock, Wait, ReadOnly                    bool
}

func ParseRequest(r *http.Request) (Request, error) {
	args, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return Request{}, err
	}
	q, err := parseRequest(r, args)
	out := Request{
		ID: q.id, Query: q.query, Database: q.database, Format: q.format, Encoding: q.encoding, BlockMethod: q.blockMethod,
		Revision: q.revision, Blocks: q.blocks, Unblock: q.unblock, Wait: q.wait, ReadOnly: q.readonly,
	}
	for _, p := range q.params {
		out.Params = append(out.Params, [2]string{p.Name, p.Value})
	}
	for _, s := range q.settings {
		out.Settings = append(out.Settings, [2]string{s.name, s.value})
	}
	return out, err
}

// SessionSet is the SET statement of a session.
func SessionSet(asked [][2]string, lim Limits, restricted, readonly bool) (string, error) {
	var set []setting
	for _, a := range asked {
		set = append(set, setting{a[0], a[1]})
	}
	set, err := sessionSettings(set, lim, restricted, readonly, "TAG")
	return setStatement(set), err
}

func Quote(s string) string { return quote(s, '\'') }

func CredentialsOf(r *http.Request) (Credentials, bool, error) {
	return credentials(r, r.URL.Query())
}

type Throttle struct{ t *throttle }

func NewThrottle(now func() time.Time) Throttle       { return Throttle{newThrottle(now)} }
func (t Throttle) Blocked(a netip.Addr) time.Duration { return t.t.blocked(a) }
func (t Throttle) Failed(a netip.Addr)                { t.t.failed(a) }
func (t Throttle) Len() int                           { return len(t.t.seen) }

const (
	ThrottleFailures = throttleFailures
	ThrottleWindow   = throttleWindow
	ThrottleEntries  = throttleEntries
)

var (
	EnsureUsers   = ensureUsers
	VerifyLibrary = verifyLibrary
	TagSetting    = tagSetting
)
