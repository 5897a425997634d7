package frame

import (
	"strconv"
	"strings"

	"github.com/weirhq/weir/query"
)

// recordLine writes a flow record as a line of a log, of what it says by the names of columns:
//
//	web-01 10.0.0.1:40000 → db 10.0.0.2:443 (https) tcp, 60000 bytes in 600 packets of 1 in 100, allowed
func recordLine(m map[string]string) string {
	var s strings.Builder
	s.WriteString(end(m["src_vm"], m["src_addr"], m["src_port"]))
	s.WriteString(" → ")
	s.WriteString(end(m["dst_vm"], m["dst_addr"], m["dst_port"]))
	if port, err := strconv.ParseUint(m["dst_port"], 10, 16); err == nil {
		if name := query.ServiceName(uint16(port)); name != "" {
			s.WriteString(" (" + name + ")")
		}
	}
	s.WriteString(" " + m["protocol"] + ", " + m["bytes"] + " bytes in " + m["packets"] + " packets")
	if rate := m["sampling_rate"]; rate != "" && rate != "1" {
		s.WriteString(" of 1 in " + rate)
	}
	if verdict := m["verdict"]; verdict != "" && verdict != "unknown" {
		s.WriteString(", " + verdict)
	}
	if m["counted"] == "false" {
		s.WriteString(", counted elsewhere")
	}
	return s.String()
}

// end writes one end of a flow.
func end(vm, addr, port string) string {
	if strings.Contains(addr, ":") && port != "" && port != "0" {
		addr = "[" + addr + "]"
	}
	if port != "" && port != "0" {
		addr += ":" + port
	}
	if vm == "" {
		return addr
	}
	return vm + " " + addr
}

// recordSeverity returns how urgent a record with that verdict is.
func recordSeverity(verdict string) string {
	switch verdict {
	case "denied", "spoofed", "invalid", "unknown_port":
		return "warning"
	case "shadow_denied":
		return "notice"
	default:
		return "info"
	}
}
