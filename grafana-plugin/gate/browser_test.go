package gate_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// browser is a Chromium without a window, driven by its DevTools protocol over a pair of pipes
// (https://chromedevtools.github.io/devtools-protocol/). The few calls that the tests need are not worth a library of some
// fifty generated packages.
type browser struct {
	t   testing.TB
	out *os.File

	mu      sync.Mutex
	last    int                  // id of the last call; guarded by mu
	waiting map[int]chan message // by id; guarded by mu; nil when the browser is gone
	errors  []string             // what pages threw or logged as errors; guarded by mu
}

// message is a call, an answer or an event.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// newBrowser starts a browser that ends with the test. Without one the test is skipped, or fails if CI_REQUIRE_SERVICES=1.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI_REQUIRE_SERVICES") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	toRead, out, err := os.Pipe()
	must(t, err)
	in, toWrite, err := os.Pipe()
	must(t, err)
	cmd := exec.Command(path, "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
		"--force-device-scale-factor=1", "--window-size=1200,1000", "--user-data-dir="+t.TempDir())
	cmd.ExtraFiles = []*os.File{toRead, toWrite} // its descriptors 3 and 4
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, cmd.Start())
	toRead.Close()
	toWrite.Close()
	b := &browser{t: t, out: out, waiting: map[int]chan message{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b.read(bufio.NewReader(in))
	}()
	t.Cleanup(func() {
		out.Close() // the browser ends when its pipe does
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case <-ended:
		case <-time.After(2 * time.Minute):
			t.Error("the browser did not end with its pipe")
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // helpers of its that outlive it
		in.Close()
		<-read
	})
	return b
}

// read hands answers to those who wait, and keeps what pages complain of.
func (b *browser) read(in *bufio.Reader) {
	for {
		line, err := in.ReadBytes(0)
		if err != nil {
			break
		}
		var m message
		if json.Unmarshal(line[:len(line)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		if waiting, ok := b.waiting[m.ID]; ok {
			waiting <- m
			delete(b.waiting, m.ID)
		}
		switch {
		case m.Method == "Runtime.exceptionThrown":
			b.errors = append(b.errors, string(m.Params))
		case m.Method == "Runtime.consoleAPICalled" && strings.Contains(string(m.Params), `"type":"error"`):
			b.errors = append(b.errors, string(m.Params))
		}
		b.mu.Unlock()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, waiting := range b.waiting {
		close(waiting)
	}
	b.waiting = nil
}

// call calls a method in a session ("" is the browser) and reads its result into result, which may be nil.
func (b *browser) call(session, method string, params, result any) {
	b.t.Helper()
	if err := b.try(session, method, params, result); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
}

func (b *browser) try(session, method string, params, result any) error {
	encoded, err := json.Marshal(params)
	if err != nil {
		return err
	}
	answer := make(chan message, 1)
	b.mu.Lock()
	if b.waiting == nil {
		b.mu.Unlock()
		return errors.New("the browser is gone")
	}
	b.last++
	call, err := json.Marshal(message{ID: b.last, Session: session, Method: method, Params: encoded})
	if err == nil {
		b.waiting[b.last] = answer
		_, err = b.out.Write(append(call, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case m, ok := <-answer:
		switch {
		case !ok:
			return errors.New("the browser is gone")
		case m.Error != nil:
			return errors.New(m.Error.Message)
		case result != nil:
			return json.Unmarshal(m.Result, result)
		}
		return nil
	case <-time.After(2 * time.Minute):
		return errors.New("no answer in two minutes")
	}
}

// tab is a page in the browser.
type tab struct {
	*browser
	session string
}

// open opens a page and waits until selector is in it.
func (b *browser) open(url, selector string) *tab {
	b.t.Helper()
	var target struct{ TargetID string }
	b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	p := &tab{b, attached.SessionID}
	b.call(p.session, "Runtime.enable", struct{}{}, nil)
	b.call(p.session, "Page.enable", struct{}{}, nil)
	b.call(p.session, "Page.navigate", map[string]any{"url": url}, nil)
	p.until(fmt.Sprintf("document.querySelector(%q) !== null || document.querySelector('[data-testid=broken]') !== null", selector))
	if text := p.text("[data-testid=broken]"); text != "" {
		b.t.Fatalf("%s: %s", url, text)
	}
	return p
}

// evaluate returns the value of an expression of JavaScript, as JSON.
func (p *tab) evaluate(expression string) (value json.RawMessage, err error) {
	var got struct {
		Result struct {
			Value       json.RawMessage
			Description string
		}
		ExceptionDetails *struct{ Text string }
	}
	err = p.try(p.session, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &got)
	if err == nil && got.ExceptionDetails != nil {
		err = errors.New(got.ExceptionDetails.Text + " " + got.Result.Description)
	}
	return got.Result.Value, err
}

// until waits until an expression is true.
func (p *tab) until(expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Minute)
	defer cancel()
	for {
		value, err := p.evaluate(expression)
		if err == nil && string(value) == "true" {
			return
		}
		select {
		case <-ctx.Done():
			p.t.Fatalf("in the page, in two minutes, never true: %s (%s %v); it shows:\n%s\n%s", expression, value, err, p.text("body"), strings.Join(p.complaints(), "\n"))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// text returns the text of the first element that selector finds, "" if there is none.
func (p *tab) text(selector string) (text string) {
	p.t.Helper()
	value, err := p.evaluate(fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
	if err == nil {
		err = json.Unmarshal(value, &text)
	}
	if err != nil {
		p.t.Errorf("read %s: %v", selector, err)
	}
	return text
}

// click clicks into the middle of the first element that selector finds, once that is at rest: lists move while what is around them is drawn.
func (p *tab) click(selector string) {
	p.t.Helper()
	p.until(fmt.Sprintf("document.querySelector(%q) !== null", selector))
	p.until(fmt.Sprintf(`(() => {
	const e = document.querySelector(%q);
	if (e === null) return false;
	e.scrollIntoView({block: 'center'});
	const r = e.getBoundingClientRect(), place = [r.x, r.y, r.width, r.height].join();
	if (window.lastPlace === place) return true;
	window.lastPlace = place;
	return false;
})()`, selector))
	value, err := p.evaluate(fmt.Sprintf("(() => { window.lastPlace = ''; const r = document.querySelector(%q).getBoundingClientRect(); return {x: r.x + r.width / 2, y: r.y + r.height / 2}; })()", selector))
	must(p.t, err)
	var at struct{ X, Y float64 }
	must(p.t, json.Unmarshal(value, &at))
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		p.call(p.session, "Input.dispatchMouseEvent", map[string]any{"type": kind, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1}, nil)
	}
}

// typeText types into what has the focus, key by key.
func (p *tab) typeText(text string) {
	p.t.Helper()
	for _, r := range text {
		p.call(p.session, "Input.dispatchKeyEvent", map[string]any{"type": "keyDown", "text": string(r), "key": string(r)}, nil)
		p.call(p.session, "Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": string(r)}, nil)
	}
}

// press presses a key that writes nothing, or Enter, in what has the focus.
func (p *tab) press(key string, code int) {
	p.t.Helper()
	down := map[string]any{"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code}
	if key == "Enter" {
		down["text"] = "\r"
	}
	p.call(p.session, "Input.dispatchKeyEvent", down, nil)
	p.call(p.session, "Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code}, nil)
}

// clear empties the field that has the focus.
func (p *tab) clear() {
	p.t.Helper()
	p.call(p.session, "Input.dispatchKeyEvent", map[string]any{"type": "keyDown", "key": "a", "modifiers": 2, "commands": []string{"selectAll"}}, nil)
	p.press("Backspace", 8)
}

// shot writes what the page shows to a file, if the environment's WEIR_SCREENSHOTS names a directory for it.
func (p *tab) shot(name string) {
	p.t.Helper()
	dir := os.Getenv("WEIR_SCREENSHOTS")
	if dir == "" {
		return
	}
	var got struct{ Data string }
	p.call(p.session, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &got)
	png, err := base64.StdEncoding.DecodeString(got.Data)
	must(p.t, err)
	must(p.t, os.MkdirAll(dir, 0o755))
	must(p.t, os.WriteFile(dir+"/"+name+".png", png, 0o600))
}

// complaints are exceptions and errors of all pages so far.
func (b *browser) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.errors...)
}
