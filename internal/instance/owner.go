package instance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// Stranger is an error if this process is root's and data somebody else's: what root made there would shut its owner out, and the owner could
// have root write elsewhere, by links. It is asked by commands that write there while no instance runs; data need not exist.
func Stranger(data string) error {
	info, err := os.Stat(data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find owner of data directory: %w", err)
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 || s.Uid == 0 {
		return nil
	}
	name := strconv.FormatUint(uint64(s.Uid), 10)
	hint := "sudo -u '#" + name + "'"
	if u, err := user.LookupId(name); err == nil {
		name, hint = u.Username, "sudo -u "+u.Username
	}
	return fmt.Errorf("data directory %q belongs to %s, who could not use what root made there: run it as %[2]s, with %s", data, name, hint)
}
