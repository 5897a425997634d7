package openflow

// Mod is one change of a bridge's flows or groups: one of the types below.
type Mod interface {
	// append appends the message, with a header whose xid is 0.
	append(b []byte) []byte
	// String says what is to be done, in the words of ovs-ofctl.
	String() string
}

// AddFlow adds a flow; one with its key, if there is one, is replaced and its timeouts begin anew.
type AddFlow struct {
	Flow  Flow
	Reset bool // counters of a flow that is replaced begin anew, too, as they must if its verdict or owner changes
}

// DeleteFlow deletes the flow with a key, if there is one whose cookie has the bits of Cookie under CookieMask.
type DeleteFlow struct {
	Key        FlowKey
	Cookie     Cookie
	CookieMask Cookie // 0: whatever its cookie
}

// DeleteFlows deletes all flows of a table that Match includes and whose cookie has the bits of Cookie under CookieMask.
type DeleteFlows struct {
	Table      uint8 // AllTables: of all
	Match      Match
	Cookie     Cookie
	CookieMask Cookie
}

// AllTables in DeleteFlows and Filter is all of them.
const AllTables = 0xff

// AddGroup adds a group. It is refused if there is one with its id.
type AddGroup struct{ Group Group }

// ModifyGroup replaces a group, which must be there. Flows that use it stay.
type ModifyGroup struct{ Group Group }

// DeleteGroup deletes a group, and all flows that use it: move them off it before.
type DeleteGroup struct{ ID uint32 }

// Types of messages (§7.1).
const (
	typeFlowMod  = 14
	typeGroupMod = 15
)

// Version is that of OpenFlow which this package speaks: 1.3.
const Version = 4

const headerLen = 8

// appendHeader begins a message; finish writes its length.
func appendHeader(b []byte, kind uint8, xid uint32) []byte {
	return append32(append(b, Version, kind, 0, 0), xid)
}

func finish(b []byte, from int) []byte {
	put16(b[from+2:], len(b)-from)
	return b
}

// Commands of modifications (§7.3.4).
const (
	flowAdd          = 0
	flowDelete       = 3
	flowDeleteStrict = 4

	groupAdd    = 0
	groupModify = 1
	groupDelete = 2

	flagResetCounts = 1 << 2
)

// appendFlowMod appends a whole flow-mod.
func appendFlowMod(b []byte, command uint8, f Flow, mask Cookie, flags uint16) []byte {
	at := len(b)
	b = appendHeader(b, typeFlowMod, 0)
	b = append64(append64(b, uint64(f.Cookie)), uint64(mask))
	b = append16(append(b, f.Table, command), f.Idle, f.Hard, f.Priority)
	b = append32(b, noBuffer, uint32(PortAny), noGroup)
	b = append16(b, flags, 0)
	b = appendMatch(b, f.Match)
	b = append(b, f.Actions...)
	return finish(b, at)
}

const noBuffer = 0xffffffff // OFP_NO_BUFFER

// appendMatch appends an ofp_match (§7.2.3.1).
func appendMatch(b []byte, m Match) []byte {
	at := len(b)
	b = append(append16(b, matchOXM, uint16(4+len(m))), m...)
	return pad(b, at)
}

const matchOXM = 1 // OFPMT_OXM

func (m AddFlow) append(b []byte) []byte {
	flags := uint16(m.Flow.Flags & keptFlags)
	if m.Reset {
		flags |= flagResetCounts
	}
	return appendFlowMod(b, flowAdd, m.Flow, 0, flags)
}

func (m DeleteFlow) append(b []byte) []byte {
	f := Flow{Table: m.Key.Table, Priority: m.Key.Priority, Match: m.Key.Match, Cookie: m.Cookie}
	return appendFlowMod(b, flowDeleteStrict, f, m.CookieMask, 0)
}

func (m DeleteFlows) append(b []byte) []byte {
	return appendFlowMod(b, flowDelete, Flow{Table: m.Table, Match: m.Match, Cookie: m.Cookie}, m.CookieMask, 0)
}

func appendGroupMod(b []byte, command uint16, g Group) []byte {
	at := len(b)
	b = append16(appendHeader(b, typeGroupMod, 0), command)
	b = append32(append(b, byte(g.Type), 0), g.ID)
	b = append(b, g.Buckets...)
	return finish(b, at)
}

func (m AddGroup) append(b []byte) []byte    { return appendGroupMod(b, groupAdd, m.Group) }
func (m ModifyGroup) append(b []byte) []byte { return appendGroupMod(b, groupModify, m.Group) }
func (m DeleteGroup) append(b []byte) []byte {
	return appendGroupMod(b, groupDelete, Group{ID: m.ID})
}
