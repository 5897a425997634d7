package api

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/policyd"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"count": groupDigits,
	"size":  func(n uint64) string { return bytesize.Size(min(n, math.MaxInt64)).Short() },
	"bytes": func(n int64) string { return bytesize.Size(n).Short() },
	"ago": func(ms int64, now time.Time) string {
		return now.Sub(time.UnixMilli(ms)).Round(time.Second).String()
	},
	"protocol": func(v uint8) string {
		if v == 10 {
			return "IPFIX"
		}
		return fmt.Sprintf("NetFlow %d", v)
	},
	"unit":     collector.SequenceUnit,
	"loss":     func(e collector.Exporter) string { return e.LossSummary() },
	"clock":    func(e collector.Exporter) string { return e.ClockSummary() },
	"sampling": func(e collector.Exporter) string { return e.SamplingSummary() },
}).Parse(pageText))

// status is how the instance does, with its alarms.
func (s *Server) status() Status {
	status := s.deps.Status()
	status.balance()
	if s.deps.Hosts != nil {
		list, waiting := s.deps.Hosts.Hosts()
		status.Hosts = policyd.Summarize(list, waiting, time.Now())
	}
	if s.deps.Policy != nil {
		status.Policy = s.deps.Policy.PolicySummary()
	}
	status.Alarms = status.alarms()
	return status
}

// groupDigits writes n in groups of three digits, as 1 234 567 with thin spaces.
func groupDigits(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// page is the status page: HTML without scripts, which renews itself.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	status := s.status()
	now := time.Now()
	var out bytes.Buffer
	err := pageTemplate.Execute(&out, map[string]any{
		"S": &status, "Now": now, "Up": now.Sub(status.Started).Round(time.Second),
	})
	if err != nil {
		s.deps.Log.Error("status page", "err", err)
		http.Error(w, "status page: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(out.Bytes()) // the client may be gone: nothing is lost
}
