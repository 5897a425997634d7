package template

// Held is a data set that came before its template, with what its message said.
type Held struct {
	Template uint16
	Received int64  // ms; when the datagram came
	Exported int64  // ms; export time of the message
	Uptime   uint32 // ms; sysUpTime of the message (NetFlow 9)
	Body     []byte // the set without its header
}

const heldCost = 96 // what a held set is taken to occupy beside its body

// Hold keeps a copy of h until its template comes or it is too old; false if there is no room.
func (d *Domain) Hold(h Held) bool {
	size := int64(len(h.Body)) + heldCost
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dropHeld(h.Received - d.store.cfg.HeldAge.Milliseconds())
	if d.heldBytes+size > int64(d.store.cfg.MaxHeld) || !d.charge(size) {
		return false
	}
	h.Body = append([]byte(nil), h.Body...)
	d.held = append(d.held, h)
	d.heldBytes += size
	d.waiting.Store(int32(len(d.held)))
	d.Count.Held.Add(1)
	return true
}

// TakeHeld returns the held sets of a template, oldest first, and forgets them. It is nil where nothing waits, which
// costs one atomic load.
func (d *Domain) TakeHeld(id uint16) []Held {
	if d.waiting.Load() == 0 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var taken []Held
	rest := d.held[:0]
	for _, h := range d.held {
		if h.Template == id {
			taken = append(taken, h)
			d.forget(h)
		} else {
			rest = append(rest, h)
		}
	}
	d.setHeld(rest)
	d.Count.Replayed.Add(uint64(len(taken)))
	return taken
}

// dropHeld drops held sets received before a time. d.mu is held.
func (d *Domain) dropHeld(before int64) {
	if len(d.held) == 0 {
		return
	}
	rest := d.held[:0]
	for _, h := range d.held {
		if h.Received < before {
			d.forget(h)
			d.Drop(UnknownTemplate)
			d.Count.Expired.Add(1)
		} else {
			rest = append(rest, h)
		}
	}
	d.setHeld(rest)
}

func (d *Domain) forget(h Held) {
	size := int64(len(h.Body)) + heldCost
	d.heldBytes -= size
	d.release(size)
}

func (d *Domain) setHeld(rest []Held) {
	clear(d.held[len(rest):]) // let go of the bodies
	d.held = rest
	d.waiting.Store(int32(len(rest)))
}
