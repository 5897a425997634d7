package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/file"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/lab/flowgen"
)

// readEstate returns the estate of the file that the configuration names, or the empty one.
func readEstate(c file.Config) (*estate.Snapshot, error) {
	if c.File == "" {
		return estate.Empty(), nil
	}
	return file.Read(c.File)
}

// writeDemoEstate writes the simulated estate as an estate file, unless there is one that somebody may have changed.
func writeDemoEstate(name string) error {
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := flowgen.Demo().YAML()
	if err != nil {
		return fmt.Errorf("write demo estate: %w", err)
	}
	tmp := name + ".new"
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return fmt.Errorf("write demo estate: %w", err)
	}
	if err := os.Rename(tmp, name); err != nil {
		return fmt.Errorf("write demo estate: %w", err)
	}
	return nil
}

// estateStatus says what is known of the estate.
func (n *node) estateStatus() api.EstateStatus {
	snapshot := n.estate.Load()
	e := countEntities(snapshot)
	if n.role.governs {
		source := n.source.Status()
		e.File, e.Problem = source.File, source.Problem
		e.Sources = slices.DeleteFunc(n.reports(), func(r api.SourceReport) bool { return r.XAPI == nil && r.Libvirt == nil })
	}
	for _, w := range snapshot.Warnings() {
		e.Warnings = append(e.Warnings, w.Error())
	}
	return e
}

func countEntities(s *estate.Snapshot) api.EstateStatus {
	return api.EstateStatus{
		Pools: s.Count(flow.KindPool), Hosts: s.Count(flow.KindHost), Networks: s.Count(flow.KindNetwork),
		VMs: s.Count(flow.KindVM), VIFs: s.Count(flow.KindVIF), Groups: s.Count(flow.KindAddressGroup) + s.Count(flow.KindVMGroup),
	}
}

// printCheck says what `weir check-config` found to be right.
func printCheck(out *cli.Output, configFile string, estateFile string, s *estate.Snapshot) error {
	if estateFile != "" {
		if abs, err := filepath.Abs(estateFile); err == nil {
			estateFile = abs
		}
	}
	e := countEntities(s)
	e.File = estateFile
	for _, w := range s.Warnings() {
		e.Warnings = append(e.Warnings, w.Error())
	}
	if out.JSON {
		return cli.WriteJSON(out, map[string]any{"config": configFile, "estate": e})
	}
	if configFile == "" {
		fmt.Fprintln(out.W, "config: no file: the defaults are used")
	} else {
		fmt.Fprintf(out.W, "config: %s: ok\n", configFile)
	}
	if estateFile == "" {
		_, err := fmt.Fprintln(out.W, "estate: no file: flows are stored without names")
		return err
	}
	_, err := fmt.Fprintf(out.W, "estate: %s: ok: %s\n", estateFile, strings.Join(e.Counts(), ", "))
	for _, w := range e.Warnings {
		_, err = fmt.Fprintf(out.W, "  warning: %s\n", w)
	}
	return err
}
