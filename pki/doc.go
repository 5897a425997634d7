// Package pki holds Weir's own certificate authority: it signs what Weir presents to hosts and what hosts present to Weir. There is
// nothing to revoke with; whoever must go is no longer configured, or the authority is made anew.
//
//	DIR/ca.pem, ca.key             the authority
//	DIR/weir.pem, weir.key         what Weir presents (ECDSA)
//	DIR/weir-rsa.pem, weir-rsa.key the same to hosts that know RSA only
//	DIR/issued/NAME.pem            certificates of hosts, without their keys, for the list
//
// The directory has mode 0700 and each file 0600. A file is written beside itself and renamed.
package pki
