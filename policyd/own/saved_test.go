package own_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/own"
)

func TestSavedRowsComeBackAsTheyWere(t *testing.T) {
	row := ovsdb.Values{
		"_uuid": ovsdb.UUID("3f1c5a9e-8d7b-4c06-9a53-0e2b6d4f8c11"), "_version": ovsdb.UUID("00000000-0000-4000-8000-000000000001"),
		"targets": []any{"192.0.2.1:2055", "[2001:db8::1]:2055"}, "one": "192.0.2.1:2055", "none": []any{}, "numbers": []any{int64(1), int64(4294967295)},
		"number": int64(-1), "flag": true, "ref": ovsdb.UUID("3f1c5a9e-8d7b-4c06-9a53-0e2b6d4f8c12"), "refs": []any{ovsdb.UUID("3f1c5a9e-8d7b-4c06-9a53-0e2b6d4f8c13")},
		"external_ids": map[string]string{"a": "b\n\"", "uuid": "x"}, "empty": map[string]string{}, "text": `["uuid","not one"]`,
	}
	saved, err := own.Save(row)
	if err != nil {
		t.Fatal(err)
	}
	if _, kept := row["_uuid"]; !kept {
		t.Error("Save changed the row that it was given")
	}
	text, err := json.Marshal(saved)
	if err != nil {
		t.Fatal(err)
	}
	var got own.Saved
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("read %s: %v", text, err)
	}
	if diff := cmp.Diff(*saved, got); diff != "" {
		t.Errorf("%s reads otherwise (-saved +read):\n%s", text, diff)
	}
	if len(got.Row) != len(row)-2 || got.UUID != row["_uuid"] {
		t.Errorf("%s: want all columns but _uuid and _version, and the UUID", text)
	}
}

func TestWhatCannotBeMadeAgainIsNotSaved(t *testing.T) {
	const id = ovsdb.UUID("3f1c5a9e-8d7b-4c06-9a53-0e2b6d4f8c11")
	for name, row := range map[string]ovsdb.Values{
		"no UUID":       {"targets": "x"},
		"other map":     {"_uuid": id, "m": map[any]any{int64(1): ovsdb.UUID("x")}},
		"real":          {"_uuid": id, "r": 1.5},
		"set in a set":  {"_uuid": id, "s": []any{[]any{}}},
		"unknown value": {"_uuid": id, "s": struct{}{}},
	} {
		if saved, err := own.Save(row); err == nil {
			t.Errorf("%s: Save(%v) = %v, want an error", name, row, saved)
		}
	}
}

// Whoever may write into a host's database may write anything into it.
func FuzzSavedRows(f *testing.F) {
	f.Add(`{"uuid":"3f1c5a9e-8d7b-4c06-9a53-0e2b6d4f8c11","row":{"a":["set",["x",1,true,["uuid","y"]]],"b":["map",[["k","v"]]],"c":["set",[]]}}`)
	f.Add(`{"row":{"a":["map",[["k",1]]]}}`)
	f.Add(`{"row":{"a":["set",[["set",[]]]]}}`)
	f.Add(`{"row":{"a":1e999}}`)
	f.Add(`{"row":{"a":[]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var saved, again own.Saved
		if json.Unmarshal([]byte(text), &saved) != nil {
			return
		}
		written, err := json.Marshal(&saved)
		if err != nil {
			t.Fatalf("%q was read and cannot be written: %v", text, err)
		}
		if err := json.Unmarshal(written, &again); err != nil {
			t.Fatalf("%q of %q: %v", written, text, err)
		}
		if diff := cmp.Diff(saved, again); diff != "" {
			t.Fatalf("%q of %q reads otherwise:\n%s", written, text, diff)
		}
	})
}
