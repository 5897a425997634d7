package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/collector/udp"
	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/instance"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/export"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/embedded"
	"github.com/weirhq/weir/store/wal"
)

// finding is the outcome of one check of `weir doctor`.
type finding struct {
	Check string `json:"check"`
	State string `json:"state"` // ok, warning, problem or skipped
	Found string `json:"found"`
	Do    string `json:"do,omitempty"` // what to do about it
}

func newDoctor() *cobra.Command {
	var data, configFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong with this machine or a running instance, and say what to do",
		Long: `Checks the configuration, the engine's library and the data directory. If an instance runs, also its store, estate,
exporters, receive buffers and losses; else whether one could bind its ports. It changes nothing. Exit code 1 means that
something is a problem.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings := examine(cmd.Context(), data, configFile)
			out := outputOf(cmd, asJSON)
			if err := printFindings(out, findings); err != nil {
				return err
			}
			for _, f := range findings {
				if f.State == "problem" {
					return errors.New("doctor: at least one problem was found")
				}
			}
			return nil
		},
	}
	dataFlag(cmd, &data)
	configFlag(cmd, &configFile)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func printFindings(out *cli.Output, findings []finding) error {
	if out.JSON {
		return cli.WriteJSON(out, findings)
	}
	styles := map[string]cli.Style{"ok": cli.Good, "warning": cli.Warn, "problem": cli.Bad, "skipped": cli.Dim}
	t := &cli.Table{Columns: []cli.Column{{Name: "CHECK"}, {Name: "STATE"}, {Name: "FOUND"}}}
	for _, f := range findings {
		t.Add(cell(f.Check), cli.Cell{Text: f.State, Style: styles[f.State]}, cell(f.Found))
	}
	if err := t.Write(out); err != nil {
		return err
	}
	for _, f := range findings {
		if f.Do != "" {
			if _, err := fmt.Fprintf(out.W, "\n%s: %s\n", f.Check, f.Do); err != nil {
				return err
			}
		}
	}
	return nil
}

// examine makes all checks, in the order in which one would look.
func examine(ctx context.Context, data, configFile string) []finding {
	dir := instance.DataDir(data)
	in, notFound := instance.Find(data)
	if notFound == nil {
		dir = in.Data
		if configFile == "" {
			configFile = in.Config
		}
	}
	cfg, file, err := loadConfig(configFile, dir)
	cfg.rebase(file, dir)
	list := []finding{checkConfiguration(file, err)}
	if cfg.Store.Mode == storeEmbedded {
		list = append(list, checkLibrary(cfg.Store.Embedded.Library))
	}
	list = append(list, checkDisk(dir, cfg.Store.Retention.WarnFree))
	switch {
	case notFound == nil:
		return append(list, checkInstance(ctx, in, cfg)...)
	case err == nil:
		list = append(list, checkEstateFile(cfg))
		if problems := cfg.Estate.check(); problems != nil {
			list = append(list, faultyFile("sources", problems.Error()))
		}
		list = append(list, checkSockets(ctx, cfg)...)
	}
	if !errors.Is(notFound, instance.ErrNotRunning) {
		return append(list, finding{"instance", "problem", notFound.Error(), "run this as the user of weir"})
	}
	return append(list, finding{Check: "instance", State: "skipped", Found: notFound.Error()})
}

// checkInstance asks a running instance how it does.
func checkInstance(ctx context.Context, in instance.Instance, cfg config) []finding {
	list := []finding{{Check: "instance", State: "ok", Found: fmt.Sprintf("pid %d, version %s, in %s", in.PID, in.Version, in.Data)}}
	var s api.Status
	var answer struct {
		Exporters []collector.Exporter `json:"exporters"`
	}
	c := client.Local(in, versionString())
	err := c.Get(ctx, "/api/v1/status", &s)
	if err == nil {
		err = c.Get(ctx, "/api/v1/exporters", &answer)
	}
	var exporting api.Hosts
	if err == nil && s.Hosts.Hosts > 0 {
		err = c.Get(ctx, "/api/v1/hosts", &exporting)
	}
	if err != nil {
		return append(list, finding{"api", "problem", err.Error(), "look at the log of weir; restart it if it hangs"})
	}
	buffer := udp.Buffer{Asked: int(cfg.Collector.RecvBuffer), Granted: int(cfg.Collector.RecvBuffer)}
	for _, socket := range s.Collector.Sockets {
		buffer.Granted = min(buffer.Granted, int(socket.QueueLimit/2)) // the kernel reserves twice what it grants
	}
	list = append(list, checkReceiveBuffer(buffer), checkStore(&s), checkLog(&s.Writer.WAL), checkRetention(&s.Retention), checkLoss(&s), checkEstate(&s))
	for i := range s.Estate.Sources {
		list = append(list, checkSource(&s.Estate.Sources[i], time.Now()))
	}
	return append(list, checkHosts(&s), checkPolicy(&s), checkEvents(&s),
		checkExporters(answer.Exporters, domainsOf(exporting.Hosts), in.Listen, time.Now()))
}

func checkConfiguration(file string, err error) finding {
	switch {
	case err != nil:
		return faultyFile("configuration", err.Error())
	case file == "":
		return finding{Check: "configuration", State: "ok", Found: "no file: the defaults are used"}
	default:
		return finding{Check: "configuration", State: "ok", Found: file}
	}
}

// faultyFile is the finding of a file with problems: what is wrong with it, one a line.
func faultyFile(check, problems string) finding {
	first, list, _ := strings.Cut(problems, "\n")
	return finding{check, "problem", first, strings.TrimSpace(list + "\n  mend the file; `weir check-config` checks it again")}
}

func checkLibrary(explicit string) finding {
	path, err := embedded.FindLibrary(explicit)
	if err != nil {
		return finding{"engine library", "problem", err.Error(), "`make deps` in the checkout installs it"}
	}
	return finding{Check: "engine library", State: "ok", Found: path}
}

func checkDisk(dir string, low bytesize.Size) finding {
	f := finding{Check: "data directory", State: "ok"}
	info, err := os.Stat(dir)
	if errors.Is(err, os.ErrNotExist) {
		f.Found = dir + " is not there yet"
		return f
	}
	var fs unix.Statfs_t
	if err == nil {
		err = unix.Statfs(dir, &fs)
	}
	if err != nil {
		return finding{f.Check, "problem", err.Error(), "run this as the user of weir"}
	}
	free := bytesize.Size(fs.Bavail * uint64(fs.Bsize))
	f.Found = fmt.Sprintf("%s, %s free", dir, cli.Bytes(float64(free)))
	switch {
	case info.Mode().Perm()&0o077 != 0:
		f.State, f.Do = "warning", fmt.Sprintf("others can read it (mode %o): chmod 700 %s", info.Mode().Perm(), dir)
	case free < low:
		f.State, f.Do = "warning", "make room, or move the data directory: below store.retention.min_free the oldest flows are dropped (docs/howto/size-the-store.md)"
	}
	return f
}

// checkEstateFile reads the estate file as `weir up` would.
func checkEstateFile(cfg config) finding {
	snapshot, err := readEstate(cfg.Estate.Config)
	if err != nil {
		return faultyFile("estate", err.Error())
	}
	e := countEntities(snapshot)
	e.File = cfg.Estate.File
	for _, w := range snapshot.Warnings() {
		e.Warnings = append(e.Warnings, w.Error())
	}
	return checkEstate(&api.Status{Estate: e})
}

// checkSockets binds what `weir up` would, and lets go of it at once.
func checkSockets(ctx context.Context, cfg config) []finding {
	var free, problems []string
	note := func(network, addr string, err error) {
		if err != nil {
			problems = append(problems, err.Error())
		} else {
			free = append(free, network+" "+addr)
		}
	}
	buffer := udp.Buffer{Asked: int(cfg.Collector.RecvBuffer), Granted: int(cfg.Collector.RecvBuffer)}
	for _, addr := range cfg.Collector.Listen {
		one := cfg.Collector
		one.Listen = []string{addr}
		conns, err := collector.Listen(one)
		for _, c := range conns {
			buffer.Granted = min(buffer.Granted, c.Buffer().Granted)
			err = errors.Join(err, c.Close())
		}
		note("udp", addr, err)
	}
	listen := func(l net.Listener, err error) error {
		if err != nil {
			return err
		}
		return l.Close()
	}
	if cfg.Store.Mode == storeEmbedded {
		note("tcp", cfg.Store.Embedded.Listen, listen(embedded.Listen(cfg.Store.Embedded)))
	}
	note("tcp", cfg.API.Listen, listen(api.Listen(cfg.API)))
	for _, l := range cfg.Hosts.Listeners {
		if strings.HasPrefix(l.Addr, "unix:") {
			continue // its file would have to be made
		}
		bound, err := hosts.Listen(ctx, []hosts.ListenerConfig{l})
		for _, b := range bound {
			err = errors.Join(err, b.Close())
		}
		note("tcp", l.Addr, err)
	}
	ports := finding{Check: "ports", State: "ok", Found: "free: " + strings.Join(free, ", ")}
	if len(problems) > 0 {
		ports.State, ports.Found = "problem", strings.Join(problems, "; ")
		ports.Do = "stop what listens there (`ss -lnptu` names it), or configure other ports: collector.listen, store.embedded.listen, api.listen, hosts.listeners"
	}
	return []finding{ports, checkReceiveBuffer(buffer)}
}

// checkReceiveBuffer judges what the kernel granted to the socket that got least.
func checkReceiveBuffer(b udp.Buffer) finding {
	asked, granted := bytesize.Size(b.Asked), bytesize.Size(b.Granted)
	switch advice := b.Advice(); {
	case b.Asked == 0:
		return finding{Check: "receive buffer", State: "ok", Found: "the kernel's default, as configured"}
	case advice != "":
		return finding{
			"receive buffer", "warning", fmt.Sprintf("%s a socket asked for, %s granted", asked, granted),
			"bursts of datagrams may be lost in the kernel: " + advice + "; deploy/sysctl/60-weir.conf does so at every boot",
		}
	default:
		return finding{Check: "receive buffer", State: "ok", Found: fmt.Sprintf("%s a socket, as asked for", asked)}
	}
}

func checkStore(s *api.Status) finding {
	f := finding{Check: "store", State: "ok", Found: fmt.Sprintf("%s at %s answers, %d flows stored since the start", s.Store.Mode, s.Store.Addr, s.Writer.Stored.Rows)}
	switch {
	case s.Store.Problem != "":
		f.State, f.Found, f.Do = "problem", s.Store.Problem, "look at the log of the store; flows wait in the write-ahead log meanwhile"
	case s.Store.Restarts > 0:
		f.State, f.Do = "warning", fmt.Sprintf("it ended by itself and was started again, %d times: look at the log for the reason", s.Store.Restarts)
	}
	return f
}

// checkLog judges the write-ahead log.
func checkLog(w *wal.Stats) finding {
	f := finding{Check: "write-ahead log", State: "ok", Found: fmt.Sprintf("%d batches with %d flows wait, %s of %s", w.Waiting, w.Rows, cli.Bytes(float64(w.Bytes)), cli.Bytes(float64(w.MaxBytes)))}
	switch {
	case !w.FullSince.IsZero():
		f.State, f.Found, f.Do = "problem", f.Found+", full", "bring the store back, or raise store.wal.max_size: flows wait in memory, and are dropped when that is full too"
	case w.Problem != "":
		f.State, f.Found, f.Do = "problem", fmt.Sprintf("%d batches are in memory only: %s", w.Volatile, w.Problem), "they are lost if weir ends before they are stored; mend the disk or make room on it"
	case w.Corrupt > 0:
		f.State, f.Found = "problem", fmt.Sprintf("%d damaged places were skipped", w.Corrupt)
		f.Do = "batches in them are lost: is the disk sound, and did something else write into the directory of the log?"
	case w.Bytes > w.MaxBytes/2:
		f.State, f.Do = "warning", "the store takes less than comes in: is it away or slow? When the log is full, flows are dropped"
	}
	return f
}

// checkRetention judges sizes and the store's disk.
func checkRetention(r *store.RetentionStats) finding {
	f := finding{Check: "store disk", State: "ok", Found: fmt.Sprintf("the tables take %s", cli.Bytes(float64(r.Bytes)))}
	if r.DiskTotal > 0 {
		f.Found += fmt.Sprintf(", %s of %s are free", cli.Bytes(float64(r.DiskFree)), cli.Bytes(float64(r.DiskTotal)))
	}
	if alarms := r.Alarms(); len(alarms) > 0 {
		f.State, f.Found = "warning", strings.Join(alarms, "; ")
		f.Do = "make room, or keep flows for a shorter time: store.retention (docs/howto/size-the-store.md)"
		if r.Full || r.Problem != "" {
			f.State = "problem"
		}
	}
	return f
}

func checkLoss(s *api.Status) finding {
	f := finding{Check: "losses", State: "ok", Found: "none since the start"}
	lost := s.Lost()
	if len(lost) > 0 {
		f.State, f.Found = "problem", "flows not stored: "+reasons(lost)
		f.Do = "store_full: the store is too slow or was away; refused: the log says why"
	}
	for _, protocol := range slices.Sorted(maps.Keys(s.Collector.Sequence)) {
		if n := s.Collector.Sequence[protocol].Lost; n > 0 {
			if f.State == "ok" {
				f.State, f.Found = "warning", ""
			}
			f.Found = strings.TrimPrefix(fmt.Sprintf("%s; %d %s lost before they were read", f.Found, n, collector.SequenceUnit(protocol)), "; ")
			f.Do = strings.TrimPrefix(f.Do+"; `weir exporters` says whose: where the kernel dropped nothing, look at the network between, and at the exporter", "; ")
		}
	}
	if s.Ledger.Problem != "" {
		f.State, f.Found = "problem", "the books do not balance: "+s.Ledger.Problem
		f.Do = "this is a bug of weir: please report it"
	}
	if s.Collector.KernelDrops > 0 {
		f.State = "problem"
		f.Found = strings.TrimPrefix(f.Found+fmt.Sprintf("; the kernel dropped %d datagrams", s.Collector.KernelDrops), "none since the start; ")
		f.Do = strings.TrimPrefix(f.Do+"; raise collector.recv_buffer and net.core.rmem_max, or collector.workers", "; ")
	}
	return f
}

func checkEstate(s *api.Status) finding {
	e := &s.Estate
	f := finding{Check: "estate", State: "ok", Found: strings.Join(e.Counts(), ", ")}
	switch {
	case e.Problem != "":
		f = faultyFile("estate", e.Problem)
		f.Do += "; the estate before that is in use until then"
	case e.VIFs == 0:
		if e.File == "" {
			f.Found = "no file is configured"
		}
		f.State, f.Do = "warning", "flows are stored without names: describe hosts and VMs in the estate file (docs/howto/describe-the-estate.md)"
	case len(e.Warnings) > 0:
		f.State, f.Do = "warning", strings.Join(e.Warnings, "\n  ")
	}
	return f
}

// checkHosts judges the sessions with hosts.
func checkHosts(s *api.Status) finding {
	f := finding{Check: "hosts", State: "ok", Found: s.HostLine()}
	if s.Hosts.Hosts == 0 {
		f.Found = "none was added: weir hosts add has their VMs known, and flows exported, by itself"
	}
	if len(s.Hosts.Problems) > 0 {
		f.State, f.Do = "warning", strings.Join(s.Hosts.Problems, "\n  ")+"\n  weir hosts test NAME looks for the reason, step by step"
	}
	return f
}

// checkPolicy judges whether policy is in force where it is to be.
func checkPolicy(s *api.Status) finding {
	f := finding{Check: "policy", State: "ok", Found: s.PolicyLine()}
	if len(s.Policy.Problems) > 0 {
		f.State, f.Do = "warning", strings.Join(s.Policy.Problems, "\n  ")+"\n  weir policy status shows it host by host"
	}
	return f
}

// checkEvents judges what becomes of network events.
func checkEvents(s *api.Status) finding {
	f := finding{Check: "events", State: "ok", Found: s.EventLine()}
	e := &s.Events
	switch {
	case e.Unkept != "":
		f.State, f.Found, f.Do = "problem", "they are not kept on disk: "+e.Unkept, "make room on the disk of the data directory, or mend it"
	case e.Dropped[event.ReasonQueue]+e.Dropped[event.ReasonAway] > 0:
		f.State, f.Do = "warning", "some are not in the store, since it was away for long or there were too many at once; the log has those that were dropped for the store's absence"
	case s.Syslog != nil && s.Syslog.Problem != "":
		f.State, f.Do = "warning", fmt.Sprintf("the syslog receiver %s is not reached: %s; events wait for it for a day", s.Syslog.Address, s.Syslog.Problem)
	}
	return f
}

// domainsOf returns the observation domains in which the bridges of hosts are to export now.
func domainsOf(list []policyd.HostStatus) map[uint32]bool {
	domains := map[uint32]bool{}
	for i := range list {
		for _, b := range list[i].Exports {
			if b.State != export.StateOff {
				domains[uint32(b.Domain)] = true
			}
			if b.Rules != nil && b.Rules.State != export.StateOff {
				domains[b.Rules.Domain] = true
			}
		}
	}
	return domains
}

// checkExporters judges what exporters send. A bridge that begins or ends to enforce policy may export in the other of its two domains from
// then on: that the former is silent is as it is to be, unless it is in wanted, those of hosts now.
func checkExporters(list []collector.Exporter, wanted map[uint32]bool, listen []string, now time.Time) finding {
	f := finding{Check: "exporters", State: "ok", Found: fmt.Sprintf("%d observation domains", len(list))}
	var do []string
	type domain struct {
		exporter netip.Addr
		number   uint32
	}
	heard, live := map[netip.Addr]bool{}, map[domain]bool{}
	for i := range list {
		if e := &list[i]; e.Live {
			heard[e.Exporter], live[domain{e.Exporter, e.Domain}] = true, true
		}
	}
	for i := range list {
		e := &list[i]
		name := fmt.Sprintf("%s domain %d", e.Exporter, e.Domain)
		moved := export.TwinDomain(e.Domain) != 0 && live[domain{e.Exporter, export.TwinDomain(e.Domain)}] && !wanted[e.Domain]
		if !e.Live && !moved && (e.Counts.Flows > 0 || !heard[e.Exporter]) { // Open vSwitch has a domain that never has flows
			do = append(do, fmt.Sprintf("%s is silent for %s: is it up, and does it still export here?", name, cli.Span(now.Sub(time.UnixMilli(e.LastSeen)))))
		}
		if e.HeldNow > 0 {
			do = append(do, fmt.Sprintf("%s: %d data sets wait for a template; many exporters send theirs every few minutes only", name, e.HeldNow))
		}
		if e.Loss.ClockOff {
			do = append(do, fmt.Sprintf("%s: its clock is off by %s, and times of its flows with it: synchronise it (NTP), and this machine's", name, e.ClockSummary()))
		}
		if len(e.Counts.Dropped) > 0 {
			do = append(do, fmt.Sprintf("%s: %s", name, reasons(e.Counts.Dropped)))
		}
	}
	switch {
	case len(list) == 0:
		f.State, f.Found, f.Do = "warning", "none has sent anything", "point NetFlow 5, NetFlow 9 or IPFIX at "+strings.Join(listen, " or ")+"; is a firewall between?"
	case len(do) > 0:
		f.State, f.Do = "warning", strings.Join(do, "\n  ")
	}
	return f
}
