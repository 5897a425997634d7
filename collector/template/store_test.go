package template_test

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/collector/ie"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/internal/bytesize"
)

const now = int64(1_790_000_000_000)

func key(last byte, domain uint32) template.Key {
	return template.Key{Exporter: netip.AddrFrom4([4]byte{192, 0, 2, last}), Protocol: 9, Domain: domain}
}

func tmpl(id uint16) *template.Template {
	return &template.Template{ID: id, Fields: []template.Field{{ID: ie.Of(8), Length: 4}}, MinLength: 4, Wire: []byte{1}}
}

func domain(t *testing.T, s *template.Store, k template.Key) *template.Domain {
	t.Helper()
	d, why := s.Domain(k, now)
	if why != template.None {
		t.Fatalf("Domain(%v): %s", k, why)
	}
	return d
}

func TestTemplatesAreFoundAndReplaced(t *testing.T) {
	d := domain(t, template.New(template.DefaultConfig()), key(1, 0))
	a, b, c := tmpl(300), tmpl(256), tmpl(300)
	d.Put([]*template.Template{a, b}, now)
	if d.Template(300) != a || d.Template(256) != b || d.Template(257) != nil {
		t.Error("Template does not return what Put was given")
	}
	d.Put([]*template.Template{c}, now)
	if d.Template(300) != c || len(d.Templates()) != 2 {
		t.Error("Put did not replace template 300")
	}
	d.Withdraw(256)
	if d.Template(256) != nil {
		t.Error("template 256 is there after Withdraw")
	}
	options := tmpl(400)
	options.Options = true
	d.Put([]*template.Template{options}, now)
	d.WithdrawAll(false)
	if d.Template(300) != nil || d.Template(400) != options {
		t.Error("WithdrawAll(false) must forget the templates and keep the options templates")
	}
}

func TestCaps(t *testing.T) {
	cfg := template.DefaultConfig()
	cfg.MaxExporters, cfg.MaxDomains, cfg.MaxTemplates = 2, 2, 3
	s := template.New(cfg)
	d := domain(t, s, key(1, 0))
	domain(t, s, key(1, 1))
	domain(t, s, key(2, 0))
	if _, why := s.Domain(key(1, 2), now); why != template.TooManyDomains {
		t.Errorf("third domain of an exporter: %s, want too_many_domains", why)
	}
	if _, why := s.Domain(key(3, 0), now); why != template.TooManyExporters {
		t.Errorf("third exporter: %s, want too_many_exporters", why)
	}
	why := d.Put([]*template.Template{tmpl(256), tmpl(257), tmpl(258), tmpl(259)}, now)
	if why != template.TooManyTemplates || len(d.Templates()) != 3 {
		t.Errorf("Put of four templates: %s, %d kept; want too_many_templates, 3", why, len(d.Templates()))
	}
	if got := s.Dropped(); got["too_many_domains"] != 1 || got["too_many_exporters"] != 1 {
		t.Errorf("Dropped = %v, want one of each", got)
	}
}

func TestMemoryIsBoundedAndGivenBack(t *testing.T) {
	cfg := template.DefaultConfig()
	cfg.MaxMemory, cfg.MaxHeld = 64*bytesize.KiB, 32*bytesize.KiB
	s := template.New(cfg)
	d := domain(t, s, key(1, 0))
	empty := s.Memory()
	for i := range 10_000 {
		d.Put([]*template.Template{tmpl(uint16(256 + i))}, now)
		d.SetInterface(uint32(i), []byte("GigabitEthernet"), nil)
		d.SetApplication(uint64(i), []byte("http"), nil)
		d.SetVRF(uint32(i), []byte("red"))
		d.Hold(template.Held{Template: 9, Received: now, Body: make([]byte, 100)})
	}
	if got := s.Memory(); got > int64(cfg.MaxMemory) {
		t.Errorf("Memory = %d after a flood, want at most %d", got, cfg.MaxMemory)
	}
	if d.Count.Read().Dropped["out_of_memory"] == 0 {
		t.Error("nothing was counted as out_of_memory")
	}
	d.WithdrawAll(false)
	d.TakeHeld(9)
	s.Expire(now + cfg.Timeout.Milliseconds() + 1)
	if got := s.Memory(); got != 0 || !d.Closed() || len(s.Domains()) != 0 {
		t.Errorf("Memory = %d after expiry, closed %v; want 0 (an empty domain is %d), true", got, d.Closed(), empty)
	}
	d.Put([]*template.Template{tmpl(256)}, now) // a decoder that still has it
	if got := s.Memory(); got != 0 {
		t.Errorf("Memory = %d after Put on a closed domain, want 0", got)
	}
	if d2 := domain(t, s, key(1, 0)); d2 == d {
		t.Error("the store returned a closed domain")
	}
}

func TestHeldDataExpires(t *testing.T) {
	s := template.New(template.DefaultConfig())
	d := domain(t, s, key(1, 0))
	body := []byte{1, 2, 3}
	for i := range 3 {
		d.Hold(template.Held{Template: 256, Received: now + int64(i)*1000, Body: body})
	}
	body[0] = 9 // Hold must have copied it
	d.Hold(template.Held{Template: 257, Received: now, Body: body})
	s.Expire(now + 500 + time.Minute.Milliseconds())
	got := d.TakeHeld(256)
	if len(got) != 2 || got[0].Received != now+1000 || got[0].Body[0] != 1 {
		t.Errorf("TakeHeld = %v, want the two sets that are younger than a minute", got)
	}
	if c := d.Count.Read(); c.Dropped["unknown_template"] != 2 || c.Held != 4 || c.Replayed != 2 {
		t.Errorf("counts %+v: want 4 held, 2 replayed, 2 dropped", c)
	}
	if d.TakeHeld(256) != nil {
		t.Error("TakeHeld returned the same sets twice")
	}
}

func TestTemplatesExpireUnlessRenewed(t *testing.T) {
	cfg := template.DefaultConfig()
	s := template.New(cfg)
	d := domain(t, s, key(1, 0))
	a, b := tmpl(256), tmpl(257)
	d.Put([]*template.Template{a, b}, now)
	later := now + cfg.Timeout.Milliseconds()
	b.Renew(later)
	d.Heard(later)
	s.Expire(later + 1000)
	if d.Template(256) != nil || d.Template(257) != b {
		t.Error("want template 256 expired, 257 kept")
	}
}

func TestSampling(t *testing.T) {
	d := domain(t, template.New(template.DefaultConfig()), key(1, 0))
	set := func(scope template.SamplingScope, id uint64, rate uint32) {
		d.SetRates([]template.Rate{{Scope: scope, ID: id, Rate: rate}})
	}
	check := func(what string, got, want uint32) {
		t.Helper()
		if got != want {
			t.Errorf("%s = %d, want %d", what, got, want)
		}
	}
	check("Domain of nothing", d.Sampling().Domain(), 0)
	set(template.OfSampler, 2, 1000)
	set(template.OfSampler, 1, 1000)
	check("Domain of samplers that agree", d.Sampling().Domain(), 1000)
	set(template.OfSampler, 1, 100)
	check("Domain of samplers that do not", d.Sampling().Domain(), 0)
	check("Sampler(1)", d.Sampling().Sampler(1), 100)
	check("Sampler(2)", d.Sampling().Sampler(2), 1000)
	check("Sampler(3)", d.Sampling().Sampler(3), 0)
	set(template.OfInterface, 7, 64)
	check("Interface(7)", d.Sampling().Interface(7), 64)
	set(template.OfDomain, 0, 32)
	check("Domain", d.Sampling().Domain(), 32)
	same := []template.Rate{{Scope: template.OfSampler, ID: 2, Rate: 1000}}
	if allocs := testing.AllocsPerRun(100, func() { d.SetRates(same) }); allocs != 0 {
		t.Errorf("SetRates of the same: %v allocations, want 0", allocs)
	}
	for i := range 10_000 {
		set(template.OfSampler, uint64(i), uint32(i))
	}
	if got := d.Sampling().Sampler(9999); got != 0 {
		t.Errorf("Sampler(9999) after 10000 samplers = %d, want it refused", got)
	}
}

func TestNames(t *testing.T) {
	s := template.New(template.DefaultConfig())
	d := domain(t, s, key(1, 0))
	d.SetInterface(3, []byte("eth3\x00\x00\x00"), nil)
	d.SetInterface(3, nil, []byte("up\xfflink"))
	if got, ok := d.Interface(3); !ok || got != (template.Interface{Name: "eth3", Description: "up\uFFFDlink"}) {
		t.Errorf("Interface(3) = %+v, %v", got, ok)
	}
	d.SetApplication(9, []byte("http"), []byte("web"))
	d.SetVRF(1, []byte("red"))
	if got, _ := d.Application(9); got.Name != "http" || d.VRF(1) != "red" {
		t.Errorf("Application(9) = %+v, VRF(1) = %q", got, d.VRF(1))
	}
	long := make([]byte, 1000)
	for i := range long {
		long[i] = 'x'
	}
	d.SetVRF(2, long)
	if n := len(d.VRF(2)); n != 255 {
		t.Errorf("a name of 1000 octets is kept with %d, want 255", n)
	}
	name := []byte("eth3")
	if allocs := testing.AllocsPerRun(100, func() { d.SetInterface(3, name, nil) }); allocs != 0 {
		t.Errorf("SetInterface of the same: %v allocations, want 0", allocs)
	}
	info := s.Domains()[0]
	if info.Interfaces[3].Name != "eth3" || info.VRFs[1] != "red" || info.Applications[9].Description != "web" {
		t.Errorf("Domains()[0] = %+v", info)
	}
}

// Readers, writers and listings at once: what the race detector is asked.
func TestConcurrentUse(t *testing.T) {
	s := template.New(template.DefaultConfig())
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 500 {
				d, _ := s.Domain(key(1, uint32(i%3)), now+int64(i))
				d.Heard(now + int64(i))
				switch w {
				case 0:
					d.Put([]*template.Template{tmpl(uint16(256 + i%7))}, now)
					d.Withdraw(uint16(256 + i%5))
				case 1:
					d.SetRates([]template.Rate{{Scope: template.OfSampler, ID: uint64(i % 9), Rate: uint32(i)}})
					d.SetInterface(uint32(i%9), []byte{byte('a' + i%20)}, nil)
				case 2:
					d.Hold(template.Held{Template: 256, Received: now, Body: make([]byte, 10)})
					d.TakeHeld(256)
				case 3:
					if i%50 == 0 {
						s.Domains()
						s.Expire(now)
					}
				}
				d.Template(256)
				d.Sampling().Domain()
			}
		})
	}
	wg.Wait()
	s.Expire(now + 48*time.Hour.Milliseconds())
	if got := s.Memory(); got != 0 {
		t.Errorf("Memory = %d after everything expired, want 0", got)
	}
}

func TestConfigValidate(t *testing.T) {
	if err := template.DefaultConfig().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	if err := (template.Config{HeldAge: -1, MaxHeld: -1}).Validate(); err == nil {
		t.Error("no error for a config of zeros")
	}
}
