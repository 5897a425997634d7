package ovstrace

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Trace is what a switch would do with a packet.
type Trace struct {
	Flows   []Flow   // that the packet matched, in order; of conjunctions the flow with the conj_id
	Samples []Sample // in order
	Outputs []Output // in order
	Commits []Commit // of connections, in order
	Asked   int      // packets sent to the controller
	Normal  bool     // actions include NORMAL, so that Outputs depend on what the switch has learned
	Exports int      // how often the packet is told of by the bridge's own IPFIX, which no flow asks for
	Resumed int      // how often the packet went on after connection tracking
	Failed  string   // why the switch would drop the packet whatever its flows say: they loop; empty: it does not
	Text    string   // all that the switch said
}

// Flow is a flow that a packet matched.
type Flow struct {
	Table    uint8
	Priority uint16
	Cookie   uint64
	Match    string
}

// Sample is a packet told of by IPFIX.
type Sample struct{ Set, Domain, Point uint32 }

// Output is a packet that leaves by a port, given by its number in the datapath or, after Switch.Trace, in OpenFlow.
type Output struct {
	Port   uint32
	Tagged bool
	VLAN   uint16 // of the tag
}

// Commit is a connection that is put into, or changed in, the connection table. Only bits of Mark and Label with a mask are written.
type Commit struct {
	Zone             uint16
	Mark, MarkMask   uint32
	Label, LabelMask Label
}

// Label is a ct_label.
type Label struct{ Hi, Lo uint64 }

// Switch traces packets through a bridge.
type Switch struct {
	control *Control
	bridge  string
	ports   map[uint32]uint32 // datapath → OpenFlow
}

// NewSwitch returns a Switch that asks a bridge of the daemon at c, whose ports are those that it has now.
func NewSwitch(c *Control, bridge string) (*Switch, error) {
	out, err := c.Call("dpif/show")
	if err != nil {
		return nil, err
	}
	s := &Switch{control: c, bridge: bridge, ports: map[uint32]uint32{}}
	current := ""
	for line := range strings.Lines(out) {
		switch m := portLine.FindStringSubmatch(line); {
		case m == nil:
			if m := bridgeLine.FindStringSubmatch(line); m != nil {
				current = m[1]
			}
		case current == bridge:
			number, _ := strconv.ParseUint(m[1], 10, 32) // digits
			datapath, _ := strconv.ParseUint(m[2], 10, 32)
			s.ports[uint32(datapath)] = uint32(number)
		}
	}
	if len(s.ports) == 0 {
		return nil, fmt.Errorf("read ports of bridge %q: none in %q", bridge, out)
	}
	return s, nil
}

var (
	bridgeLine = regexp.MustCompile(`^  (\S+):\n$`)
	portLine   = regexp.MustCompile(`^    \S+ (\d+)/(\d+): \(`)
)

// localPort is OFPP_LOCAL as OpenFlow 1.0 and dpif/show write it; local as OpenFlow 1.3 does.
const (
	localPort = 0xfffe
	local     = 0xfffffffe
)

// Trace asks what the switch does with a packet. The packet is a flow as in ovs-fields(7) that comes in by the port in it, with the tags
// of VLANs, which are repeated in tags, outermost last. Whenever it comes back from connection tracking, its ct_state is the next of states ("trk,new"); ct_mark and ct_label
// are those of the packet.
func (s *Switch) Trace(packet string, tags []uint16, states ...string) (*Trace, error) {
	args := make([]string, 0, 2+2*len(states))
	for _, state := range states {
		args = append(args, "--ct-next", state)
	}
	text, err := s.control.Call("ofproto/trace", append(args, s.bridge, packet)...)
	if err != nil {
		return nil, err
	}
	t, err := Parse(text, tags)
	if err != nil {
		return nil, fmt.Errorf("read trace of %q: %w\n%s", packet, err, text)
	}
	for i, o := range t.Outputs {
		number, ok := s.ports[o.Port]
		if !ok {
			return nil, fmt.Errorf("read trace of %q: datapath port %d is none of bridge %q\n%s", packet, o.Port, s.bridge, text)
		}
		if number == localPort {
			number = local
		}
		t.Outputs[i].Port = number
	}
	return t, nil
}

// What ofproto/trace prints, line by line. Actions are as in ovs-actions(7); notes explain them.
var (
	flowLine    = regexp.MustCompile(`^\s*(\d+)\. (?:(.*), )?priority (\d+)(?:, cookie 0x([0-9a-f]+))?$`)
	missLine    = regexp.MustCompile(`^\s*\d+\. No match\.$`)
	recircLine  = regexp.MustCompile(`^recirc\(0x([0-9a-f]+)\) - resume conntrack with (?:default )?ct_state=[a-z|]+(?: \(use --ct-next to customize\))?$`)
	failLine    = regexp.MustCompile(`^Translation failed \((.+)\), packet is dropped\.$`)
	headingLine = regexp.MustCompile(`^bridge\("[^"]+"\)$`)
	resumeLine  = regexp.MustCompile(`^\s*Resuming from table \d+$`)
	ruleLine    = regexp.MustCompile(`^(?:-+|=+)$`)
	actionLine  = regexp.MustCompile(`^\s*(?:meter:\d|load:|set_field:|move:|resubmit\(|goto_table:|output:|CONTROLLER:|group:\d|bucket \d|ct\(|sample\(|push_vlan:|bundle(?:_load)?\(|learn\(|` +
		`(?:drop|NORMAL|LOCAL|IN_PORT|pop_vlan|strip_vlan|thaw)$)`)
	noteLine = regexp.MustCompile(`^\s*(?:->|>>|>>>>) (?:` + strings.Join([]string{
		`A clone of the packet is forked to recirculate\. The forked pipeline will be resumed at table \d+\.`,
		`Sets the packet to an untracked state, and clears all the conntrack fields\.`,
		`\S+ is now (?:0x)?[0-9a-f]+`,
		`skipping output to input port`,
		`suppressing side effects, so learn action ignored`,
		`no learned MAC for destination, flooding`,
		`learned port is input port, dropping`,
		`forwarding to learned port`,
		`over max translation depth \d+`,
		`over \d+ resubmit actions`,
		`resubmits yielded over 64 kB of (?:actions|stack)`,
	}, "|") + `)(?: <<<<)?$`)
)

// Parse reads what ofproto/trace printed about a packet with tags of VLANs, outermost last.
func Parse(text string, tags []uint16) (*Trace, error) {
	t := &Trace{Text: text}
	waiting := []resumption{{tags: tags}} // packets to go on with, in order
	ended := true
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		if err := t.line(line, &waiting, &ended); err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		if t.Failed != "" {
			return t, nil // what follows goes on with copies of a packet that is dropped
		}
	}
	if !ended || len(waiting) != 0 {
		return nil, errors.New("the end is missing")
	}
	return t, nil
}

// resumption is a packet that goes on.
type resumption struct {
	id   string   // of recirc()
	tags []uint16 // of VLANs, the outermost last
}

// line reads one line. A packet's way begins with "Flow:" and ends with "Datapath actions:".
func (t *Trace) line(line string, waiting *[]resumption, ended *bool) error {
	switch {
	case line == "", ruleLine.MatchString(line), headingLine.MatchString(line), resumeLine.MatchString(line), missLine.MatchString(line),
		strings.HasPrefix(line, "Final flow: "), strings.HasPrefix(line, "Megaflow: "), noteLine.MatchString(line):
		return nil
	case strings.HasPrefix(line, "Flow: "):
		if !*ended {
			return errors.New("the packet before has no datapath actions")
		}
		*ended = false
		return nil
	case strings.HasPrefix(line, "Datapath actions: "):
		if *ended || len(*waiting) == 0 {
			return errors.New("no packet goes on")
		}
		*ended = true
		now := (*waiting)[0]
		*waiting = (*waiting)[1:]
		return t.actions(strings.TrimPrefix(line, "Datapath actions: "), now.tags, waiting)
	}
	if m := failLine.FindStringSubmatch(line); m != nil && *ended {
		t.Failed = m[1]
		return nil
	}
	if m := recircLine.FindStringSubmatch(line); m != nil {
		if len(*waiting) == 0 || (*waiting)[0].id != m[1] {
			return errors.New("no packet goes on like this")
		}
		t.Resumed++
		return nil
	}
	if m := flowLine.FindStringSubmatch(line); m != nil {
		return t.flow(m)
	}
	if actionLine.MatchString(line) {
		if strings.TrimSpace(line) == "NORMAL" {
			t.Normal = true
		}
		return nil
	}
	return errors.New("unknown")
}

func (t *Trace) flow(m []string) error {
	table, err := strconv.ParseUint(m[1], 10, 8)
	if err != nil {
		return err
	}
	priority, err := strconv.ParseUint(m[3], 10, 16)
	if err != nil {
		return err
	}
	var cookie uint64
	if m[4] != "" {
		if cookie, err = strconv.ParseUint(m[4], 16, 64); err != nil {
			return err
		}
	}
	t.Flows = append(t.Flows, Flow{Table: uint8(table), Priority: uint16(priority), Cookie: cookie, Match: m[2]})
	return nil
}

// Datapath actions, as odp-util.c of Open vSwitch writes them.
var (
	outputAction = regexp.MustCompile(`^\d+$`)
	pushAction   = regexp.MustCompile(`^push_vlan\(vid=(\d+),pcp=\d+\)$`)
	sampleAction = regexp.MustCompile(`^userspace\(pid=\d+,flow_sample\(probability=65535,collector_set_id=(\d+),obs_domain_id=(\d+),obs_point_id=(\d+),output_port=\d+\)\)$`)
	exportAction = regexp.MustCompile(`^userspace\(pid=\d+,ipfix\(output_port=\d+\)\)$`)
	askAction    = regexp.MustCompile(`^userspace\(pid=\d+,controller\([^()]*\)\)$`)
	meterAction  = regexp.MustCompile(`^meter\(\d+\)$`) // the id is the datapath's own
	ctAction     = regexp.MustCompile(`^ct(?:\((.*)\))?$`)
	recircAction = regexp.MustCompile(`^recirc\(0x([0-9a-f]+)\)$`)
)

func (t *Trace) actions(list string, tags []uint16, waiting *[]resumption) error {
	if list == "drop" {
		return nil
	}
	tags = slices.Clone(tags)
	for action := range split(list) {
		if err := t.action(action, &tags, waiting); err != nil {
			return fmt.Errorf("datapath action %q: %w", action, err)
		}
	}
	return nil
}

func (t *Trace) action(action string, tags *[]uint16, waiting *[]resumption) error {
	number := func(s string, bits int) uint32 {
		n, _ := strconv.ParseUint(s, 10, bits) // digits, of a field of so many bits
		return uint32(n)
	}
	if outputAction.MatchString(action) {
		o := Output{Port: number(action, 32)}
		if n := len(*tags); n > 0 {
			o.Tagged, o.VLAN = true, (*tags)[n-1]
		}
		t.Outputs = append(t.Outputs, o)
		return nil
	}
	if m := pushAction.FindStringSubmatch(action); m != nil {
		*tags = append(*tags, uint16(number(m[1], 12)))
		return nil
	}
	if action == "pop_vlan" {
		n := len(*tags)
		if n == 0 {
			return errors.New("the packet has no tag")
		}
		*tags = (*tags)[:n-1]
		return nil
	}
	if m := sampleAction.FindStringSubmatch(action); m != nil {
		t.Samples = append(t.Samples, Sample{Set: number(m[1], 32), Domain: number(m[2], 32), Point: number(m[3], 32)})
		return nil
	}
	if exportAction.MatchString(action) {
		t.Exports++
		return nil
	}
	if askAction.MatchString(action) {
		t.Asked++
		return nil
	}
	if meterAction.MatchString(action) { // what it lets pass
		return nil
	}
	if m := recircAction.FindStringSubmatch(action); m != nil {
		*waiting = append(*waiting, resumption{id: m[1], tags: slices.Clone(*tags)})
		return nil
	}
	if m := ctAction.FindStringSubmatch(action); m != nil {
		return t.ct(m[1])
	}
	return errors.New("unknown")
}

// ct reads what ct() says of a connection.
func (t *Trace) ct(args string) error {
	var c Commit
	commit := false
	for arg := range split(args) {
		key, value, _ := strings.Cut(arg, "=")
		value, mask, masked := strings.Cut(value, "/")
		var err error
		switch key {
		case "commit":
			commit = true
		case "zone":
			var zone uint64
			zone, err = strconv.ParseUint(value, 10, 16)
			c.Zone = uint16(zone)
		case "mark":
			var v, m Label
			if v, m, err = masks(value, mask, masked, Label{Lo: 0xffffffff}); err == nil {
				c.Mark, c.MarkMask = uint32(v.Lo), uint32(m.Lo)
			}
		case "label":
			c.Label, c.LabelMask, err = masks(value, mask, masked, Label{Hi: ^uint64(0), Lo: ^uint64(0)})
		default:
			err = errors.New("unknown")
		}
		if err != nil {
			return fmt.Errorf("argument %q: %w", arg, err)
		}
	}
	if commit {
		t.Commits = append(t.Commits, c)
	}
	return nil
}

// masks reads a value and a mask, which is all if it is not written.
func masks(value, mask string, masked bool, all Label) (v, m Label, err error) {
	if v, err = parseLabel(value); err != nil || !masked {
		return v, all, err
	}
	m, err = parseLabel(mask)
	return v, m, err
}

func parseLabel(s string) (l Label, err error) {
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok && s != "0" || len(digits) > 32 || digits == "" {
		return Label{}, errors.New("want up to 128 bits in hexadecimal")
	}
	if n := len(digits) - 16; n > 0 {
		if l.Hi, err = strconv.ParseUint(digits[:n], 16, 64); err != nil {
			return Label{}, err
		}
		digits = digits[n:]
	}
	l.Lo, err = strconv.ParseUint(digits, 16, 64)
	return l, err
}

// split yields the parts of a list that commas outside of brackets divide; nothing of an empty one.
func split(list string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		depth, start := 0, 0
		for i, c := range list {
			switch {
			case c == '(':
				depth++
			case c == ')':
				depth--
			case c == ',' && depth == 0:
				if !yield(list[start:i]) {
					return
				}
				start = i + 1
			}
		}
		if start < len(list) {
			yield(list[start:])
		}
	}
}
