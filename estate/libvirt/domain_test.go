package libvirt_test

import (
	"strings"
	"testing"

	"github.com/weirhq/weir/estate/libvirt"
)

// XML that is no domain is refused, and nothing that a host says crashes.
func FuzzParse(f *testing.F) {
	f.Add(webXML)
	f.Add(`<domain><name>a</name><uuid>b</uuid></domain>`)
	f.Fuzz(func(_ *testing.T, text string) { _ = libvirt.Parsed(text) })
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		webXML: "", `<domain><name>a</name><uuid>b</uuid></domain> <!-- end -->`: "", "": "read XML", "<domain>": "read XML", "<domain/>": "no name", "<domain><name>a</name></domain>": "no UUID",
		"<domain><name>a</name><uuid>b</uuid></domain><domain/>": "more than one", strings.Repeat(" ", 2<<20): "at most",
	} {
		if err := libvirt.Parsed(text); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
}
