// Package oracle holds the tests that what is compiled of policy decides what policy says: random policies, estates, bridges and
// packets are asked of three, which have to agree.
//
//	policy.Evaluate, and a bridge in plain words around it (expect_test.go)
//	ovs/openflow/softswitch with the flows of policyd/compile
//	ofproto/trace of a real ovs-vswitchd with those flows
//
// They agree on the verdict, the rule instances that decided and the shadow rules met, at which stage, what is sampled, by which ports
// the packet leaves with which tag, and what its connection is remembered by.
package oracle
