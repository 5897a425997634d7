package reconcile

import "github.com/weirhq/weir/ovs/openflow"

// Conn is what is used of a connection.
type Conn interface{ conn }

// Wake makes all bridges be looked at, as they are when what they wait for has come.
func (r *Reconciler) Wake() {
	for _, k := range r.list() {
		k.wake()
	}
}

// HandleWith is Handle of what f makes of c: a connection on which things go wrong.
func (r *Reconciler) HandleWith(c *openflow.Conn, f func(Conn) Conn) {
	l := newLink(c, r.deps.Now())
	l.conn = f(c)
	r.accept(l)
	r.listen(c, l)
}
