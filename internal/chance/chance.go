// Package chance gives tests with random input their seeds.
//
// What a commit's tests say must not depend on the day: by itself a test has the same input each time it runs, made
// from its name. New input is what `make explore` is for, which sets WEIR_SEED to "random"; a number there runs again
// what failed. What chance found and was mended becomes a case of its own, which the test always has.
package chance

import (
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Variable is the environment variable that chooses: unset, the seed that the test has by its name; "random", another
// each time; a number, that one.
const Variable = "WEIR_SEED"

// Seed returns the seed of a test's random input, and says which it was if the test fails. The test chooses the
// generator: with several, it tells them apart by the second number of rand.NewPCG.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := named(t.Name())
	switch s := os.Getenv(Variable); s {
	case "":
	case "random":
		seed = rand.Uint64()
		t.Logf("%s=%d", Variable, seed)
	default:
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("%s=%s: want a number, or random", Variable, s)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("to have the same input again: %s=%d", Variable, seed)
		}
	})
	return seed
}

// named returns the seed that belongs to a name.
func named(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}
