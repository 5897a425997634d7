package frame_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/grafana-plugin/pkg/model"
)

// Every type that ClickHouse may answer with becomes a field that Grafana can show.
func TestTypesOfTheStore(t *testing.T) {
	e := newEngine(t)
	now := time.Now()
	env := model.Env{From: now.Add(-time.Hour), To: now, Now: now}
	f := func(sql string, want ...string) {
		t.Helper()
		target := fmt.Sprintf(`{"refId": "A", "queryType": "sql", "sql": {"format": "table", "text": %q}}`, "SELECT "+sql+" AS x")
		frames, _ := e.frames(t, target, env)
		if len(frames) != 1 || len(frames[0].Fields) != 1 {
			t.Fatalf("%s: %v", sql, frames)
		}
		x := frames[0].Fields[0]
		var got []string
		for i := range x.Len() {
			v, ok := x.ConcreteAt(i)
			switch at, is := v.(time.Time); {
			case !ok && x.Nullable():
				got = append(got, "null")
			case is:
				got = append(got, at.UTC().Format("2006-01-02T15:04:05.999"))
			default:
				got = append(got, fmt.Sprint(v))
			}
		}
		if diff := cmp.Diff(want, append([]string{x.Type().ItemTypeString()}, got...)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", sql, diff)
		}
	}
	const number, text, at, flag = "*float64", "string", "*time.Time", "*bool"
	f("toUInt8(200)", number, "200")
	f("toInt8(-3)", number, "-3")
	f("toUInt64(9007199254740991)", number, "9.007199254740991e+15")
	f("toUInt64(18446744073709551615)", text, "18446744073709551615")
	f("toInt64(-9223372036854775808)", text, "-9223372036854775808")
	f("toInt256('-12345678901234567890123456789')", number, "-1.2345678901234568e+28")
	f("toFloat32(1.5)", number, "1.5")
	f("nan", number, "null")
	f("inf", number, "null")
	f("toDecimal64(12.5, 3)", number, "12.5")
	f("toDecimal128('-0.001', 3)", number, "-0.001")
	f("true", flag, "true")
	f("'it''s'", text, "it's")
	f("toFixedString('ab', 4)", text, "ab\x00\x00")
	f("unhex('ff41')", text, "\ufffdA")
	f("toLowCardinality('low')", text, "low")
	f("toLowCardinality(toNullable('low'))", text, "low")
	f("CAST('b', 'Enum8(''a'' = 1, ''b'' = 2)')", text, "b")
	f("CAST('b', 'Enum16(''a'' = 1, ''b'' = 2000)')", text, "b")
	f("CAST(NULL, 'Nullable(UInt32)')", number, "null")
	f("CAST(7, 'Nullable(UInt64)')", number, "7")
	f("CAST(NULL, 'Nullable(String)')", text, "")
	f("CAST(NULL, 'Nullable(DateTime)')", at, "null")
	f("toDateTime(1700000000, 'UTC')", at, "2023-11-14T22:13:20")
	f("toDateTime(1700000000, 'Europe/Berlin')", at, "2023-11-14T22:13:20")
	f("fromUnixTimestamp64Milli(1700000000123)", at, "2023-11-14T22:13:20.123")
	f("toDate('2023-11-14')", at, "2023-11-14T00:00:00")
	f("toDate32('1950-01-01')", at, "1950-01-01T00:00:00")
	f("toIPv4('192.0.2.1')", text, "192.0.2.1")
	f("toIPv6('::ffff:192.0.2.1')", text, "192.0.2.1")
	f("toIPv6('2001:db8::1')", text, "2001:db8::1")
	f("toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0')", text, "61f0c404-5cb3-11e7-907b-a6006ad3dba0")
	f("['a', 'b']", text, "a, b")
	f("[1, 2]::Array(UInt64)", text, "[1,2]")
	f("[toNullable(1), NULL]::Array(Nullable(UInt8))", text, "[1,null]")
	f("[toIPv6('::1')]", text, `["::1"]`)
	f("map('b', 'x', 'a', 'y')", text, `{"a":"y","b":"x"}`)
	f("map('a', 1::UInt64)", text, `{"a":1}`)
	f("(1, 'a')::Tuple(UInt8, String)", text, `[1,"a"]`)
	f("(1, 'a')::Tuple(n UInt8, s String)", text, `{"n":1,"s":"a"}`)
	f("repeat('x', 40000)", text, strings.Repeat("x", 32<<10)+"…")
	f("arrayJoin([1, 2, 3])::UInt8", number, "1", "2", "3")
}
