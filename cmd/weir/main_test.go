package main

import (
	"os"
	"testing"

	"github.com/weirhq/weir/internal/apptest"
)

func TestMain(m *testing.M) { os.Exit(apptest.Main(m)) }
