package ovsdbtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Dump returns all of a host's database, a row a line. Left out is what differs from moment to moment in any table: statistics, status, who is connected and in
// which role, and the numbers that commands count up (next_cfg, cur_cfg). Rows of tables NetFlow and IPFIX, which are made anew when they are put back, have a
// digest of what they hold in place of their UUIDs. If names is set, all rows have their names there, so that two hosts can be compared, and
// equal rows are one: a row that bridges shared is one for each of them again if it was given back to one before the other.
func Dump(t testing.TB, target string, names bool) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command("ovsdb-client", "--format=json", "dump", target, "Open_vSwitch")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s", cmd, err, &stderr)
	}
	type table struct {
		Caption  string
		Headings []string
		Data     [][]json.RawMessage
	}
	passing := []string{"statistics", "rstp_statistics", "status", "is_connected", "role", "next_cfg", "cur_cfg"}
	var lines []string
	replace := []string{}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var x table
		if err := d.Decode(&x); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(x.Caption, " table")
		for _, row := range x.Data {
			line, id, label := name, "", ""
			for i, heading := range x.Headings {
				switch {
				case heading == "_uuid":
					var ref [2]string
					if err := json.Unmarshal(row[i], &ref); err != nil {
						t.Fatal(err)
					}
					id = ref[1]
				case slices.Contains(passing, heading):
				default:
					line += fmt.Sprintf(" %s=%s", heading, row[i])
				}
				if heading == "name" {
					label = name + " " + string(row[i])
				}
			}
			switch {
			case name == "NetFlow", name == "IPFIX":
				replace = append(replace, id, fmt.Sprintf("%s with %.8x", name, sha256.Sum256([]byte(line))))
			case names && label == "":
				replace = append(replace, id, name)
			case names:
				replace = append(replace, id, label)
			}
			lines = append(lines, line+" _uuid="+id)
		}
	}
	all := strings.NewReplacer(replace...)
	for i := range lines {
		lines[i] = sortedSets(all.Replace(lines[i]))
	}
	slices.Sort(lines)
	if names {
		lines = slices.Compact(lines)
	}
	return strings.Join(lines, "\n")
}

// sortedSets puts the references of a line, whose order is that of the UUIDs, into that of their text.
func sortedSets(line string) string {
	const open = `["set",[["uuid",`
	for at := 0; ; {
		i := strings.Index(line[at:], open)
		if i < 0 {
			return line
		}
		begin := at + i + len(`["set",`)
		length := strings.Index(line[begin:], "]]") + len("]]")
		inner := line[begin+1 : begin+length-1]
		parts := strings.Split(strings.TrimSuffix(strings.TrimPrefix(inner, "["), "]"), "],[")
		slices.Sort(parts)
		line = line[:begin] + "[[" + strings.Join(parts, "],[") + "]]" + line[begin+length:]
		at = begin + length
	}
}
