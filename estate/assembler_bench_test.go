package estate_test

import (
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/estatetest"
)

// BenchmarkAssembleChange changes one VIF of a host beside a file of 100 000 VIFs, 10 000 prefixes and 1 000 groups.
func BenchmarkAssembleChange(b *testing.B) {
	a := estate.NewAssembler(estate.AssemblerDeps{Estate: estate.NewHolder()})
	file := estatetest.Random(rand.New(rand.NewPCG(1, 2)), estatetest.Large)
	a.Set(estate.FileSource, file, noon)
	models := [2]*estate.Model{onHost("xcp1"), nil}
	for i := range 50 {
		vm := &file.VMs[100*i]
		models[0].VMs = append(models[0].VMs, onHost("xcp1", plug{mac: vm.VIFs[0].MAC, ofPort: uint32(i + 1)}).VMs...)
	}
	other := *models[0]
	other.VMs = slices.Clone(other.VMs)
	other.VMs[7] = onHost("xcp1", plug{mac: file.VMs[700].VIFs[0].MAC, ofPort: 99}).VMs[0]
	models[1] = &other
	a.Set("host:1", models[0], noon)
	from := cpuTime(b)
	if _, err := estate.Compile(a.Model()); err != nil {
		b.Fatal(err)
	}
	whole := cpuTime(b) - from
	b.ReportAllocs()
	before, n := cpuTime(b), 0
	for i := 0; b.Loop(); i++ {
		a.Set("host:1", models[(i+1)%2], noon.Add(time.Duration(i)*time.Minute))
		n++
	}
	b.ReportMetric(float64((cpuTime(b)-before).Milliseconds())/float64(n), "cpu-ms/op")
	b.ReportMetric(float64(whole.Milliseconds()), "whole-cpu-ms")
}

// cpuTime returns the processor time that this process has used.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
