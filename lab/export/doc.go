// Package export encodes flow records as exporters do: NetFlow 5, NetFlow 9 (RFC 3954) and IPFIX (RFC 7011). It is
// the counterpart of collector/netflow and shares no code with it, so that each can be held against the other.
//
//	[]Record ──► Encoder ──► datagrams of at most MaxPayload bytes
//	               │  templates and options first, and again every Refresh
//	               └─ sequence numbers by the rule of the protocol
//
// What a record looks like on the wire is data, not code: a [Template] is a list of [Field], and [Elements] lists
// what can stand in one. [Router], [Switch] and [OpenVSwitch] are layouts met in the field.
//
// The package is pure: time is an argument, datagrams leave through a callback.
package export
