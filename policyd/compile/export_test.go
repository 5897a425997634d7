package compile

import (
	"flag"
	"fmt"
	"strings"

	"github.com/weirhq/weir/policyd/policy"
)

// Update says to write what tests compare with.
var Update = flag.Bool("update", false, "write testdata/*.golden and docs/reference/openflow.md")

// Reference returns docs/reference/openflow.md.
func Reference() string {
	var s strings.Builder
	list := func(title, number, text string, of []numbered) {
		fmt.Fprintf(&s, "\n## %s\n\n%s\n\n| %s | name | meaning |\n|---|---|---|\n", title, text, number)
		for _, n := range of {
			fmt.Fprintf(&s, "| %d | %s | %s |\n", n.number, n.name, n.meaning)
		}
	}
	s.WriteString(`# OpenFlow flows of Weir

What the flows that Weir writes into a bridge look like: numbers of tables, registers, priorities, cookies, groups. How they work
together is [explained](../explanation/ovs-pipeline.md). This page is generated.

## Cookies

Flows of Weir are known by their cookies. Flows with others are never changed or deleted.

| bits | what |
|---|---|
`)
	fmt.Fprintf(&s, "| 63…48 | owner: `%#x` |\n| 47…40 | generation |\n| 39…32 | kind |\n| 31…0 | rule instance, of a rule or built in (1 to 255); 0: none |\n", uint64(Owner>>48))
	fmt.Fprintf(&s, "\n`ovs-ofctl dump-flows BRIDGE cookie=%#x/%#x` shows Weir's flows only.\n", uint64(Owner), uint64(OwnerMask))
	list("Kinds", "kind", "Flows of kind learned come and go by themselves. The packets of a flow with an instance are hits of it, except of kinds clause, tell and learned.", kinds)
	list("Tables", "table", "Tables are asked in this order.", tables)
	list("Registers", "register", "", registers)
	list("Priorities in table 0", "priority", "Whatever others write into table 0 stands below, and is not asked.", classifyPriorities)
	s.WriteString("\n## Priorities of rules\n\nIn tables 30, 31, 50 and 51, from the first rule of a tier to its last. The number between says at which rank in its list a rule stands.\n\n| priority | tier |\n|---|---|\n")
	for tier := policy.GlobalMandatory; int(tier) <= policy.Tiers; tier++ {
		top := bandTop - bandSize*int(tier) + policy.MaxRank
		fmt.Fprintf(&s, "| %d…%d | %s |\n", top-1, top-policy.MaxRank, tierNames[tier])
	}
	fmt.Fprintf(&s, "| %d | the final default |\n", priorityDefault)
	fmt.Fprintf(&s, `
## Connections

| what | where |
|---|---|
| zone | %d to %d, one for each VLAN of a bridge that has VIFs |
| label, bits 0…31 | instance that let the connection out of its source |
| label, bits 32…63 | instance that let it in at its destination |
| mark, bit 0 | a rule denied a later packet of the connection: replies are dropped |

A half of the label is 0 if nothing was asked there, and below 256 if what let the connection in is built in.

## Groups

Ids are from %#x to %#x: 8 bits owner, 16 bits zone, 8 bits number. From number %d on they hold VIFs of which no MAC address is
known. Groups of others are never changed; where one of these ids is taken, policy is not put in force.

## Meters

Ids are from %#x to %#x. What of them no flow of others uses is Weir's.

## Observation points

What is sampled says where and by what it was decided: bits 31…30 are the stage (0 egress, 1 ingress, 2 reply, 3 system), bits
29…0 the instance.
`, zoneFirst, zoneFirst+zoneCount-1, GroupFirst, GroupLast, groupFlood, MeterFirst, MeterLast)
	return s.String()
}

var tierNames = map[policy.Tier]string{
	policy.GlobalMandatory: "global, mandatory", policy.PoolMandatory: "pool, mandatory", policy.NetworkMandatory: "network, mandatory",
	policy.VMMandatory: "VM, mandatory", policy.VIFRules: "VIF", policy.VMDefault: "VM, default", policy.NetworkDefault: "network, default",
	policy.PoolDefault: "pool, default", policy.GlobalDefault: "global, default",
}

// TableNumbers returns the numbers of the tables.
func TableNumbers() (list []uint8) {
	for _, t := range tables {
		list = append(list, uint8(t.number))
	}
	return list
}
