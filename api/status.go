package api

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/enricher"
	"github.com/weirhq/weir/estate/feed"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/event/syslog"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/fold"
)

// Status is how an instance does: its ledger from socket to store.
type Status struct {
	Version   string                `json:"version"`
	Started   time.Time             `json:"started"`
	Data      string                `json:"data_directory"`
	Listen    []string              `json:"listen"`
	Store     StoreStatus           `json:"store"`
	Estate    EstateStatus          `json:"estate"`
	Ledger    Ledger                `json:"ledger"`           // the server fills it in
	Hosts     policyd.Summary       `json:"hosts"`            // the server fills it in
	Policy    policyd.PolicySummary `json:"policy"`           // the server fills it in
	Feed      *feed.PublisherStatus `json:"feed,omitempty"`   // nil where no collectors are served
	Follow    *feed.FollowerStatus  `json:"follow,omitempty"` // nil where the estate is known here
	Events    event.Stats           `json:"events"`
	Syslog    *syslog.Stats         `json:"syslog,omitempty"` // nil where no receiver is configured
	Collector collector.Stats       `json:"collector"`
	Enricher  enricher.Stats        `json:"enricher"`
	Writer    store.WriterStats     `json:"writer"`
	Retention store.RetentionStats  `json:"retention"`
	Fold      fold.Stats            `json:"fold"`
	Servers   []Process             `json:"servers"`           // this process, and the embedded store's
	Network   *store.NetworkStats   `json:"network,omitempty"` // as it is now; nil where the estate is another's
	Alarms    []string              `json:"alarms"`            // what is wrong now and wants somebody to act; the server fills it in
	Exporters []collector.Exporter  `json:"-"`                 // served at /api/v1/exporters
}

// Process is how a process does: what was told to the store of it last, which is of a minute that is over, and how long that is ago.
type Process struct {
	store.ServerStats
	AgeMs  uint64 `json:"age_ms" doc:"How long ago the time of the row is."`
	Silent bool   `json:"silent" doc:"That is more than two minutes: the process does not run, or nobody can look at it."`
}

// maxSilence is how old the latest row of a process may be, which gets one a minute.
const maxSilence = 2 * time.Minute

// ProcessAt returns what is to be said of a process now, of the latest row about it.
func ProcessAt(now time.Time, row store.ServerStats) Process {
	age := max(now.Sub(row.Time), 0)
	return Process{ServerStats: row, AgeMs: uint64(age.Milliseconds()), Silent: age > maxSilence}
}

// Age returns how long ago that is what is known of the process.
func (p *Process) Age() time.Duration { return time.Duration(p.AgeMs) * time.Millisecond }

// Uptime returns for how long the process runs, or did when it was last heard of.
func (p *Process) Uptime() time.Duration {
	up := time.Duration(p.UptimeMs) * time.Millisecond
	if p.Silent {
		return up
	}
	return up + p.Age()
}

// StoreStatus says which ClickHouse is used.
type StoreStatus struct {
	Mode     string `json:"mode"` // embedded or server
	Addr     string `json:"addr"`
	PID      int    `json:"pid,omitempty"`      // of the embedded store's process
	Restarts int    `json:"restarts,omitempty"` // of the embedded store after it ended by itself
	Problem  string `json:"problem,omitempty"`  // why it does not answer
}

// EstateStatus says what is known of the estate.
type EstateStatus struct {
	File     string         `json:"file,omitempty"`
	Problem  string         `json:"problem,omitempty"` // with the newest version of the file; the one before it is in use
	Warnings []string       `json:"warnings,omitempty"`
	Sources  []SourceReport `json:"sources,omitempty"` // pools and hosts that are asked by their management
	Pools    int            `json:"pools"`
	Hosts    int            `json:"hosts"`
	Networks int            `json:"networks"`
	VMs      int            `json:"vms"`
	VIFs     int            `json:"vifs"`
	Groups   int            `json:"groups"`
}

// SourceProblems says what is wrong with pools and hosts that are asked by their management, a sentence each.
func (e *EstateStatus) SourceProblems() []string {
	var list []string
	for i := range e.Sources {
		for _, p := range e.Sources[i].Problems {
			list = append(list, e.Sources[i].Title+": "+p)
		}
	}
	return list
}

// EventLine says in a line how many network events there were and what became of them.
func (s *Status) EventLine() string {
	e := &s.Events
	line := fmt.Sprintf("%d noticed + %d found = %d stored + %d wait + %d dropped", e.Emitted, e.Found, e.Stored, e.Waiting, s.eventsDropped())
	if s.Syslog != nil {
		line += fmt.Sprintf("; %d to syslog %s", s.Syslog.Sent, s.Syslog.Address)
	}
	return line
}

func (s *Status) eventsDropped() uint64 {
	sum := uint64(0)
	for _, n := range s.Events.Dropped {
		sum += n
	}
	return sum
}

// HostLine says in a line how many hosts were added to Weir.
func (s *Status) HostLine() string {
	if s.Hosts.Hosts == 0 && s.Hosts.Waiting == 0 {
		return "none is managed: weir hosts add"
	}
	line := fmt.Sprintf("%d managed, %d connected", s.Hosts.Hosts, s.Hosts.Connected)
	if s.Hosts.Waiting > 0 {
		line += fmt.Sprintf(", %d wait to be confirmed", s.Hosts.Waiting)
	}
	return line
}

// PolicyLine says in a line which policy is in force where.
func (s *Status) PolicyLine() string {
	p := &s.Policy
	if p.Revision == 0 && p.Enforced+p.Behind+p.Offline == 0 {
		return "none was applied"
	}
	parts := []string{fmt.Sprintf("revision %d, %s enforced", p.Revision, plural(p.Enforced, "host", "s"))}
	for _, more := range []struct {
		n    int
		text string
	}{
		{p.Behind, strconv.Itoa(p.Behind) + " behind"},
		{p.Offline, strconv.Itoa(p.Offline) + " offline"},
		{p.Bypasses, plural(p.Bypasses, "bypass", "es")},
		{p.Quarantined, plural(p.Quarantined, "VIF", "s") + " quarantined"},
		{p.Unguarded, plural(p.Unguarded, "VIF", "s") + " not guarded in full (weir policy effective estate --unguarded)"},
		{int(p.Drift), plural(int(p.Drift), "flow", "s") + " changed by others"},
	} {
		if more.n > 0 {
			parts = append(parts, more.text)
		}
	}
	return strings.Join(parts, ", ")
}

// plural returns "1 host", "2 hosts".
func plural(n int, noun, ending string) string {
	if n != 1 {
		noun += ending
	}
	return strconv.Itoa(n) + " " + noun
}

// Counts returns how many there are of each kind, as "1 pool", "3 hosts".
func (e *EstateStatus) Counts() []string {
	list := make([]string, 0, 6)
	for _, c := range []struct {
		n    int
		kind string
	}{
		{e.Pools, "pool"}, {e.Hosts, "host"}, {e.Networks, "network"}, {e.VMs, "VM"}, {e.VIFs, "VIF"}, {e.Groups, "group"},
	} {
		list = append(list, plural(c.n, c.kind, "s"))
	}
	return list
}

// OnTheWay returns the flows that were decoded and are neither stored nor lost yet.
func (s *Status) OnTheWay() uint64 {
	handedOver := s.Collector.Sealed - min(s.Collector.Sealed, s.Writer.In.Rows) // sealed, and not yet the writer's
	return s.Collector.Pending + handedOver + s.Writer.Waiting.Rows
}

// Lost returns the flows that the store did not get, by reason; reasons that did not occur are left out.
func (s *Status) Lost() map[string]uint64 {
	lost := map[string]uint64{}
	for reason, n := range s.Writer.Dropped {
		if n.Rows > 0 {
			lost[reason] = n.Rows
		}
	}
	return lost
}

// awayAlarm is how long the store may take nothing before there is alarm: longer than it takes to start it again.
const awayAlarm = 10 * time.Second

// alarms says what is wrong now, in sentences.
func (s *Status) alarms() []string {
	list := []string{}
	if s.Store.Problem != "" {
		list = append(list, "the store does not answer: "+s.Store.Problem)
	}
	if away := s.Writer.AwaySince; !away.IsZero() && time.Since(away) >= awayAlarm {
		list = append(list, fmt.Sprintf("the store takes no flows since %s, they wait in the write-ahead log: %s", away.UTC().Format(time.DateTime), s.Writer.LastError))
	}
	w := &s.Writer.WAL
	if !w.FullSince.IsZero() {
		list = append(list, fmt.Sprintf("the write-ahead log is full since %s: flows wait in memory, and are dropped when that is full too", w.FullSince.UTC().Format(time.DateTime)))
	}
	if w.Problem != "" {
		list = append(list, fmt.Sprintf("the write-ahead log is not on disk, %d batches are in memory only: %s", w.Volatile, w.Problem))
	}
	if n := s.Collector.ClocksOff; n > 0 {
		list = append(list, fmt.Sprintf("clocks of exporters are off, in %d observation domains: see weir exporters", n))
	}
	if f := s.Follow; f != nil && !f.Following && time.Since(f.Since) >= awayAlarm {
		list = append(list, fmt.Sprintf("policyd is not followed since %s, the estate stays as it was: %s", f.Since.UTC().Format(time.DateTime), f.Problem))
	}
	if s.Ledger.Problem != "" {
		list = append(list, "the books do not balance, which is a bug of weir: "+s.Ledger.Problem)
	}
	list = append(list, s.Estate.SourceProblems()...)
	list = append(list, s.Hosts.Problems...)
	list = append(list, s.Policy.Problems...)
	if e := &s.Events; e.Unkept != "" {
		list = append(list, "events are not kept on disk: "+e.Unkept)
	}
	if s.Syslog != nil && s.Syslog.Problem != "" {
		list = append(list, fmt.Sprintf("the syslog receiver %s is not reached: %s", s.Syslog.Address, s.Syslog.Problem))
	}
	return append(list, s.Retention.Alarms()...)
}
