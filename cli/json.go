package cli

import (
	"bufio"
	"encoding/json"
	"io"
	"math"
	"net/netip"
	"strconv"
	"time"

	"github.com/weirhq/weir/query"
)

// writeJSON writes an array with an object a line.
func writeJSON(w io.Writer, columns []query.Column, records []record) error {
	b := bufio.NewWriter(w)
	if len(records) == 0 {
		_, _ = b.WriteString("[]\n") // a bufio.Writer keeps its error until Flush
		return b.Flush()
	}
	for n, rec := range records {
		lead := ",\n {"
		if n == 0 {
			lead = "[\n {"
		}
		_, _ = b.WriteString(lead)
		for i, c := range columns {
			if i > 0 {
				_, _ = b.WriteString(", ")
			}
			text, err := json.Marshal(plainValue(c, rec[i]))
			if err != nil {
				return err
			}
			_, _ = b.WriteString(strconv.Quote(c.Name) + ": ")
			_, _ = b.Write(text)
		}
		_, _ = b.WriteString("}")
	}
	_, _ = b.WriteString("\n]\n")
	return b.Flush()
}

// plainValue returns a cell as JSON has it: numbers as they are, ids as strings, MAC addresses and addresses as text,
// times in RFC 3339 with milliseconds, what is not a number as null.
func plainValue(c query.Column, v any) any {
	f, _ := query.FieldByName(c.Field)
	switch v := v.(type) {
	case uint64:
		switch {
		case c.Role == query.RoleKey && isID(f):
			return strconv.FormatUint(v, 10)
		case c.Role == query.RoleKey && f.Type == query.MAC:
			return query.FormatMAC(v)
		}
	case []uint64:
		ids := make([]string, len(v))
		for i, id := range v {
			ids[i] = strconv.FormatUint(id, 10)
		}
		return ids
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil
		}
	case netip.Addr:
		return v.String()
	case time.Time:
		return v.Format("2006-01-02T15:04:05.000Z07:00")
	}
	return v
}

// isID reports whether the field's numbers are names in disguise, with all their 64 bits.
func isID(f *query.Field) bool {
	return f.Type == query.Entity || f.Type == query.Group || f.Name == "batch"
}
