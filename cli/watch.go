package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// Watch shows again and again until ctx is done, and then returns nil: on a terminal in place, else one block after
// the other. The first failure is returned; later ones are shown, since what is watched may come back. show gets an
// output of its own and the time.
func Watch(ctx context.Context, o *Output, every time.Duration, now func() time.Time, show func(context.Context, *Output, time.Time) error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for round := 0; ; round++ {
		var frame bytes.Buffer
		to := *o
		to.W = &frame
		at := now()
		err := show(ctx, &to, at)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && round == 0:
			return err
		case err != nil && o.JSON:
			_, err = fmt.Fprintln(to.beside(), err)
		case err != nil:
			_, err = fmt.Fprintln(&frame, o.Paint(Clean(err.Error()), Bad))
		}
		if err != nil {
			return err
		}
		if err := draw(o, frame.String(), round, every, at); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// draw writes a frame.
func draw(o *Output, frame string, round int, every time.Duration, at time.Time) error {
	if o.JSON {
		_, err := io.WriteString(o.W, frame)
		return err
	}
	head := at.Format(time.TimeOnly)
	if !o.Terminal {
		lead := ""
		if round > 0 {
			lead = "\n"
		}
		_, err := fmt.Fprintf(o.W, "%s%s\n%s", lead, head, frame)
		return err
	}
	lines := strings.Split(strings.TrimSuffix(frame, "\n"), "\n")
	lines = append([]string{o.Paint(fmt.Sprintf("%s, every %s, Ctrl-C ends", head, Span(every)), Dim)}, lines...)
	if o.Height > 1 && len(lines) >= o.Height {
		lines = lines[:o.Height-1]
	}
	// Overwrite the last frame instead of clearing first, which flickers: to the top, each line cleared to its end
	// (ECMA-48 CUP, EL), what is below cleared (ED); lines do not wrap (DECAWM). The first frame clears the screen.
	screen := "\x1b[?7l\x1b[H" + strings.Join(lines, "\x1b[K\n") + "\x1b[K\n\x1b[J\x1b[?7h"
	if round == 0 {
		screen = "\x1b[2J" + screen
	}
	_, err := io.WriteString(o.W, screen)
	return err
}
