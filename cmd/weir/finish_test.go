package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/internal/instance"
	"github.com/weirhq/weir/policyd"
)

// A change that hosts carry out ends alike whatever it is: what is so is told, in text and in JSON, where it is not so yet, too, and the exit code says
// whether it is everywhere that it concerns; who does not wait is not told that it is not.
func TestFinish(t *testing.T) {
	var status policyd.PolicyStatus
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(status); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	c := client.Local(instance.Instance{API: strings.TrimPrefix(server.URL, "http://")}, "")
	o := &outcome{What: "bypass", Text: "policy is off for estate", Warning: "nobody is there", JSON: func(l late) any {
		return struct {
			Target string `json:"target"`
			late
		}{"estate", l}
	}}
	run := func(wait time.Duration, asJSON bool) (string, error) {
		cmd := &cobra.Command{}
		var out strings.Builder
		cmd.SetOut(&out)
		cmd.SetErr(&strings.Builder{})
		cmd.SetContext(t.Context())
		err := finish(cmd, c, wait, asJSON, o)
		return out.String(), err
	}
	host := func(name string, state policyd.HostState) policyd.HostPolicy {
		return policyd.HostPolicy{Host: name, State: state}
	}
	for _, x := range []struct {
		name      string
		hosts     []policyd.HostPolicy
		concerned []string
		wait      time.Duration
		partial   string // "" if it is done everywhere
		offline   string
		list      string
	}{
		{"everywhere", []policyd.HostPolicy{host("a", policyd.HostEnforced), host("b", policyd.HostObserving)}, nil, time.Nanosecond, "", "", `"behind":[],"offline":[]`},
		{"behind", []policyd.HostPolicy{host("a", policyd.HostEnforced), host("b", policyd.HostBehind)}, nil, time.Nanosecond, "bypass: not yet so at b", "", `"behind":["b"],"offline":[]`},
		{"offline, and behind", []policyd.HostPolicy{host("a", policyd.HostOffline), host("b", policyd.HostFailed)}, nil, time.Nanosecond, "bypass: not yet so at b, a", "until they are back: a", `"behind":["b"],"offline":["a"]`},
		{"not waited for", []policyd.HostPolicy{host("a", policyd.HostOffline), host("b", policyd.HostBehind)}, nil, 0, "", "until they are back: a", `"behind":["b"],"offline":["a"]`},
		{"others are offline, and behind", []policyd.HostPolicy{host("a", policyd.HostEnforced), host("b", policyd.HostOffline), host("c", policyd.HostBehind)}, []string{"a"}, time.Nanosecond, "", "", `"behind":[],"offline":[]`},
		{"one that is concerned is offline", []policyd.HostPolicy{host("a", policyd.HostEnforced), host("b", policyd.HostOffline), host("c", policyd.HostOffline)}, []string{"a", "c"}, time.Nanosecond, "bypass: not yet so at c:", "until they are back: c\n", `"behind":[],"offline":["c"]`},
		{"nobody is concerned", []policyd.HostPolicy{host("a", policyd.HostOffline)}, []string{}, time.Nanosecond, "", "", `"behind":[],"offline":[]`},
	} {
		status, o.Concerned = policyd.PolicyStatus{Hosts: x.hosts}, x.concerned
		for _, asJSON := range []bool{false, true} {
			out, err := run(x.wait, asJSON)
			var partial partialError
			if x.partial == "" && err != nil || x.partial != "" && (!errors.As(err, &partial) || !strings.Contains(err.Error(), x.partial)) {
				t.Errorf("%s, JSON %t: %v, want %q", x.name, asJSON, err, x.partial)
			}
			if compact := strings.Join(strings.Fields(out), ""); asJSON && compact != `{"target":"estate",`+x.list+"}" {
				t.Errorf("%s: %s", x.name, out)
			}
			if !asJSON && (!strings.HasPrefix(out, "policy is off for estate\n") || !strings.HasSuffix(out, "nobody is there\n") || x.offline == "" && strings.Contains(out, "offline") || !strings.Contains(out, x.offline)) {
				t.Errorf("%s: %s", x.name, out)
			}
		}
	}
}
