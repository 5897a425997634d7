// Package goflow2 compares Weir's decoder with the one of github.com/netsampler/goflow2. It holds benchmarks only.
package goflow2
