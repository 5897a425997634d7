package crash_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/apptest"
)

const (
	awayRate = 20_000 // flows a second
	away     = time.Minute
)

// The store does not answer for a minute at full load: nothing is lost. The socket is read all the while; what comes in
// waits in the write-ahead log, and is stored when the store is back.
func TestStoreAway(t *testing.T) {
	if testing.Short() {
		t.Skip("takes more than a minute")
	}
	t.Parallel()
	data := configure(t, t.TempDir(), "collector: {workers: 1}\nestate: {file: estate.yaml}\n")
	addr := udpPort(t)
	a := start(t, data, addr.String())
	l := send(t, addr, awayRate)
	apptest.Eventually(t, soon, "flows are stored", func() error {
		if s := statusOf(t, a); s.Writer.Stored.Rows == 0 {
			return fmt.Errorf("%+v", s.Writer)
		}
		return nil
	})
	before := statusOf(t, a)
	if err := syscall.Kill(before.Store.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goOn := func() error { return syscall.Kill(before.Store.PID, syscall.SIGCONT) }
	defer goOn() //nolint:errcheck // a stopped process would not end
	began := time.Now()
	during := before
	apptest.Eventually(t, away+soon, "the store is away for a minute", func() error {
		s := statusOf(t, a)
		noLoss(t, s.Lost(), addr)
		during = s
		if time.Since(began) < away {
			return fmt.Errorf("since %s", time.Since(began))
		}
		return nil
	})
	in := during.Writer.In.Rows - before.Writer.In.Rows
	if waiting := during.Writer.WAL.Rows; waiting < in/2 || during.Writer.Stored.Rows > before.Writer.Stored.Rows+in/2 {
		t.Errorf("%d flows came in while the store was away, %d wait in the log: %+v", in, waiting, during.Writer)
	}
	if len(during.Alarms) == 0 {
		t.Error("a store that does not answer is no alarm")
	}
	if err := goOn(); err != nil {
		t.Fatal(err)
	}
	l.stop()
	back := time.Now()
	s := drained(t, a, 3*time.Minute)
	noLoss(t, s.Lost(), addr)
	t.Logf("%d flows came in within %s without a store, %d of them waited in %d bytes of log at its end; all were stored %s after it was back",
		in, away, during.Writer.WAL.Rows, during.Writer.WAL.Bytes, time.Since(back).Round(time.Second))
	n := table(t, a, "SELECT count(), uniqExact(exporter, observation_point) FROM flows")[0]
	if sent := l.sent.Load(); s.Collector.Flows != sent || s.Writer.Stored.Rows != sent || n[0] != sent || n[1] != sent {
		t.Errorf("%d flows were sent, %d decoded, %d stored: %d rows of %d flows are there", sent, s.Collector.Flows, s.Writer.Stored.Rows, n[0], n[1])
	}
	checkSums(t, a)
}
