package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/traffic"
)

// blast sends datagrams as fast as a rate, from one VM to another, and counts those that come.
type blast struct {
	sender, receiver net.PacketConn
	to               net.Addr
	sent, received   atomic.Uint64 // octets on the wire
	stop             chan struct{}
	done             chan struct{}
}

const (
	blastSize = 1400
	blastWire = blastSize + 8 + 20 + 14 // with headers of UDP, IPv4 and Ethernet, which meters and queues count
)

func startBlast(r *policyRun, from, to *netns.Namespace, server netip.Addr, kbit int) *blast {
	r.Helper()
	b := &blast{stop: make(chan struct{}), done: make(chan struct{}, 2), to: net.UDPAddrFromAddrPort(netip.AddrPortFrom(server, 9))}
	open := func(n *netns.Namespace, addr string, conn *net.PacketConn) {
		r.must(n.Do(func() (err error) {
			*conn, err = (&net.ListenConfig{}).ListenPacket(r.ctx, "udp4", addr)
			return err
		}))
	}
	open(to, netip.AddrPortFrom(server, 9).String(), &b.receiver)
	open(from, "0.0.0.0:0", &b.sender)
	go func() {
		defer func() { b.done <- struct{}{} }()
		buf := make([]byte, blastSize)
		for {
			if _, _, err := b.receiver.ReadFrom(buf); errors.Is(err, net.ErrClosed) {
				return
			}
			b.received.Add(blastWire)
		}
	}()
	go func() {
		defer func() { b.done <- struct{}{} }()
		const tick = 2 * time.Millisecond
		packet := make([]byte, blastSize)
		t := time.NewTicker(tick)
		defer t.Stop()
		last := time.Now()
		for due := 0.0; ; {
			select {
			case <-b.stop:
				return
			case now := <-t.C:
				due = min(due+float64(kbit)*1000/8*now.Sub(last).Seconds(), float64(kbit)*1000/8/20) // it does not make up for more than 50 ms
				last = now
			}
			for ; due >= blastWire; due -= blastWire {
				if _, err := b.sender.WriteTo(packet, b.to); err == nil {
					b.sent.Add(blastWire)
				}
			}
		}
	}()
	return b
}

func (b *blast) end() {
	close(b.stop)
	_ = b.sender.Close()
	_ = b.receiver.Close()
	<-b.done
	<-b.done
}

// rates returns how much was sent and came during some time, in kbit/s.
func (b *blast) rates(ctx context.Context, during time.Duration) (sent, received float64) {
	s, got, begin := b.sent.Load(), b.received.Load(), time.Now()
	soon, cancel := context.WithTimeout(ctx, during)
	defer cancel()
	<-soon.Done()
	took := time.Since(begin).Seconds() * 125
	return float64(b.sent.Load()-s) / took, float64(b.received.Load()-got) / took
}

// goes checks that what comes is within 15 % of a rate. Windows in which the machine let the sender send less than half as much again say nothing, and
// of the others one is enough: the first may have the burst, or a change, in it.
func (r *policyRun) goes(b *blast, what string, kbit float64) {
	r.Helper()
	var all []string
	for range 60 {
		sent, got := b.rates(r.ctx, 2*time.Second)
		all = append(all, fmt.Sprintf("%.0f of %.0f", got, sent))
		if sent >= 1.5*kbit && got > .85*kbit && got < 1.15*kbit {
			r.Logf("%s: %.0f kbit/s set; came, of those sent: %s", what, kbit, strings.Join(all, ", "))
			return
		}
		if r.ctx.Err() != nil {
			break
		}
	}
	r.Fatalf("%s: %.0f kbit/s set; came, of those sent: %s", what, kbit, strings.Join(all, ", "))
}

func ratePolicy(out, in string) string {
	return fmt.Sprintf("vms:\n  - name: web\n    settings: {rate_out: %s, rate_in: %s}\n", out, in)
}

// What is asked of the rates of a VM is what passes, while traffic goes on, at VIFs that are plugged later and after a restart of the switch; limits of
// others stay; and nothing of it is left.
func TestRates(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up and Open vSwitch")
	}
	r := startPolicyRun(t, false)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	r.ctx = ctx
	var before string
	rows := func() string {
		t.Helper()
		var list []string
		for _, q := range [][]string{
			{"--columns=name,qos,external_ids", "list", "port"}, {"--columns=name,ingress_policing_rate,ingress_policing_burst,external_ids", "list", "interface"}, {"list", "qos"}, {"list", "queue"},
		} {
			out, err := r.host.VSCtl(ctx, append([]string{"--format=csv", "--no-headings"}, q...)...)
			r.must(err)
			list = append(list, out)
		}
		return strings.Join(list, "\n--\n")
	}
	before = rows()
	meters := func() string {
		t.Helper()
		out, err := r.host.OFCtl(ctx, "-OOpenFlow13", "dump-meters", "br0")
		r.must(err)
		return out
	}
	_, err := r.host.OFCtl(ctx, "-OOpenFlow13", "add-meter", "br0", "meter=7,kbps,band=type=drop,rate=1000")
	r.must(err)

	r.weir("policy", "apply", r.file(ratePolicy(`"20Mbit/s burst 100kB"`, `"30Mbit/s burst 100kB"`)))
	r.weir("hosts", "mode", "hv1", "enforce", "--yes")
	said := func(pattern string) {
		t.Helper()
		apptest.Eventually(t, soon, "weir policy effective says "+pattern, func() error {
			if out := r.weir("policy", "effective", "web/0"); !regexp.MustCompile(pattern).MatchString(out) {
				return fmt.Errorf("it says\n%s", out)
			}
			return nil
		})
	}
	said(`rate_out: at host hv1, port .*: 20Mbit/s burst 100kB by a meter`)
	said(`rate_in: at host hv1, port .*: 30Mbit/s burst 100kB by a queue \(linux-htb\) of its port`)
	out := startBlast(r, r.web.Namespace, r.db.Namespace, r.db.Addrs[0].Addr(), 60_000)
	r.goes(out, "meter", 20_000)
	if plan := r.weir("policy", "plan", r.file(ratePolicy(`"10Mbit/s burst 100kB"`, "off"))); !strings.Contains(plan, "out 10Mbit/s burst 100kB by a meter") {
		t.Errorf("weir policy plan:\n%s", plan)
	}
	set := func(args ...string) { r.weir(append([]string{"policy", "set", "vm:web", "--yes"}, args...)...) }
	set("rate_out=10Mbit/s burst 100kB")
	r.goes(out, "meter, changed while traffic goes on", 10_000)
	out.end()

	in := startBlast(r, r.db.Namespace, r.web.Namespace, r.web.Addrs[0].Addr(), 90_000)
	r.goes(in, "htb", 30_000)
	class, err := r.host.VSCtl(ctx, "--bare", "get", "port", r.web.Port.Name, "qos")
	r.must(err)
	set("rate_in=15Mbit/s burst 100kB")
	r.goes(in, "htb, changed while traffic goes on", 15_000)
	if now, err := r.host.VSCtl(ctx, "--bare", "get", "port", r.web.Port.Name, "qos"); err != nil || now != class {
		t.Errorf("the port's QoS is %s after a change of the rate, was %s: %v", now, class, err)
	}
	in.end()

	// For information: TCP takes what the queue leaves it.
	stream, err := traffic.NewStream(ctx, traffic.StreamConfig{From: r.db.Namespace, To: r.web.Namespace, Server: netip.AddrPortFrom(r.web.Addrs[0].Addr(), 5201), Interval: 100 * time.Microsecond})
	r.must(err)
	up, _ := stream.Received()
	begin := time.Now()
	r.must(stream.Goes(ctx))
	window, end := context.WithTimeout(ctx, 2*time.Second)
	<-window.Done()
	end()
	now, _ := stream.Received()
	t.Logf("TCP to the VM at 15 Mbit/s: %.0f kbit/s", float64(now-up)/time.Since(begin).Seconds()/125)
	stream.Close()

	if m := meters(); !strings.Contains(m, "meter=7 ") || strings.Count(m, "meter=") != 2 {
		t.Errorf("meters\n%s\nwant that of others, and one", m)
	}

	// A VIF that is plugged later, with another port number, and a switch that forgot its flows and meters.
	r.must(r.web.Replug(ctx))
	r.must(r.host.RestartSwitch(ctx))
	out = startBlast(r, r.web.Namespace, r.db.Namespace, r.db.Addrs[0].Addr(), 60_000)
	r.goes(out, "meter, plugged anew and after a restart of the switch", 10_000)
	in = startBlast(r, r.db.Namespace, r.web.Namespace, r.web.Addrs[0].Addr(), 60_000)
	r.goes(in, "htb, plugged anew", 15_000)
	if m := meters(); strings.Count(m, "meter=") != 1 { // others' went with the restart, too
		t.Errorf("meters\n%s", m)
	}

	// What others put in place of Weir's stays, and what they take away comes back.
	_, err = r.host.VSCtl(ctx, "clear", "port", r.web.Port.Name, "qos")
	r.must(err)
	r.goes(in, "htb, after others removed it", 15_000)
	_, err = r.host.VSCtl(ctx, "--id=@q", "create", "qos", "type=linux-htb", "other_config:max-rate=5000000", "external_ids:by=them", "--", "set", "port", r.web.Port.Name, "qos=@q")
	r.must(err)
	said(`rate_in: .*foreign: its port has a QoS of others.*5Mbit/s acts, and not 15Mbit/s`)
	r.goes(in, "the htb of others", 5_000)
	_, err = r.host.VSCtl(ctx, "clear", "port", r.web.Port.Name, "qos", "--", "--all", "destroy", "qos", "--", "--all", "destroy", "queue")
	r.must(err)
	r.goes(in, "htb, after others gave way", 15_000)

	// Removed, nothing is left.
	set("rate_out=off", "rate_in=off")
	apptest.Eventually(t, soon, "no row and no meter is left", func() error {
		if found, err := r.host.VSCtl(ctx, "--bare", "--columns=_uuid", "list", "qos", "--", "list", "queue"); err != nil || strings.TrimSpace(found) != "" {
			return fmt.Errorf("rows %q, %w", found, err)
		}
		if m := meters(); strings.Contains(m, "meter=") {
			return fmt.Errorf("meters %s", m)
		}
		return nil
	})
	apptest.Eventually(t, soon, "nothing is limited any more", func() error {
		if sent, got := out.rates(ctx, time.Second); got < 20_000 {
			return fmt.Errorf("%.0f of %.0f kbit/s came", got, sent)
		}
		return nil
	})
	set("rate_out=10Mbit/s", "rate_in=15Mbit/s")
	apptest.Eventually(t, soon, "rows are there", func() error {
		if found := rows(); !strings.Contains(found, "weir-former-qos") {
			return errors.New(found)
		}
		return nil
	})
	out.end()
	in.end()
	r.weir("hosts", "detach", "hv1", "--yes")
	apptest.Eventually(t, soon, "the host is as before", func() error {
		if now := rows(); strings.Contains(now, "weir") || strings.Contains(now, "linux-htb") {
			return fmt.Errorf("%s\nbefore\n%s", now, before)
		}
		return nil
	})
	if m := meters(); strings.Contains(m, "meter=") {
		t.Errorf("meters after detaching\n%s", m)
	}
}
