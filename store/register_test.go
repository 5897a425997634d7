package store_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/store"
)

// Collectors that register at the same time, all wanting the same number, get different ones and keep them.
func TestRegisterCollectorByManyAtOnce(t *testing.T) {
	c := migrated(t)
	const collectors = 12
	numbers := make([]uint16, collectors)
	errs := make([]error, collectors)
	var wg sync.WaitGroup
	key := func(i int) uint64 { return 5 + uint64(i)*store.MaxCollectors }
	for i := range collectors {
		wg.Go(func() {
			numbers[i], errs[i] = store.RegisterCollector(t.Context(), c, key(i), 0, fmt.Sprint("c", i), time.Now())
		})
	}
	wg.Wait()
	owner := map[uint16]int{}
	for i, n := range numbers {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if other, taken := owner[n]; taken || n == 0 || n > store.MaxCollectors {
			t.Errorf("collector %d has number %d, which collector %d has", i, n, other)
		}
		owner[n] = i
		again, err := store.RegisterCollector(t.Context(), c, key(i), n, "", time.Now())
		if err != nil || again != n {
			t.Errorf("collector %d asked again and got number %d, %v; want %d", i, again, err, n)
		}
	}
	list, err := store.Collectors(t.Context(), c)
	if err != nil || len(list) != collectors {
		t.Fatalf("%d are registered, %v; want %d", len(list), err, collectors)
	}
	for _, r := range list {
		i := owner[r.Number]
		if r.Key != key(i) || r.Name != fmt.Sprint("c", i) || time.Since(r.Registered).Abs() > patience {
			t.Errorf("registered %+v, want collector %d", r, i)
		}
	}
}

func TestRegisterCollectorRefusesTheThreeHundredth(t *testing.T) {
	c := migrated(t)
	err := c.Exec(t.Context(), fmt.Sprintf("INSERT INTO collectors (number, key) SELECT number + 1, number + 1000 FROM numbers(%d)", store.MaxCollectors))
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.RegisterCollector(t.Context(), c, 1, 7, "late", time.Now())
	if err == nil || !strings.Contains(err.Error(), `register collector "late": 299 are registered`) {
		t.Errorf("RegisterCollector: %v, want an error that says how many there are", err)
	}
}
