package embedded

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/store/embedded/chdb"
)

// engine is the running ClickHouse over one data directory. There is one in a process.
type engine struct {
	lib  *chdb.Library
	path string // --path of every connection
	log  *slog.Logger

	version  string // e.g. 26.7.2.1
	name     string // displayName()
	timezone string

	mu      sync.Mutex // guards control, which runs one statement at a time
	control *chdb.Conn // holds the engine open, kills statements
}

var errLocked = errors.New("in use by another weir")

// lockData takes the lock of the directory data, so that only one store works on it. The file stays locked until it is closed.
func lockData(data string) (*os.File, error) {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	path := filepath.Join(data, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		owner, _ := os.ReadFile(path)
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock data directory %q: %w (pid %s): stop that one or choose another directory", data, errLocked, strings.TrimSpace(string(owner)))
		}
		return nil, fmt.Errorf("lock data directory %q: %w", data, err)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}

// WaitUnlocked returns nil once no store works on the directory data, which need not exist. A `weir up` that is killed leaves a
// store that ends by itself within a moment; the next one has to wait for its lock and its port. What WaitUnlocked returns
// after wait is lockData's error. Nothing is locked.
func WaitUnlocked(ctx context.Context, data string, wait time.Duration) error {
	if _, err := os.Stat(data); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		lock, err := lockData(data)
		if err == nil {
			return lock.Close()
		}
		if !errors.Is(err, errLocked) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// openEngine loads the library and starts the engine on cfg.Data, which the caller has locked.
func openEngine(cfg Config, log *slog.Logger) (*engine, error) {
	path, err := FindLibrary(cfg.Library)
	if err != nil {
		return nil, err
	}
	data, err := filepath.Abs(cfg.Data)
	if err != nil {
		return nil, fmt.Errorf("start engine: %w", err)
	}
	dir := filepath.Join(data, "clickhouse")
	conf, err := writeEngineConfig(data, int64(cfg.Memory), cfg.Grants)
	if err != nil {
		return nil, fmt.Errorf("start engine: %w", err)
	}
	lib, err := chdb.Open(path)
	if err != nil {
		return nil, err
	}
	e := &engine{lib: lib, path: "--path=" + dir, log: log}
	if e.control, err = lib.Connect(e.path, "--config-file="+conf); err != nil {
		return nil, fmt.Errorf("start engine: %w", err)
	}
	r, err := e.control.Query("SELECT version(), displayName(), timezone()", "TSVRaw", nil)
	if err != nil {
		e.control.Close()
		return nil, fmt.Errorf("start engine: %w", err)
	}
	f := strings.Split(strings.TrimSuffix(string(r.Bytes()), "\n"), "\t")
	r.Free()
	if len(f) != 3 {
		e.control.Close()
		return nil, fmt.Errorf("start engine: it introduced itself as %q", f)
	}
	e.version, e.name, e.timezone = f[0], f[1], f[2]
	// The grants are what keeps statements inside the store: refuse to serve without them.
	if _, err := e.control.Query("DESCRIBE TABLE file('/dev/null', 'TSV')", "Null", nil); exceptionCode(err) != codeAccessDenied {
		e.control.Close()
		return nil, fmt.Errorf("start engine: its grants are not in force (file() gave %w)", err)
	}
	return e, nil
}

// exceptionCode is the code of an engine's error, 0 for any other or nil.
func exceptionCode(err error) int {
	if e, ok := errors.AsType[*chdb.Error](err); ok {
		return e.Code
	}
	return 0
}

// engineGrants are the rights of the engine's only account. What is missing is the point: SOURCES (file, url, remote, s3, …),
// user management, SYSTEM SHUTDOWN, BACKUP, INTROSPECTION.
var engineGrants = []string{
	"GRANT SHOW, SELECT, INSERT, ALTER, CREATE, DROP, UNDROP TABLE, TRUNCATE, OPTIMIZE, CHECK, KILL QUERY, dictGet ON *.*",
	"GRANT SYSTEM MERGES, SYSTEM TTL MERGES, SYSTEM RELOAD DICTIONARY, SYSTEM FLUSH, SYSTEM DROP CACHE ON *.*",
	"GRANT TABLE ENGINE ON *",
}

// mergeTree are settings of all tables. This engine deletes the parts that a merge has replaced at once (old_parts_lifetime is 0,
// a server's is 8 minutes), so the new part has to be on disk before: a loss of power would take old rows otherwise. That its
// name is there before the others are gone is what journals of file systems see to.
//
// An insert into a disk with less free space than keptFree is refused before it writes anything (NOT_ENOUGH_SPACE). That it fills
// the disk nevertheless, because others write too, costs a restart of the store (see package chdb).
var mergeTree = "<min_rows_to_fsync_after_merge>1</min_rows_to_fsync_after_merge>" +
	fmt.Sprintf("<min_free_disk_bytes_to_perform_insert>%d</min_free_disk_bytes_to_perform_insert>", keptFree)

// keptFree is what inserts leave of the disk: several times what those take that may be under way at once, more than retention
// gives up of its ballast to drop a partition, and less than a sensible store.wal.keep_free, so that the log stops first.
const keptFree = 24 * bytesize.MiB

// writeEngineConfig writes the two files that the engine reads at its start and returns the path of the first.
func writeEngineConfig(data string, memory int64, grants []string) (string, error) {
	dir := filepath.Join(data, "engine")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	esc := func(s string) string {
		var b strings.Builder
		_ = xml.EscapeText(&b, []byte(s))
		return b.String()
	}
	users := filepath.Join(dir, "users.xml")
	var b strings.Builder
	b.WriteString("<clickhouse>\n<!-- Written by weir at every start. -->\n<profiles><default></default></profiles>\n<users><default><password></password>" +
		"<networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>\n<grants>\n")
	if grants == nil {
		grants = engineGrants
	}
	for _, g := range grants {
		b.WriteString("<query>" + esc(g) + "</query>\n")
	}
	b.WriteString("</grants></default></users>\n<quotas><default></default></quotas>\n</clickhouse>\n")
	if err := keepFile(users, b.String()); err != nil {
		return "", err
	}
	if memory == 0 {
		var si syscall.Sysinfo_t
		if err := syscall.Sysinfo(&si); err != nil {
			return "", fmt.Errorf("read memory size: %w", err)
		}
		memory = int64(float64(si.Totalram) * float64(si.Unit) * 0.6)
	}
	b.Reset()
	fmt.Fprintf(&b, "<clickhouse>\n<!-- Written by weir at every start. -->\n<users_config>%s</users_config>\n<user_files_path>%s</user_files_path>\n"+
		"<max_server_memory_usage>%d</max_server_memory_usage>\n"+
		"<mark_cache_size>%d</mark_cache_size>\n<background_pool_size>%d</background_pool_size>\n"+
		"<merge_tree>%s</merge_tree>\n</clickhouse>\n",
		esc(users), esc(filepath.Join(data, "clickhouse", "user_files")+"/"), memory, min(memory/8, 1<<30), max(4, runtime.NumCPU()), mergeTree)
	conf := filepath.Join(dir, "config.xml")
	return conf, keepFile(conf, b.String())
}

// keepFile sees to it that the file path holds text. One that does is not written: a store starts on a full disk, too.
func keepFile(path, text string) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return nil
	}
	return writeFileAtomic(path, []byte(text), 0o600)
}

// close stops the engine. No session may be open.
func (e *engine) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.control.Close()
}

// session is a connection of the engine for one statement.
type session struct {
	*chdb.Conn
	engine *engine
	tag    string
}

// newTag returns 128 random bits in hex.
func newTag() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// open makes a session with a current database and settings, one of which is the tag. It is used once and closed.
func (e *engine) open(database string, set []setting, tag string) (*session, error) {
	c, err := e.lib.Connect(e.path)
	if err != nil {
		return nil, err
	}
	if database != "" && database != "default" {
		if err := c.Exec("USE " + quote(database, '`')); err != nil {
			c.Close()
			return nil, err
		}
	}
	if err := c.Exec(setStatement(set)); err != nil {
		c.Close()
		return nil, err
	}
	return &session{Conn: c, engine: e, tag: tag}, nil
}

// watch kills the session's statement as soon as ctx is done, and keeps at it until the returned function is called, for a
// statement can be killed only once it runs. The function returns when nothing is watched any more.
func (s *session) watch(ctx context.Context) (stop func()) {
	over, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		select {
		case <-over:
			return
		case <-ctx.Done():
		}
		for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
			s.engine.kill(s.tag)
			select {
			case <-over:
				return
			case <-time.After(wait):
			}
		}
	}()
	return func() {
		close(over)
		<-gone
	}
}

// kill asks the engine to end the statements of the session with that tag; it does not wait for them.
func (e *engine) kill(tag string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.control.Exec("KILL QUERY WHERE Settings['" + tagSetting + "'] = '" + tag + "' ASYNC"); err != nil {
		e.log.Warn("kill of a statement refused", "err", err)
	}
}
