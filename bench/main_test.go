package bench_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/weirhq/weir/internal/apptest"
)

// roles are what this binary is when a benchmark starts it as a process of its own, to have its CPU time apart.
var roles = map[string]func() error{
	"send":    send,
	"receive": receive,
}

const roleVariable = "WEIR_BENCH_ROLE"

func TestMain(m *testing.M) {
	role, ok := roles[os.Getenv(roleVariable)]
	if !ok {
		os.Exit(apptest.Main(m))
	}
	if err := role(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Getenv(roleVariable), err)
		os.Exit(1)
	}
}
