// Package compile makes OpenFlow flows of a policy: what a bridge is to hold, from what exists at its host, the policy and
// the estate. It is pure, and the cost of a change is that of what changes.
//
//	Input ──newBridge──► bridge ──plan──► units ──flows──► Desired ──Diff──► Change
//	          ports, VLANs,       │          ▲
//	          VIFs, segments      │          └─ those that were made before are taken from there
//	                              └─ rules of each subject: all VIFs, a network's, one
//
// A unit is a comparable value that says all that its flows depend on: a VIF's port, a MAC address in a segment, a rule of a
// subject. Files are named for what they hold of the pipeline, in the order of packets: classify, destination, conntrack,
// acl (match, kept), sampling, deliver, output. The numbers are in pipeline and cookie, and in docs/reference/openflow.md; how the
// tables work together is in docs/explanation/ovs-pipeline.md.
package compile

//go:generate go test . -run ^TestReference$ -update
