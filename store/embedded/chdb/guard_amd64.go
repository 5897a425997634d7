package chdb

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"unsafe"

	"github.com/ebitengine/purego"
	"golang.org/x/sys/unix"
)

// The engine of libchdb, unlike that of a ClickHouse server, takes no notice of a write that fails: the lines of
// WriteBufferFromFileDescriptor::nextImpl that throw are commented out in chdb-core. On a full or broken disk it would put
// parts in use whose files are short or empty, and after a merge delete the whole ones that they replace. So its calls of write(2)
// are led through guardedWrite, and the process ends with the first one that fails for want of space or for an error of the disk.
// The thread that wrote never gets to the rename by which a part comes into use; to the next start it is as if the
// process had been killed.
//
// What fails for other reasons is left to the engine: a pipe whose reader went away is everyday.

// Addresses that guardedWrite uses, set before the engine may call it.
var (
	guardedWritePC uintptr // of guardedWrite: in guard_amd64.s

	libcWrite   uintptr // ssize_t write(int, const void *, size_t)
	libcErrno   uintptr //nolint:unused // by guardedWrite: int *__errno_location(void)
	writeFailed uintptr //nolint:unused // by guardedWrite: void onWriteFailed(int fd, int errno)
)

// onWriteFailed says what failed, and ends the process.
func onWriteFailed(fd, errno int32) uintptr {
	file, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(fd)))
	if err != nil {
		file = "file descriptor " + strconv.Itoa(int(fd))
	}
	// Not by a logger, whose locks may be held.
	_, _ = os.Stderr.WriteString("write to " + strconv.Quote(file) + ": " + syscall.Errno(errno).Error() + ": the store ends, so that nothing incomplete comes into use\n")
	os.Exit(ExitWriteFailed)
	return 0
}

// guardWrites leads the library's calls of write through guardedWrite. path is the library's file, anchor the address of its symbol
// chdb_version. Nothing of the library may have been called yet.
func guardWrites(lib uintptr, path string, anchor uintptr) error {
	var err error
	if libcWrite, err = purego.Dlsym(lib, "write"); err != nil {
		return err
	}
	if libcErrno, err = purego.Dlsym(lib, "__errno_location"); err != nil {
		return err
	}
	slots, err := slotsOf(path, "write", anchor)
	if err != nil {
		return err
	}
	if len(slots) == 0 {
		return errors.New("it does not call write")
	}
	writeFailed = purego.NewCallback(onWriteFailed)
	signal.Ignore(unix.SIGXFSZ) // it would end the process without a word, where write says as much
	for _, addr := range slots {
		slot := (*uintptr)(*(*unsafe.Pointer)(unsafe.Pointer(&addr)))
		if *slot != libcWrite {
			return fmt.Errorf("its calls of write lead to %#x, not to libc's at %#x", *slot, libcWrite)
		}
		if err := poke(slot, guardedWritePC); err != nil {
			return err
		}
	}
	return nil
}

// slotsOf returns the addresses at which the library, loaded from the file path, keeps the address of the function name for its calls.
func slotsOf(path, name string, anchor uintptr) ([]uintptr, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return nil, err
	}
	index, base := uint64(0), uintptr(0)
	for i, s := range symbols {
		switch s.Name {
		case name:
			index = uint64(i) + 1 // the first of the table is left out by debug/elf
		case "chdb_version":
			base = anchor - uintptr(s.Value)
		}
	}
	if index == 0 || base == 0 {
		return nil, nil
	}
	var slots []uintptr
	// The relocations that name no function, 1.3 million of them, come first.
	relative, err := f.DynValue(elf.DT_RELACOUNT)
	if err != nil || len(relative) != 1 {
		return nil, fmt.Errorf("it does not say how many relative relocations it has: %w", err)
	}
	const size = 24 // of an entry
	for section, skip := range map[string]uint64{".rela.dyn": relative[0] * size, ".rela.plt": 0} {
		s := f.Section(section)
		if s == nil || s.Size < skip {
			return nil, fmt.Errorf("its section %s is missing or too short", section)
		}
		entries := make([]byte, s.Size-skip)
		if _, err := s.ReadAt(entries, int64(skip)); err != nil {
			return nil, err
		}
		for ; len(entries) >= size; entries = entries[size:] {
			info := f.ByteOrder.Uint64(entries[8:])
			if kind := elf.R_X86_64(info & 0xffffffff); info>>32 == index && (kind == elf.R_X86_64_GLOB_DAT || kind == elf.R_X86_64_JMP_SLOT) {
				slots = append(slots, base+uintptr(f.ByteOrder.Uint64(entries)))
			}
		}
	}
	return slots, nil
}

// poke writes v to the slot, whose page may have been made read-only after relocation.
func poke(slot *uintptr, v uintptr) error {
	size := uintptr(os.Getpagesize())
	page := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(slot), -int(uintptr(unsafe.Pointer(slot))%size))), size)
	if err := unix.Mprotect(page, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return fmt.Errorf("make its table of functions writable: %w", err)
	}
	*slot = v
	return nil
}
