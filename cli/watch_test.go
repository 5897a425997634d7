package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/cli"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// watch lets Watch show three times, of which the second fails.
func watch(t *testing.T, o *cli.Output) string {
	t.Helper()
	var b bytes.Buffer
	o.W = &b
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	round := 0
	err := cli.Watch(ctx, o, time.Millisecond, func() time.Time { return noon }, func(_ context.Context, o *cli.Output, _ time.Time) error {
		round++
		switch round {
		case 2:
			return errors.New("store is away\x1b[2J")
		case 4:
			cancel()
		}
		for line := range 3 {
			if _, err := fmt.Fprintf(o.W, "round %d line %d\n", round, line); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWatchWritesBlocks(t *testing.T) {
	want := `12:00:00
round 1 line 0
round 1 line 1
round 1 line 2

12:00:00
` + "store is away\ufffd[2J" + `

12:00:00
round 3 line 0
round 3 line 1
round 3 line 2
`
	if got := watch(t, &cli.Output{}); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestWatchRedrawsTerminals(t *testing.T) {
	got := watch(t, &cli.Output{Terminal: true, Height: 4})
	if n := strings.Count(got, "\x1b[2J"); n != 1 {
		t.Errorf("the screen is cleared %d times, want once, by the first frame", n)
	}
	if n := strings.Count(got, "\x1b[H"); n != 3 {
		t.Errorf("%d frames, want 3", n)
	}
	if strings.Contains(got, "line 2") {
		t.Errorf("a frame of 4 lines does not fit in 4 lines with the cursor's: %q", got)
	}
}

func TestWatchReturnsFirstFailure(t *testing.T) {
	want := errors.New("refused")
	err := cli.Watch(t.Context(), &cli.Output{W: &bytes.Buffer{}}, time.Hour, time.Now,
		func(context.Context, *cli.Output, time.Time) error { return want })
	if !errors.Is(err, want) {
		t.Errorf("Watch = %v, want %v", err, want)
	}
}
