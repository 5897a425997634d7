package reconcile

import (
	"context"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/compile"
)

const (
	// A connection that belongs to no bridge that is known waits: after a start, bridges become known a moment after they dial. So
	// many wait, for so long.
	strangersMost = 256
	strangersWait = 15 * time.Second

	aliveTimeout = 5 * time.Second // within which the connection of a bridge must answer when there comes another one
)

// conn is what is used of a connection (*openflow.Conn).
type conn interface {
	Flows(ctx context.Context, filter openflow.Filter, each func(openflow.FlowStats)) error
	Groups(ctx context.Context) ([]openflow.Group, error)
	Meters(ctx context.Context) ([]openflow.MeterSpec, error)
	MaxMeter(ctx context.Context) (uint32, error)
	AddMeter(ctx context.Context, m openflow.MeterSpec, modify bool) error
	DeleteMeter(ctx context.Context, id uint32) error
	Apply(ctx context.Context, mods []openflow.Mod) error
	ApplyEach(ctx context.Context, mods []openflow.Mod) error
	Barrier(ctx context.Context) error
	Done() <-chan struct{}
	Err() error
	Close()
}

// link is a connection, and by what it is known whose it is.
type link struct {
	conn
	datapath    uint64
	addr        netip.AddrPort
	certificate ovsdb.Fingerprint // empty without TLS
	since       time.Time
	of          atomic.Pointer[Key] // whose it is; nil: not known
}

// stranger is a link that waits for its bridge to be known.
type stranger struct {
	*link
	until time.Time
}

// Handle takes the connection of a switch and returns when it has ended; it is made for openflow.Deps. One that is no bridge's is closed, and
// so are all when Run is over: ctx is not looked at, so that counters can be read for the last time.
func (r *Reconciler) Handle(_ context.Context, c *openflow.Conn) {
	l := newLink(c, r.deps.Now())
	r.accept(l)
	r.listen(c, l)
}

// listen hands over packets that a switch sends until its connection has ended.
func (r *Reconciler) listen(c *openflow.Conn, l *link) {
	for {
		select {
		case <-c.Done():
			return
		case e := <-c.Events():
			if in, ok := e.(openflow.PacketIn); ok {
				r.packet(l, &in)
			}
		}
	}
}

// packet hands over a packet of a flow of ours.
func (r *Reconciler) packet(l *link, in *openflow.PacketIn) {
	_, kind, _, ours := compile.SplitCookie(in.Cookie)
	of := l.of.Load()
	if of == nil || !ours || kind != compile.KindNotice || r.deps.Packets == nil {
		return
	}
	r.deps.Packets(Packet{Bridge: *of, Port: openflow.Port(in.Match.Term(openflow.FieldInPort).Value.Lo), Data: in.Data})
}

func newLink(c *openflow.Conn, now time.Time) *link {
	l := &link{conn: c, datapath: c.Features.DatapathID, addr: c.Addr, since: now}
	if len(c.Chain) > 0 {
		l.certificate = ovsdb.FingerprintOf(c.Chain[0])
	}
	return l
}

func (r *Reconciler) accept(l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ended:
		go l.Close()
	case r.running != nil && r.take(l):
	case len(r.strangers) >= strangersMost:
		r.refuse(l, refusedCrowd)
	default:
		r.strangers = append(r.strangers, stranger{l, r.deps.Now().Add(strangersWait)})
	}
}

// take gives a link to the bridge whose it is, or says that it is none's, or that it is not clear whose. r.mu is held.
func (r *Reconciler) take(l *link) bool {
	var found *keeper
	for _, k := range r.keepers {
		if k.expects(l) {
			if found != nil {
				found.confused(k)
				k.confused(found)
				return false
			}
			found = k
		}
	}
	if found == nil {
		return false
	}
	ctx := r.running
	r.all.Go(func() {
		for !found.connect(ctx, l) {
			if old := found.connection(); old != nil && (ctx.Err() != nil || alive(ctx, old)) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.refuse(l, refusedSecond)
				return
			} else if old != nil {
				found.lose(old)
			}
		}
	})
	return true
}

// alive says whether a connection answers.
func alive(ctx context.Context, l *link) bool {
	ctx, cancel := context.WithTimeout(ctx, aliveTimeout)
	defer cancel()
	return l.Barrier(ctx) == nil
}

// refuse closes a connection and counts why. r.mu is held.
func (r *Reconciler) refuse(l *link, why string) {
	r.metrics.refused.WithLabelValues(why).Inc()
	r.deps.Log.Debug("openflow connection refused", "reason", why, "datapath_id", l.datapath, "peer", l.addr)
	go l.Close()
}

// introduce gives strangers to bridges that are known now, and sends away those that waited long enough or are gone. r.mu is held.
func (r *Reconciler) introduce() {
	now := r.deps.Now()
	r.strangers = slices.DeleteFunc(r.strangers, func(s stranger) bool {
		select {
		case <-s.Done():
			return true
		default:
		}
		if r.take(s.link) {
			return true
		}
		if now.Before(s.until) {
			return false
		}
		for _, k := range r.keepers {
			k.mistaken(s.link)
		}
		r.refuse(s.link, refusedStranger)
		return true
	})
}
