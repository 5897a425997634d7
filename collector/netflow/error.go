package netflow

import (
	"fmt"

	"github.com/weirhq/weir/collector/template"
)

// Error says what of a datagram could not be decoded. The rest of the datagram was.
type Error struct {
	Reason   template.Reason
	Version  uint16 // of the message; 0 if it was not read
	Domain   uint32 // observation domain
	Set      uint16 // set id, which for data is the template id; 0 if it is not about a set
	Offset   int    // in the datagram, of the message, set or template record
	Got      int    // what was found: a length, count or version, by Reason
	Expected int    // what there was room for, or 0
}

// Error implements error.
func (e *Error) Error() string {
	where := fmt.Sprintf("decode %s message at octet %d", versionName(e.Version), e.Offset)
	if e.Set != 0 {
		where = fmt.Sprintf("decode %s set %d of domain %d at octet %d", versionName(e.Version), e.Set, e.Domain, e.Offset)
	}
	switch e.Reason {
	case template.Truncated:
		return fmt.Sprintf("%s: %s: %d octets announced, %d there", where, e.Reason, e.Got, e.Expected)
	case template.UnknownVersion:
		return fmt.Sprintf("%s: version %d: want 5, 9 or 10", where, e.Got)
	case template.UnknownTemplate:
		return fmt.Sprintf("%s: %s: not sent yet, and no room to hold its data", where, e.Reason)
	default:
		return fmt.Sprintf("%s: %s: %d", where, e.Reason, e.Got)
	}
}

func versionName(v uint16) string {
	switch v {
	case 10:
		return "IPFIX"
	case 0:
		return "NetFlow"
	default:
		return fmt.Sprintf("NetFlow %d", v)
	}
}
