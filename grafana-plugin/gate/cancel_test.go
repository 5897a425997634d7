package gate_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// A query ends at the store when whoever asked is gone.
func TestCancel(t *testing.T) {
	s := seededStore(t)
	const marker = "weir_gate_cancel"
	runs := func() bool {
		return strings.TrimSpace(s.Exec(t, "SELECT count() FROM system.processes WHERE position(query, 'weir_' || 'gate_cancel') > 0")) != "0"
	}
	eventually := func(what string, is func() bool) {
		t.Helper()
		for deadline := time.Now().Add(2 * time.Minute); !is(); {
			if time.Now().After(deadline) {
				t.Fatalf("in two minutes, never: %s", what)
			}
			select {
			case <-t.Context().Done():
				t.Fatal(t.Context().Err())
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	text, err := json.Marshal("SELECT count() AS n FROM numbers(1000000000000) WHERE sipHash64(number) = 1 AND '" + marker + "' != ''")
	must(t, err)
	ended := make(chan error, 1)
	source := s.source(t)
	go func() {
		_, err := source.ask(ctx, target{model: json.RawMessage(`{"version":1,"queryType":"sql","sql":{"format":"number","text":` + string(text) + `}}`)})
		ended <- err
	}()
	eventually("the query runs at the store", runs)
	cancel()
	if err := <-ended; err == nil {
		t.Error("a query that was cancelled was answered")
	}
	eventually("the query is gone from the store", func() bool { return !runs() })
}
